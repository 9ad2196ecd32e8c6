"""Training images that stand in for the test images, so that a choice can be made without these."""

from dataclasses import replace

from xnas.data.files.streaming import FileImageSet
from xnas.data.images import DataSet
from xnas.data.sampling import split


def hold_out(data: DataSet, *, share: float, seed: int) -> DataSet:
    """`data` with `share` of each class of its training images set aside in place of the test images, by the seed.

    The test images are in neither part. Images that stay in files are cut as those of the test are; those in memory
    have no more than training has of them. Raises ValueError for a share outside (0, 1), or a class of one image.
    """
    aside_N, rest_N = split(data.train.labels_N, fraction=share, seed=seed, classes=data.train.classes)
    aside, border = data.train.subset(aside_N), 0.0
    if isinstance(aside, FileImageSet) and isinstance(data.test, FileImageSet):
        aside = replace(aside, files=replace(aside.files, form=data.test.files.form))
        border = data.border
    return DataSet(
        name=f"{data.name}, {share:.3g} of its training images held out",
        train=data.train.subset(rest_N),
        test=aside,
        border=border,
    )
