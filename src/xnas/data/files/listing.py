"""The image files of a folder: train/CLASS/* and test/CLASS/*, or CLASS/* of which a share becomes the test set.

Classes are in the order of their names, and so are the images of a class.
"""

import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from xnas.data.files.decode import SUFFIXES
from xnas.data.images import check_same_classes
from xnas.data.sampling import split
from xnas.io.text import one_form, printable

log = logging.getLogger(__name__)

TEST_NAMES = ("test", "val", "valid", "validation")
PART_NAMES = frozenset({"train", "training", *TEST_NAMES, "testing", "dev", "eval"})
"""What parts of a set are called, and classes seldom: folders that are all called so are not taken for classes."""
TO_CLASSES = (
    "move the images of every class into train/CLASS and test/CLASS, or name the folders after their classes"
)
RENAME = "rename it"
ONE_OF_TWINS = "move the images of one into the other"
NAMED = 5
"""Folders, and kinds of files, that are named of those passed over."""
OF_SYSTEMS = frozenset(
    {
        "@eadir", "@__thumb", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "system volume information",
        "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini",
    }
)  # fmt: skip
"""What systems put beside a user's files, thumbnails among them, in small letters."""


@dataclass(frozen=True)
class Listing:
    """The image files of some classes."""

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels_N: Tensor
    """int64, an index into `classes`."""
    remarks: tuple[str, ...] = ()
    """Lines on files that were passed over."""

    def log_remarks(self) -> None:
        """Tell the user what was passed over."""
        for line in self.remarks:
            log.info(line)

    def part(self, ids: Sequence[int]) -> "Listing":
        """Some of the files."""
        labels_N = self.labels_N[torch.tensor(ids, dtype=torch.int64)]
        return Listing(self.classes, tuple(self.paths[i] for i in ids), labels_N)


def list_sets(root: Path, *, test_fraction: float, seed: int) -> tuple[Listing, Listing]:
    """The training and the test images of a folder; one without test images is split by the seed, class by class.

    Raises ValueError, naming the folder, where the layout is unfit.
    """
    if not os.path.isdir(root):
        what = "is a file" if os.path.isfile(root) else "does not exist"
        raise ValueError(f"the folder of images {root} {what}; give a folder of train/CLASS/* or of CLASS/*")
    home = root.resolve()
    entries = [path for path in entries_of(root, home) if path.is_dir()]
    folders = {path.name.lower(): path for path in entries}
    train_folder = folders.get("train")
    # A class may be called train: then images lie in it, and no folders.
    if train_folder is not None and any(path.is_dir() for path in entries_of(train_folder, home)):
        train = list_classes(train_folder, home)
        train.log_remarks()
        test_folder = next((folders[name] for name in TEST_NAMES if name in folders), None)
        if others := [path.name for path in entries if path not in (train_folder, test_folder)]:
            named = f"{', '.join(map(printable, others[:NAMED]))}{', ...' if len(others) > NAMED else ''}"
            log.info(
                f"{root}: passed over {named}, beside train; test images are those of the first folder of "
                f"{', '.join(TEST_NAMES)} that is there"
            )
        if test_folder is not None:
            test = list_classes(test_folder, home)
            test.log_remarks()
            check_same_classes(train.classes, test.classes, where=str(root))
            return train, test
        whole = train
    elif folders and PART_NAMES.issuperset(folders):
        raise ValueError(
            f"the folders of {root} are called like parts of a set, not like classes: "
            f"{', '.join(printable(path.name) for path in entries)}; {TO_CLASSES}"
        )
    else:
        whole = list_classes(root, home)
        whole.log_remarks()
    counts = torch.bincount(whole.labels_N).tolist()
    for count, name in zip(counts, whole.classes, strict=True):
        if count < 2:
            raise ValueError(
                f"the class {name!r} in {root} has only 1 image, too few to test on a part of them; add images, "
                "or make the folders train/CLASS and test/CLASS"
            )
    test_N, train_N = split(whole.labels_N, fraction=test_fraction, seed=seed)
    log.info(f"{root} has no test images: {len(test_N):,} of {len(whole.paths):,} are set aside for the test")
    return whole.part(train_N.tolist()), whole.part(test_N.tolist())


