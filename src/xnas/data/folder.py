"""A folder of images as a data set: train/CLASS/* and test/CLASS/*, or CLASS/* of which a share becomes the test set.

Classes are in the order of their names, and so are the images of a class. An image that all files show without colour
has 1 channel, otherwise 3.
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from xnas.data.decode import SUFFIXES, Header, read_headers, read_pixels
from xnas.data.download import Say
from xnas.data.images import DataSet, ImageSet, check_same_classes
from xnas.data.order import split

TEST_NAMES = ("test", "val", "valid")
MOST_BYTES = 8 * 2**30
LEAST_SIZE = 8


@dataclass(frozen=True)
class Listing:
    """The image files of some classes."""

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def part(self, ids: list[int]) -> "Listing":
        """Some of the files."""
        return Listing(self.classes, tuple(self.paths[i] for i in ids), tuple(self.labels[i] for i in ids))


def read_folder(root: Path, *, image_size: int | None, test_fraction: float, seed: int, say: Say) -> DataSet:
    """The data set that a folder holds. A folder without test images is split by the seed, class by class.

    With `image_size` every image is scaled and cropped to a square of that side; without, they keep their size if they
    share one, and become squares of the middle size if not. Raises ValueError, naming the folder or file, where the
    layout or an image is unfit.
    """
    train, test = _list_sets(root, test_fraction=test_fraction, seed=seed, say=say)
    paths = (*train.paths, *test.paths)
    headers = read_headers(paths)
    square = _square(paths, headers, image_size, say)
    size = (square, square) if square is not None else (headers[0].height, headers[0].width)
    channels = 1 if all(header.grey for header in headers) else 3
    num_bytes = len(paths) * channels * size[0] * size[1]
    if num_bytes > MOST_BYTES:
        raise ValueError(
            f"{root}: {len(paths):,} images of {size[0]} x {size[1]} pixels take {num_bytes / 2**30:.1f} GiB of "
            f"memory, more than {MOST_BYTES / 2**30:.0f}; choose a smaller --data.image-size"
        )
    sets = [
        read_pixels(part.paths, channels=channels, size=size, square=square, say=say)
        for part in (train, test)
    ]
    if all(colourless for _, colourless in sets):
        channels = 1
    train_set, test_set = (
        ImageSet(
            images_NCHW=images_NCHW[:, :channels].contiguous(),
            labels_N=torch.tensor(part.labels),
            classes=part.classes,
        )
        for part, (images_NCHW, _) in zip((train, test), sets, strict=True)
    )
    return DataSet(name=root.resolve().name, train=train_set, test=test_set)


def _list_sets(root: Path, *, test_fraction: float, seed: int, say: Say) -> tuple[Listing, Listing]:
    if not os.path.isdir(root):
        what = "is a file" if os.path.isfile(root) else "does not exist"
        raise ValueError(f"the folder of images {root} {what}; give a folder of train/CLASS/* or of CLASS/*")
    home = root.resolve()
    folders = {path.name.lower(): path for path in _entries(root, home) if path.is_dir()}
    train_folder = folders.get("train")
    # A class may be called train: then images lie in it, and no folders.
    if train_folder is not None and any(path.is_dir() for path in _entries(train_folder, home)):
        train = _list_classes(train_folder, home, say)
        test_folder = next((folders[name] for name in TEST_NAMES if name in folders), None)
        if test_folder is not None:
            test = _list_classes(test_folder, home, say)
            check_same_classes(train.classes, test.classes, where=str(root))
            return train, test
        whole = train
    else:
        whole = _list_classes(root, home, say)
    counts = Counter(whole.labels)
    for label, name in enumerate(whole.classes):
        if counts[label] < 2:
            raise ValueError(
                f"the class {name!r} in {root} has only 1 image, too few to test on a part of them; add images, "
                "or make the folders train/CLASS and test/CLASS"
            )
    test_N, train_N = split(torch.tensor(whole.labels), fraction=test_fraction, seed=seed)
    say(f"{root} has no test images: {len(test_N):,} of {len(whole.labels):,} are set aside for the test")
    return whole.part(train_N.tolist()), whole.part(test_N.tolist())


def _list_classes(folder: Path, home: Path, say: Say) -> Listing:
    class_folders = [path for path in _entries(folder, home) if path.is_dir()]
    if not class_folders:
        raise ValueError(
            f"{folder} has no folders of classes; put the images of every class into {folder}/CLASS"
        )
    if len(class_folders) == 1:
        raise ValueError(
            f"{folder} has one class only, {class_folders[0].name!r}; put the images of a second into "
            f"{folder}/CLASS"
        )
    paths: list[Path] = []
    labels: list[int] = []
    others: list[Path] = []
    for label, class_folder in enumerate(class_folders):
        entries = _entries(class_folder, home)
        images = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
        if not images:
            raise ValueError(
                f"the class folder {class_folder} has no images; put some in ({', '.join(sorted(SUFFIXES))}), or "
                "take the folder out"
            )
        kept = set(images)
        others += [path for path in entries if path not in kept]
        paths += images
        labels += [label] * len(images)
    if others:
        say(f"{folder}: passed over {len(others):,} entries that are no images, such as {others[0]}")
    return Listing(tuple(path.name for path in class_folders), tuple(paths), tuple(labels))


def _entries(folder: Path, home: Path) -> list[Path]:
    """What is in a folder and not hidden, by name. Raises ValueError for a link that leads out of `home`."""
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ValueError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    for path in entries:
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            raise ValueError(
                f"{path} is a link to {path.resolve()}, outside of {home}; put the file itself there, or take it out"
            )
    return entries


def _square(paths: tuple[Path, ...], headers: list[Header], image_size: int | None, say: Say) -> int | None:
    """The side to which images are brought, or None if they stay as they are."""
    if image_size is not None:
        if image_size < LEAST_SIZE:
            raise ValueError(f"data.image_size must be at least {LEAST_SIZE}; got {image_size}")
        return image_size
    first = headers[0]
    other = next(
        (
            i
            for i, header in enumerate(headers)
            if (header.height, header.width) != (first.height, first.width)
        ),
        None,
    )
    if other is None:
        return None
    sides = sorted(min(header.height, header.width) for header in headers)
    middle = max(sides[len(sides) // 2], LEAST_SIZE)
    say(
        f"images differ in size ({paths[0]} {first.width} x {first.height}, {paths[other]} {headers[other].width} x "
        f"{headers[other].height}): all are brought to {middle} x {middle}, the middle size; --data.image-size "
        "chooses another"
    )
    return middle
