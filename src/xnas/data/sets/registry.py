"""Data sets by name, or from a folder of images."""

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from xnas.data.files.decode_memory import DEFAULT
from xnas.data.files.folder import LEAST_SIZE, MOST_BYTES, read_folder
from xnas.data.images import DataSet, Images, ImageSet
from xnas.data.names import DATA_SETS, FOLDER_SETS, READERS, SHIPPED
from xnas.data.sets.fashion_mnist import read_shipped
from xnas.data.sets.known_folders import read_folder_set
from xnas.io.paths import expanded, is_path
from xnas.io.plain_value import plain_value
from xnas.io.registry import import_from
from xnas.io.text import choose, short_repr

Number = TypeVar("Number", int, int | None)

FOLDED = "freiburg"


def load_data(
    source: str | Path,
    *,
    root: str | Path | None = None,
    image_size: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    download: bool = False,
    workers: int | None = None,
    local_world_size: int = 1,
    max_broken: int = 0,
    decode_memory: float = DEFAULT,
    fold: int | None = None,
    resized_crops: bool = False,
) -> DataSet:
    """The data set of a name, or of a folder of images.

    root: where the files of a named set are, by default the folder data; `download` brings them there.
    image_size: the side in pixels to which images are brought, at least 8; by default they stay as they are, and in a
    folder of several sizes get a middle one. test_fraction, seed: the share of each class that becomes the test set,
    and how it is drawn, for a folder without one. workers: processes that read the images of a folder while training;
    by default it is held in memory, and one beyond 8 GiB is read by a process for each core. sharers: so many, this one
    included, read the same images on this machine, and divide its memory and cores among them. max_broken: images of a
    folder that may be unreadable. decode_memory: GiB that decoding them takes at most, and one of them half of that.
    fold: which of freiburg's five folds is meant, by default the first, 0. resized_crops: whether training takes such
    crops: the test images of a folder are then cut as is usual with them.

    Raises ValueError if there is no such set, its files cannot be had, or they are damaged or unfit.
    """
    if not isinstance(source, str | Path):
        raise ValueError(
            f"source must be the name of a data set or a folder of images; got {short_repr(source)}"
        )
    image_size, workers, fold = (
        _whole(name, value)
        for name, value in (("image_size", image_size), ("workers", workers), ("fold", fold))
    )
    seed, max_broken = _whole("seed", seed), _whole("max_broken", max_broken)
    test_fraction = plain_value(test_fraction)
    if not isinstance(test_fraction, int | float):
        raise ValueError(f"test_fraction must be a number; got {short_repr(test_fraction)}")
    decode_memory = plain_value(decode_memory)
    if type(decode_memory) not in (int, float) or not 0.001 <= decode_memory <= 1024:
        raise ValueError(
            f"decode_memory must lie between 0.001 and 1024 GiB; got {short_repr(decode_memory)}"
        )
    source = str(source)
    folder = source not in DATA_SETS and is_path(source)
    root = None if root is None else expanded(root)
    check_fold(source, fold)
    if folder:
        return read_folder(
            expanded(source),
            image_size=image_size,
            test_fraction=test_fraction,
            seed=seed,
            workers=workers,
            local_world_size=local_world_size,
            max_broken=max_broken,
            decode_memory=decode_memory,
            resized_crops=resized_crops,
        )
    try:
        name = choose("data set", source, DATA_SETS)
    except ValueError as error:
        raise ValueError(f"{error}; or give the path of a folder of images") from error
    if name in FOLDER_SETS:
        return read_folder_set(
            name,
            root,
            fold=fold,
            image_size=image_size,
            workers=workers,
            local_world_size=local_world_size,
            max_broken=max_broken,
            decode_memory=decode_memory,
            resized_crops=resized_crops,
            download=download,
        )
    data = (
        read_shipped()
        if name == SHIPPED
        else import_from("xnas.data.sets", READERS[name])(root, download=download)
    )
    return data if image_size is None else _resize(data, image_size)


def _whole(name: str, value: Number) -> Number:
    """Return a whole number, as Python's own; None stays. Raises ValueError for anything else."""
    plain: Number = plain_value(value)
    if plain is not None and type(plain) is not int:
        raise ValueError(f"{name} must be a whole number; got {short_repr(value)}")
    return plain


def check_fold(source: str, fold: int | None) -> None:
    """Raise ValueError for a fold of a set that has none."""
    if fold is not None and source != FOLDED:
        raise ValueError(f"data.fold is for {FOLDED}, which has official folds; leave it out for {source}")


def _resize(data: DataSet, image_size: int) -> DataSet:
    if image_size < LEAST_SIZE:
        raise ValueError(f"data.image_size must be at least {LEAST_SIZE}; got {image_size}")
    if data.image_shape[1:] == (image_size, image_size):
        return data
    images = len(data.train) + len(data.test)
    num_bytes = images * data.image_shape[0] * image_size**2
    if num_bytes > MOST_BYTES:
        raise ValueError(
            f"{images:,} images of {image_size} x {image_size} pixels take {num_bytes / 2**30:.1f} GiB of memory, more "
            f"than {MOST_BYTES / 2**30:.0f}; choose a smaller --data.image-size"
        )
    return DataSet(
        name=data.name, train=_resize_set(data.train, image_size), test=_resize_set(data.test, image_size)
    )


def _resize_set(images: Images, image_size: int) -> ImageSet:
    from torchvision.transforms.v2 import functional  # takes a while to import

    resized_NCHW: Tensor = torch.cat(
        [
            functional.resize(chunk_BCHW, [image_size, image_size], antialias=True)
            for chunk_BCHW in images.chunks()
        ]
    )
    return ImageSet(images_NCHW=resized_NCHW, labels_N=images.labels_N, classes=images.classes)
