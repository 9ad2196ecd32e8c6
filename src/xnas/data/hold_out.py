"""Training images that stand in for the test images, so that a choice can be made without these."""

from xnas.data.images import DataSet
from xnas.data.order import split


def hold_out(data: DataSet, *, share: float, seed: int) -> DataSet:
    """`data` with `share` of each class of its training images set aside in place of the test images, by the seed.

    The test images are in neither part. Raises ValueError for a share outside (0, 1), or a class of one image.
    """
    aside_N, rest_N = split(data.train.labels_N, fraction=share, seed=seed, classes=data.train.classes)
    return DataSet(
        name=f"{data.name}, {share:.3g} of its training images held out",
        train=data.train.subset(rest_N),
        test=data.train.subset(aside_N),
    )
