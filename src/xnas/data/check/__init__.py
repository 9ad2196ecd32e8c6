"""What is wrong with data, before hours are spent on it.

Reading data stops at the first mistake; `check_data` goes through everything and lists all. `quick_check` is the part
of it that costs next to nothing on images that are in memory: 0.3 s on CIFAR-10's 60,000.
"""

import math
from pathlib import Path

import numpy as np

from xnas.data.check.class_balance import unequal_classes
from xnas.data.check.duplicates import hash_images, seen_in_training
from xnas.data.check.folder import check_folder
from xnas.data.check.named import check_named
from xnas.data.files.decode_memory import DEFAULT, DecodeMemory
from xnas.data.images import DataSet, ImageSet
from xnas.data.issues import Progress, Report
from xnas.data.names import DATA_SETS
from xnas.data.sets.known_folders import FOLDER_SETS, find_folder_set
from xnas.data.sets.registry import check_fold
from xnas.io.paths import expanded, is_path
from xnas.io.text import choose, printable

MOST_BYTES = 2**30
"""Pixels up to which a glance looks for copies, at 0.8 GB/s: a second and a half at the most."""


def check_data(
    source: str,
    *,
    root: Path | None = None,
    image_size: int | None = None,
    download: bool = False,
    fold: int | None = None,
    decode_memory: float = DEFAULT,
    progress: Progress = lambda done, total: None,
) -> Report:
    """All that is wrong with the data set of a name, or a folder of images.

    root, image_size, download, fold, decode_memory: as in `load_data`; an image size is only looked at for a folder.
    progress: takes how many images of a folder have been looked at, and of how many.

    Raises ValueError if there is no such data.
    """
    root = None if root is None else expanded(root)
    check_fold(source, fold)
    memory = DecodeMemory(decode_memory)
    if source in DATA_SETS or not is_path(source):
        try:
            name = choose("data set", source, DATA_SETS)
        except ValueError as error:
            raise ValueError(f"{error}; or give the path of a folder of images") from error
        folder = find_folder_set(name, root) if name in FOLDER_SETS else None
        if folder is not None:
            kind = FOLDER_SETS[name]
            size = image_size or kind.image_size
            return check_folder(
                folder, image_size=size, memory=memory, progress=progress, kind=kind, fold=fold
            )
        return check_named(name, root=root, download=download)
    path = expanded(source)
    if path.is_dir():
        return check_folder(path, image_size=image_size, memory=memory, progress=progress)
    what = "is a file" if path.exists() else "does not exist"
    raise ValueError(
        f"{path} {what}; give a folder of train/CLASS/* or of CLASS/*, or one of {', '.join(DATA_SETS)}"
    )


def quick_check(data: DataSet, *, check: str) -> list[str]:
    """Test images that are also training images, and classes of very unequal size: a line each.

    check: the command that lists them all.
    """
    lines = []
    classes = data.train.classes
    if seen := _seen(data):
        i, j = seen[0]
        first = (
            f"test image {i} ({printable(classes[int(data.test.labels_N[i])])}) is training image {j} "
            f"({printable(classes[int(data.train.labels_N[j])])})"
        )
        command = "is also a training image" if len(seen) == 1 else "are also training images"
        lines.append(
            f"{len(seen):,} of {len(data.test):,} test images {command} (first: {first}); {check} lists them"
        )
    counts = data.train.labels_N.bincount(minlength=len(classes)).tolist()
    if unequal := unequal_classes(dict(zip(classes, counts, strict=True))):
        lines.append(f"the classes are very unequal: {unequal}; {check} counts them all")
    return lines


def _seen(data: DataSet) -> list[tuple[int, int]]:
    """(i, j) for every test image i that is training image j; none are looked for where that would take long."""
    parts = [part for part in (data.train, data.test) if isinstance(part, ImageSet)]
    if len(parts) < 2 or sum(map(len, parts)) * math.prod(data.image_shape) > MOST_BYTES:
        return []
    hashes_N = np.concatenate([hash_images(chunk_BCHW) for part in parts for chunk_BCHW in part.chunks()])
    return [(i - len(data.train), j) for i, j in seen_in_training(hashes_N, train=len(data.train))]
