"""A folder of images gone through to the end: its layout, every image, and the set that they make together.

In memory are the paths, and of every image a hash of 8 bytes; images are decoded by a few threads, one at a time each.
N: images that can be read, training images first.
"""

import math
from array import array
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from xnas.data.check.class_balance import check_counts
from xnas.data.check.duplicates import check_copies
from xnas.data.check.image import ImageReport, inspect_image
from xnas.data.check.layout import OTHER_FILES, FolderPart, FolderWalk
from xnas.data.files.decode import Broken, each
from xnas.data.files.decode_memory import DecodeMemory
from xnas.data.files.folder import LEAST_SIZE, MOST_AREA, MOST_BYTES, middle_side
from xnas.data.files.listing import holds_folders
from xnas.data.images import check_same_classes
from xnas.data.issues import ClassCount, Issues, IssueType, Progress, Report
from xnas.data.sets.known_folders import FolderSet

TOO_LARGE = IssueType(
    "sets larger than memory should hold",
    "they are read while training; a smaller --data.image-size makes that faster, or unnecessary",
    error=False,
)
SIZES = IssueType(
    "images of another size than most",
    "all are scaled and cropped to a square; --data.image-size chooses its side",
    error=False,
)
USUAL_PADDING = 4
"""Pixels: what data.padding is unless it is set."""
TOO_SMALL = IssueType(
    f"images of {USUAL_PADDING} pixels a side or fewer, which data.padding can push out of sight",
    "scale them up with --data.image-size, or run with a smaller --data.padding",
)
TOO_MANY_PIXELS = IssueType(
    "images of more pixels than a network is trained on", "bring them to fewer with --data.image-size"
)
DEPTHS = IssueType(
    "16-bit images among others",
    "their values are divided by 257, which leaves 10 or 12 bits in 16 nearly black; save all with 8 bits",
    error=False,
)

FEW_BITS = IssueType(
    "16-bit images that use fewer bits",
    "their values are divided by 257, which leaves few grey levels: scale them to 65,535, or save them with 8 bits",
    error=False,
)
LEAST_HIGHEST = 2**14
"""What the brightest pixel of all 16-bit images should reach: below it 64 of 256 levels are left, and 16 of 12 bits."""


def check_folder(
    root: Path,
    *,
    image_size: int | None,
    memory: DecodeMemory,
    progress: Progress,
    kind: FolderSet | None = None,
    fold: int | None = None,
) -> Report:
    """Everything that is wrong with a folder of images, which may be that of a set known by name.

    Raises ValueError, as reading does, where a list that says what is in such a set cannot be read or does not fit.
    """
    findings = Issues()
    walk = FolderWalk(root, findings)
    train, test = walk.parts() if kind is None else _parts_of_set(walk, kind, fold)
    parts = [train] if test is None else [train, test]
    check_counts({name: train.count(name) for name in train.classes}, findings, split=test is None)
    images = _Images(walk, parts)
    images.look(progress, memory)
    images.check_sizes(image_size)
    images.check_hashes()
    names = sorted({name for part in parts for name in part.classes})
    return Report(
        source=str(root),
        holds=f"a folder of {len(images.paths):,} images",
        classes=tuple(
            ClassCount(name=name, train=train.count(name), test=test.count(name) if test else 0)
            for name in names
        ),
        split=test is None,
        findings=findings.by_kind(),
    )


def _parts_of_set(walk: FolderWalk, kind: FolderSet, fold: int | None) -> tuple[FolderPart, FolderPart]:
    """What a run reads of a set that is known by name, for training and for the test."""
    if kind.class_folders is not None and holds_folders(walk.root / kind.class_folders[1]):
        return walk.parts_called(*kind.class_folders)
    listings = kind.lists(walk.root, fold)
    check_same_classes(listings[0].classes, listings[1].classes, where=str(walk.root))
    for line in (line for listing in listings for line in listing.remarks):
        walk.findings.add(OTHER_FILES, line)
    parts = [FolderPart(walk.root, {name: [] for name in listing.classes}) for listing in listings]
    for part, listing in zip(parts, listings, strict=True):
        for path, label in zip(listing.paths, listing.labels_N.tolist(), strict=True):
            part.classes[listing.classes[label]].append(Path(path))
    return parts[0], parts[1]


