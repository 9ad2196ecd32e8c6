"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 28 x 28 grey images of ten kinds of clothing.

The whole set, 60,000 + 10,000 images, is read from its IDX files; 10,000 + 2,000 of them are shipped with xnas.
"""

import os
from importlib import resources
from pathlib import Path

import torch

from xnas.data.images import DataSet, ImageSet
from xnas.data.sets.download import fetch
from xnas.data.sets.idx import read_idx

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
TRAIN, TEST = "train", "t10k"
"""Prefixes of the two sets' file names."""
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Folder of Debian's package dataset-fashion-mnist."""
MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FILES = {
    "train-images-idx3-ubyte.gz": (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "train-labels-idx1-ubyte.gz": (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    "t10k-images-idx3-ubyte.gz": (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    "t10k-labels-idx1-ubyte.gz": (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
}
"""Bytes and md5 of the published files."""


def read_shipped() -> DataSet:
    """The 10,000 + 2,000 images that come with xnas: the first 1,000 + 200 of every class."""
    with resources.as_file(resources.files("xnas.data").joinpath("fashion_mnist")) as folder:
        train, test = (
            _read_set(folder / f"{prefix}-images-idx3-ubyte.xz", folder / f"{prefix}-labels-idx1-ubyte.xz")
            for prefix in (TRAIN, TEST)
        )
    return DataSet(name="fashion-mnist-small", train=train, test=test)


def read_fashion_mnist(root: Path | None, *, download: bool) -> DataSet:
    """Return the whole set, from `root`, `root`/FashionMNIST/raw (as torchvision keeps it), or Debian's package.

    With `download` the files are brought to `root`, by default the folder data, if they are nowhere. Raises
    ValueError, saying what to do, if they cannot be had, or are damaged.
    """
    place = find_fashion_mnist(root)
    if place is None:
        place, *_ = places = _places(root)
        if not download:
            missing = next(name for name in FILES if not _find(place, name))
            raise ValueError(
                f"fashion-mnist: there is no {missing} in {', '.join(map(str, places))}; point --data.root to the IDX "
                "files, install Debian's dataset-fashion-mnist, or add --data.download (31 MB)"
            )
        for name, (num_bytes, md5) in FILES.items():
            fetch(MIRROR + name, place, md5=md5, num_bytes=num_bytes)
    return _read_whole(place)


def find_fashion_mnist(root: Path | None) -> Path | None:
    """Return the folder that holds all files of the set, where `read_fashion_mnist` looks for it; None if it is not
    there."""
    return next((place for place in _places(root) if all(_find(place, name) for name in FILES)), None)


def _places(root: Path | None) -> tuple[Path, Path, Path]:
    home = Path("data") if root is None else root
    return home / "FashionMNIST" / "raw", home, DEBIAN


def _read_whole(folder: Path) -> DataSet:
    train_images, train_labels, test_images, test_labels = files_of(folder)
    train, test = _read_set(train_images, train_labels), _read_set(test_images, test_labels)
    return DataSet(name="fashion-mnist", train=train, test=test)


def files_of(folder: Path) -> list[Path]:
    """Return the files that are there, in the order of FILES, packed or not."""
    return [path for name in FILES if (path := _find(folder, name)) is not None]


def _read_set(images_path: Path, labels_path: Path) -> ImageSet:
    images_NHW, labels_N = read_idx(images_path), read_idx(labels_path)
    if images_NHW.ndim != 3 or labels_N.ndim != 1:
        raise ValueError(
            f"{images_path} and {labels_path} must have 3 dimensions and 1; got {images_NHW.ndim} and {labels_N.ndim}; "
            "bring the original files"
        )
    try:
        return ImageSet(images_NCHW=images_NHW[:, None], labels_N=labels_N.to(torch.int64), classes=CLASSES)
    except ValueError as error:
        raise ValueError(f"{images_path} and {labels_path.name}: {error}") from error


def _find(folder: Path, name: str) -> Path | None:
    """Return a file by its published name, packed or not."""
    paths = (folder / name.removesuffix(".gz"), folder / name)
    return next((path for path in paths if os.path.isfile(path)), None)
