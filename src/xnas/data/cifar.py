"""CIFAR-10 (Krizhevsky 2009), binary version: 50,000 + 10,000 colour images of 32 x 32 pixels.

A file is records of 3,073 bytes: the label, then 1,024 red, 1,024 green and 1,024 blue pixels, row by row.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xnas.data.download import Say, fetch, unpack
from xnas.data.images import DataSet, ImageSet
from xnas.space.regular_file import read_regular

FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
NAMES = "batches.meta.txt"
FILES = (*TRAIN, *TEST, NAMES)
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
NUM_BYTES = 170_052_171
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
NUM_CLASSES = 10
MOST_BYTES = 100_000_000
"""Of a file; the official ones have 31 million."""


def read_cifar10(root: Path | None, *, download: bool, say: Say) -> DataSet:
    """The set from `root` or `root`/cifar-10-batches-bin; `root` is by default the folder data.

    With `download` the files are brought there if they are missing. Raises ValueError, saying what to do, if they
    cannot be had, or are damaged.
    """
    place = find_cifar10(root)
    if place is None:
        place, *_ = places = _places(root)
        if not download:
            missing = next(name for name in FILES if not (place / name).is_file())
            raise ValueError(
                f"cifar10: there is no {missing} in {' or '.join(map(str, places))}; point --data.root to the folder "
                f"that holds {FOLDER}, or add --data.download (170 MB)"
            )
        archive = fetch(URL, place.parent, md5=MD5, num_bytes=NUM_BYTES, say=say)
        unpack(archive, place, members=[f"{FOLDER}/{name}" for name in FILES])
    return _read(place)


def find_cifar10(root: Path | None) -> Path | None:
    """The folder that holds all files of the set, where `read_cifar10` looks for it."""
    return next((place for place in _places(root) if all((place / name).is_file() for name in FILES)), None)


def _places(root: Path | None) -> tuple[Path, Path]:
    home = Path("data") if root is None else root
    return home / FOLDER, home


def _read(folder: Path) -> DataSet:
    classes = read_names(folder / NAMES)
    return DataSet(
        name="cifar10", train=_read_set(folder, TRAIN, classes), test=_read_set(folder, TEST, classes)
    )


def _read_set(folder: Path, files: tuple[str, ...], classes: tuple[str, ...]) -> ImageSet:
    parts = []
    for name in files:
        images_NCHW, labels_N = read_records(folder / name)
        wrong_N = labels_N >= NUM_CLASSES
        if wrong_N.any():
            first = int(wrong_N.nonzero()[0])
            raise ValueError(
                f"{folder / name}: record {first} has the label {int(labels_N[first])}, but labels go from 0 to "
                f"{NUM_CLASSES - 1}; is this the binary version of CIFAR-10?"
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


def read_names(path: Path) -> tuple[str, ...]:
    """The names of the classes. Raises ValueError, naming the file, if they are not ten."""
    try:
        names = tuple(read_regular(path, what="names", most=10_000).decode("utf-8").split())
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read the names of the classes in {path}: {error}") from error
    if len(names) != NUM_CLASSES:
        raise ValueError(f"{path} must name {NUM_CLASSES} classes; got {len(names)}; bring the original file")
    return names


def read_records(path: Path) -> tuple[Tensor, Tensor]:
    """Images and labels of one file, whatever the labels are. Raises ValueError, naming it, if it is damaged."""
    content = np.frombuffer(read_regular(path, what="images", most=MOST_BYTES), dtype=np.uint8).copy()
    if len(content) == 0 or len(content) % RECORD:
        raise ValueError(
            f"{path} has {len(content):,} bytes, which is no whole number of records of {RECORD:,} bytes; "
            "bring the file anew"
        )
    records_NR = torch.from_numpy(content).reshape(-1, RECORD)
    labels_N = records_NR[:, 0].to(torch.int64)
    return records_NR[:, 1:].reshape(-1, *SHAPE), labels_N