class _Images:
    """What is known of the images of all parts."""

    def __init__(self, walk: FolderWalk, parts: list[FolderPart]) -> None:
        self.walk = walk
        self.paths = [path for part in parts for paths in part.classes.values() for path in paths]
        self.num_train = sum(map(len, parts[0].classes.values()))
        labels = {name: i for i, name in enumerate(sorted({name for part in parts for name in part.classes}))}
        self.labels = array(
            "q",
            (labels[name] for part in parts for name, paths in part.classes.items() for _ in paths),
        )
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.of_size: dict[tuple[int, int], Path] = {}
        self.deep: list[Path] = []
        self.highest = 0
        self.grey = True
        self.hashes, self.ids_N = array("Q"), array("q")

    def look(self, progress: Progress, memory: DecodeMemory) -> None:
        """Decode every image, and note what is wrong with it."""
        for number, look in enumerate(each(partial(inspect_image, memory=memory), self.paths)):
            assert not isinstance(look, Broken), look.reason
            self._take(number, look)
            progress(number + 1, len(self.paths))

    def _take(self, number: int, look: ImageReport) -> None:
        path = self.paths[number]
        for kind, how in look.faults:
            self.walk.note(kind, path, how)
        if look.hash is None:
            return
        self.hashes.append(look.hash)
        self.ids_N.append(number)
        size = (look.height, look.width)
        self.sizes[size] += 1
        self.of_size.setdefault(size, path)
        self.grey &= look.grey
        if look.deep:
            self.deep.append(path)
            self.highest = max(self.highest, look.highest)

    def check_sizes(self, image_size: int | None) -> None:
        """One size for all, depths that fit together, and a whole that fits into memory."""
        if not self.sizes:
            return
        if 0 < len(self.deep) < len(self.ids_N):
            self.walk.findings.add_all(DEPTHS, len(self.deep), lambda i: self.walk.name(self.deep[i]))
        elif self.deep and self.highest < LEAST_HIGHEST:
            said = f"{self.walk.name(self.deep[0])} (the largest value of all is {self.highest:,} of 65,535)"
            self.walk.findings.add(FEW_BITS, said, count=len(self.deep))
        usual, _ = self.sizes.most_common(1)[0]
        if image_size is None and len(self.sizes) > 1:
            for size, count in self.sizes.items():
                if size != usual:
                    said = f"{self.walk.name(self.of_size[size])} ({_shown(size)}, most are {_shown(usual)})"
                    self.walk.findings.add(SIZES, said, count=count)
        height, width = (image_size, image_size) if image_size else self._common_size()
        if min(height, width) <= USUAL_PADDING:
            self.walk.findings.add(TOO_SMALL, _shown((height, width)), count=len(self.ids_N))
        if image_size is None and height * width > MOST_AREA:
            self.walk.findings.add(TOO_MANY_PIXELS, _shown((height, width)), count=len(self.ids_N))
        channels = 1 if self.grey else 3
        num_bytes = len(self.paths) * channels * height * width
        if num_bytes > MOST_BYTES:
            fitting = math.isqrt(MOST_BYTES // (len(self.paths) * channels))
            hint = f"--data.image-size {fitting} fits" if fitting >= LEAST_SIZE else "no size fits"
            self.walk.findings.add(
                TOO_LARGE,
                f"{len(self.paths):,} images of {_shown((height, width))} take {num_bytes / 2**30:.1f} GiB, more than "
                f"{MOST_BYTES / 2**30:.0f}; {hint}",
            )

    def _common_size(self) -> tuple[int, int]:
        """What reading brings all images to: their own size, or a square of the middle of their shorter sides."""
        if len(self.sizes) == 1:
            return next(iter(self.sizes))
        middle = middle_side(min(size) for size in self.sizes.elements())
        return middle, middle

    def check_hashes(self) -> None:
        """Images that are there more than once."""
        ids_N = np.asarray(self.ids_N)
        check_copies(
            np.asarray(self.hashes),
            np.asarray(self.labels)[ids_N],
            train=int((ids_N < self.num_train).sum()),
            name=lambda i: self.walk.name(self.paths[ids_N[i]]),
            findings=self.walk.findings,
        )


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
