"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), binary version: 50,000 + 10,000 colour images of 32 x 32 pixels.

A file is records of the label (in CIFAR-100 the label of the superclass, then that of the class), one byte each, then
1,024 red, 1,024 green and 1,024 blue pixels, row by row.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xnas.data.images import DataSet, ImageSet
from xnas.data.sets.download import fetch, unpack
from xnas.io.safe_read import read_regular

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
MOST_BYTES = 200_000_000
"""Bytes of a file; the largest official one has 154 million."""


@dataclass(frozen=True, kw_only=True)
class Cifar:
    """The files of one of the two sets."""

    name: str
    title: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    """The file that names the classes."""
    labels: int
    """Bytes of labels in a record; the last is that of the class."""
    num_classes: int
    url: str
    md5: str
    num_bytes: int

    @property
    def files(self) -> tuple[str, ...]:
        """All files of the set."""
        return (*self.train, *self.test, self.names)

    @property
    def record(self) -> int:
        """Bytes of a record."""
        return self.labels + PIXELS


CIFAR10 = Cifar(
    name="cifar10",
    title="CIFAR-10",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test=("test_batch.bin",),
    names="batches.meta.txt",
    labels=1,
    num_classes=10,
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    num_bytes=170_052_171,
)
CIFAR100 = Cifar(
    name="cifar100",
    title="CIFAR-100",
    folder="cifar-100-binary",
    train=("train.bin",),
    test=("test.bin",),
    names="fine_label_names.txt",
    labels=2,
    num_classes=100,
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    num_bytes=168_513_733,
)


def read_cifar10(root: Path | None, *, download: bool) -> DataSet:
    """CIFAR-10, as `read_cifar` does."""
    return read_cifar(CIFAR10, root, download=download)


def read_cifar100(root: Path | None, *, download: bool) -> DataSet:
    """CIFAR-100 with its 100 classes, as `read_cifar` does."""
    return read_cifar(CIFAR100, root, download=download)


def read_cifar(kind: Cifar, root: Path | None, *, download: bool) -> DataSet:
    """Return the set from `root` or its official folder in `root`; `root` is by default the folder data.

    With `download` the files are brought there if they are missing. Raises ValueError, saying what to do, if they
    cannot be had, or are damaged.
    """
    place = find_cifar(kind, root)
    if place is None:
        place, *_ = places = _places(kind, root)
        if not download:
            missing = next(name for name in kind.files if not os.path.isfile(place / name))
            raise ValueError(
                f"{kind.name}: there is no {missing} in {' or '.join(map(str, places))}; point --data.root to the "
                f"folder that holds {kind.folder}, or add --data.download ({kind.num_bytes / 1e6:.0f} MB)"
            )
        archive = fetch(kind.url, place.parent, md5=kind.md5, num_bytes=kind.num_bytes)
        unpack(archive, place, members=[f"{kind.folder}/{name}" for name in kind.files])
    classes = read_names(place / kind.names, kind)
    train, test = (_read_set(place, files, classes, kind) for files in (kind.train, kind.test))
    return DataSet(name=kind.name, train=train, test=test)


def find_cifar(kind: Cifar, root: Path | None) -> Path | None:
    """Return the folder that holds all files of the set, where `read_cifar` looks for it; None if it is not there."""
    return next(
        (place for place in _places(kind, root) if all(os.path.isfile(place / name) for name in kind.files)),
        None,
    )


def _places(kind: Cifar, root: Path | None) -> tuple[Path, Path]:
    home = Path("data") if root is None else root
    return home / kind.folder, home


def _read_set(folder: Path, files: tuple[str, ...], classes: tuple[str, ...], kind: Cifar) -> ImageSet:
    parts = []
    for name in files:
        images_NCHW, labels_N = read_records(folder / name, kind)
        wrong_N = labels_N >= kind.num_classes
        if wrong_N.any():
            first = int(wrong_N.nonzero()[0])
            raise ValueError(
                f"{folder / name}: record {first} has the label {int(labels_N[first])}, but labels go from 0 to "
                f"{kind.num_classes - 1}; is this the binary version of {kind.title}?"
            )
        parts.append((images_NCHW, labels_N))
    try:
        return ImageSet(
            images_NCHW=torch.cat([images_NCHW for images_NCHW, _ in parts]),
            labels_N=torch.cat([labels_N for _, labels_N in parts]),
            classes=classes,
        )
    except ValueError as error:
        raise ValueError(f"{folder}, {files[0]} to {files[-1]}: {error}") from error


def read_names(path: Path, kind: Cifar) -> tuple[str, ...]:
    """Return the names of the classes.

    Raises ValueError, naming the file, if they are not as many as there should be.
    """
    try:
        names = tuple(read_regular(path, what="names", most=10_000).decode("utf-8").split())
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read the names of the classes in {path}: {error}") from error
    if len(names) != kind.num_classes:
        raise ValueError(
            f"{path} must name {kind.num_classes} classes; got {len(names)}; bring the original file"
        )
    return names


def read_records(path: Path, kind: Cifar) -> tuple[Tensor, Tensor]:
    """Images and labels of one file, whatever the labels are. Raises ValueError, naming it, if it is damaged."""
    content = np.frombuffer(read_regular(path, what="images", most=MOST_BYTES), dtype=np.uint8).copy()
    if len(content) == 0 or len(content) % kind.record:
        raise ValueError(
            f"{path} has {len(content):,} bytes, which is no whole number of records of {kind.record:,} bytes; "
            "fetch the file again"
        )
    records_NR = torch.from_numpy(content).reshape(-1, kind.record)
    labels_N = records_NR[:, kind.labels - 1].to(torch.int64)
    return records_NR[:, kind.labels :].reshape(-1, *SHAPE), labels_N
