"""Randomness by address: what is drawn depends on where it is used, never on what was drawn before."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xnas.data.files.streaming import FileImageSet
from xnas.data.images import DataSet
from xnas.data.rng import FIRST, GOLDEN, MASK, ORDER, SECOND, SPLIT, mix_address


def mix_addresses(address: int | NDArray[np.uint64], ids_B: Tensor) -> NDArray[np.uint64]:
    """64 random bits for each index, as a hash of (address, index).

    Of addresses (E, 1), which `mix_address` gave, for each address and index, (E, B).
    """
    # Sums and products wrap around, as they should; of single numbers numpy would warn.
    one = isinstance(address, int)
    state = np.uint64((address + GOLDEN) & MASK) if one else address + np.uint64(GOLDEN)
    words_B = ids_B.cpu().numpy().astype(np.uint64) ^ state
    words_B = (words_B ^ (words_B >> np.uint64(30))) * np.uint64(FIRST)
    words_B = (words_B ^ (words_B >> np.uint64(27))) * np.uint64(SECOND)
    mixed_B: NDArray[np.uint64] = words_B ^ (words_B >> np.uint64(31))
    return mixed_B


def epoch_order(n: int, *, seed: int, epoch: int) -> Tensor:
    """Return the order of n images in an epoch: an int64 permutation of shape (n,), the same wherever it is asked
    for."""
    return torch.randperm(n, generator=_generator(ORDER, seed, epoch))


def split(
    labels_N: Tensor, *, fraction: float, seed: int, classes: Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Two parts of a set, the first with `fraction` of each class: sorted indices, int64, together all of 0..N-1.

    What rounding takes from one class it gives to the next. Every class is in both parts: raises ValueError for a
    class of one image, by its name if `classes` are given, and for a fraction outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the fraction of a split must lie in (0, 1); got {fraction}")
    if labels_N.ndim != 1 or len(labels_N) == 0:
        raise ValueError(f"a split needs labels of shape (N,), N > 0; got shape {tuple(labels_N.shape)}")
    firsts, seconds = [], []
    owed = 0.0
    for label in torch.bincount(labels_N).nonzero().flatten().tolist():
        ids_M = (labels_N == label).nonzero().flatten().cpu()
        if len(ids_M) < 2:
            name = repr(classes[label]) if classes else label
            raise ValueError(
                f"class {name} has only {len(ids_M)} image, so it would be missing from a part of the split; "
                "add images to it or leave it out"
            )
        wanted = len(ids_M) * fraction + owed
        # Not what a small class was held to: forty classes of 2 images would take it all from the next.
        owed = wanted - round(wanted)
        count = min(max(round(wanted), 1), len(ids_M) - 1)
        shuffled_M = ids_M[torch.randperm(len(ids_M), generator=_generator(SPLIT, seed, label))]
        firsts.append(shuffled_M[:count])
        seconds.append(shuffled_M[count:])
    return torch.cat(firsts).sort().values, torch.cat(seconds).sort().values


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


def _generator(*address: int) -> torch.Generator:
    return torch.Generator(device="cpu").manual_seed(mix_address(*address))
