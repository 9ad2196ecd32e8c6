"""The same image more than once, found by a hash of its pixels and shape.

Exact copies alone: an image that was scaled or compressed again with loss is another image here. A hash has 64 bits, so
that among a million images the chance of two that share it by accident is 3e-8. N: images, training images first.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xnas.data.issues import Issues, IssueType

SEEN_SHARE = 0.01
"""Share of test images seen in training from which on the test is worthless.

A share s of them can move the test accuracy by s. Below 1 % that is within the interval that a few thousand test images
leave, and published sets with a few known copies stay usable; from 1 % on it is as large as the differences between
architectures that a test is there to tell.
"""

MANY_SEEN = IssueType(
    "images in both train and test, 1 % of the test or more",
    "the test would measure memory: take them out of one of the two",
)
FEW_SEEN = IssueType(
    "images in both train and test, less than 1 % of the test",
    "take them out of train, or remember that the test accuracy can be off by their share",
    error=False,
)
MANY_REPEATED = IssueType(
    "images more than once, 1 % or more, in a folder that has no test images",
    "the split would put copies on both sides: keep one of each, or make the folders train/CLASS and test/CLASS",
)
REPEATED = IssueType(
    "images more than once within a part", "keep one of each; copies count double", error=False
)
TWO_CLASSES = IssueType(
    "images under two classes", "decide for one of the classes, or take them out", error=False
)


def image_hash(pixels: NDArray[np.uint8]) -> int:
    """64 bits of an image's pixels and shape."""
    hasher = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    hasher.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(hasher.digest(), "big")


def hash_images(images_NCHW: Tensor) -> NDArray[np.uint64]:
    """The hash of every image."""
    return np.fromiter(map(image_hash, images_NCHW.numpy()), dtype=np.uint64, count=len(images_NCHW))


def first_copies(hashes_N: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For every image the index of the first that is the same; its own if there is none before it."""
    _, first_U, group_N = np.unique(hashes_N, return_index=True, return_inverse=True)
    first_N: NDArray[np.int64] = first_U[group_N]
    return first_N


def seen_in_training(hashes_N: NDArray[np.uint64], *, train: int) -> list[tuple[int, int]]:
    """(i, j) for every test image i that is also a training image, and the first such j."""
    first_N = first_copies(hashes_N)
    seen = train + np.flatnonzero(first_N[train:] < train)
    return list(zip(seen.tolist(), first_N[seen].tolist(), strict=True))


def repeated(hashes_N: NDArray[np.uint64], *, train: int) -> list[tuple[int, int]]:
    """(i, j) for every image i that repeats an earlier one j of its own part."""
    pairs: list[tuple[int, int]] = []
    for start, part_N in ((0, hashes_N[:train]), (train, hashes_N[train:])):
        first_N = first_copies(part_N)
        again = np.flatnonzero(first_N != np.arange(len(part_N)))
        pairs += zip((start + again).tolist(), (start + first_N[again]).tolist(), strict=True)
    return pairs


def two_classes(
    hashes_N: NDArray[np.uint64], labels_N: Sequence[int] | NDArray[np.int64]
) -> list[tuple[int, int]]:
    """(i, j) for every picture that has images i and j < i of different classes; one pair a picture."""
    first_N, labels = first_copies(hashes_N), np.asarray(labels_N, dtype=np.int64)
    contrary = np.flatnonzero(labels != labels[first_N])
    firsts, where = np.unique(first_N[contrary], return_index=True)
    return list(zip(contrary[where].tolist(), firsts.tolist(), strict=True))


def check_copies(
    hashes_N: NDArray[np.uint64],
    labels_N: Sequence[int] | NDArray[np.int64],
    *,
    train: int,
    name: Callable[[int], str],
    findings: Issues,
) -> None:
    """Every image that is there more than once. Without test images, those of a split are drawn from the rest."""
    seen = seen_in_training(hashes_N, train=train)
    again = repeated(hashes_N, train=train)
    test = len(hashes_N) - train
    seen_kind = MANY_SEEN if len(seen) >= SEEN_SHARE * test else FEW_SEEN
    again_kind = MANY_REPEATED if test == 0 and len(again) >= SEEN_SHARE * train else REPEATED

    def add(kind: IssueType, pairs: list[tuple[int, int]]) -> None:
        findings.add_all(kind, len(pairs), lambda number: " = ".join(map(name, pairs[number])))

    add(seen_kind, seen)
    add(TWO_CLASSES, two_classes(hashes_N, labels_N))
    add(again_kind, again)