def list_classes(folder: Path, home: Path, *, inner: str = "") -> Listing:
    """The images of folder/CLASS, or of folder/CLASS/inner.

    Raises ValueError, naming the folder, where there are none, and for a link that leads out of `home`.
    """
    class_folders = [path for path in entries_of(folder, home) if path.is_dir()]
    classes = {path: class_name(path) for path in class_folders}
    class_folders.sort(key=lambda path: (classes[path], path.name))
    for one, other in pairwise(class_folders):
        if classes[one] == classes[other]:
            raise ValueError(f"{twins(one, other)}; {ONE_OF_TWINS}")
    if not class_folders:
        raise ValueError(
            f"{folder} has no folders of classes; put the images of every class into {folder}/CLASS"
        )
    if len(class_folders) == 1:
        raise ValueError(
            f"{folder} has one class only, {classes[class_folders[0]]!r}; put the images of a second into "
            f"{folder}/CLASS"
        )
    paths: list[str] = []
    labels: list[int] = []
    others: list[Path] = []
    for label, class_folder in enumerate(class_folders):
        entries = entries_of(class_folder / inner, home)
        images = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
        if not images:
            raise ValueError(
                f"the class folder {class_folder} has no images; put some in ({', '.join(sorted(SUFFIXES))}), or "
                "take the folder out"
            )
        kept = set(images)
        others += [path for path in entries if path not in kept]
        paths += map(str, images)
        labels += [label] * len(images)
    remarks = (f"{folder}: passed over {_entries_by_kind(others)}",) if others else ()
    return Listing(
        tuple(classes[path] for path in class_folders), tuple(paths), torch.tensor(labels), remarks
    )


def class_name(folder: Path) -> str:
    """The class of a folder: its name, accents written as systems other than the one that made it may write them.

    Raises ValueError for a name that is no text, which nothing but this folder could be compared with.
    """
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{not_text(folder)}; {RENAME}") from None
    return one_form(folder.name)


def not_text(folder: Path) -> str:
    """Words on a class folder whose name is no text."""
    return f"the class folder {printable(str(folder))} has a name that is not UTF-8, {os.fsencode(folder.name)!r}"


def twins(one: Path, other: Path) -> str:
    """Words on two class folders that are one class."""
    return (
        f"two class folders of {one.parent} have the same name, with its accents written in two ways, "
        f"{one.name!a} and {other.name!a}"
    )


def _entries_by_kind(paths: Sequence[Path]) -> str:
    """How many there are of each ending, the most first, with one of each."""
    if len(paths) == 1:
        return f"1 entry that is no image, such as {paths[0]}"
    kinds: dict[str, list[Path]] = {}
    for path in paths:
        kinds.setdefault(path.suffix.lower() or "no ending", []).append(path)
    largest = sorted(kinds.items(), key=lambda item: -len(item[1]))
    named = "; ".join(f"{len(found):,} of {kind}, such as {found[0]}" for kind, found in largest[:NAMED])
    return f"{len(paths):,} entries that are no images: {named}{'; ...' if len(largest) > NAMED else ''}"


def entries_of(folder: Path, home: Path) -> list[Path]:
    """What is in a folder and not hidden, by name. Raises ValueError for a link that leads out of `home`."""
    try:
        entries = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    except OSError as error:
        raise ValueError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    for path in entries:
        if path.is_symlink() and _is_circular(path):
            raise ValueError(f"{path} is a link that leads back to itself; take it out")
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            raise ValueError(
                f"{path} is a link to {path.resolve()}, outside of {home}; put the file itself there, or take it out"
            )
    return entries


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is nobody's image or class: it begins with a dot, or a system made it."""
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def _is_circular(link: Path) -> bool:
    try:
        link.resolve(strict=True)
    except RuntimeError:  # of Python up to 3.12
        return True
    except OSError as error:
        return error.errno == errno.ELOOP
    return False
