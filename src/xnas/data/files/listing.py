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
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from xnas.data.files.decode import SUFFIXES
from xnas.data.images import check_same_classes
from xnas.data.issues import IssueType
from xnas.data.sampling import split
from xnas.io.text import one_form, printable

log = logging.getLogger(__name__)

TEST_NAMES = ("test", "val", "valid", "validation")
PART_NAMES = frozenset({"train", "training", *TEST_NAMES, "testing", "dev", "eval"})
"""What parts of a set are called, and classes seldom: folders that are all called so are not taken for classes."""
TO_CLASSES = (
    "move the images of every class into train/CLASS and test/CLASS, or name the folders after their classes"
)
NAMED = 5
"""Folders, and kinds of files, that are named of those passed over."""
OF_SYSTEMS = frozenset(
    {
        "@eadir", "@__thumb", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "system volume information",
        "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini",
    }
)  # fmt: skip
"""What systems put beside a user's files, thumbnails among them, in small letters."""


LINK = IssueType(
    "links that lead outside of the folder, or in a circle",
    "put the files themselves there, or take the links out",
)
CLOSED = IssueType("folders that cannot be read", "give yourself the right to read them, or take them out")
NO_CLASSES = IssueType(
    "folders without classes",
    "put the images of every class into a folder of its own; the files of a known data set are checked by its name, "
    "with --root",
)
PARTS_ALONE = IssueType("folders called like parts of a set where classes should be", TO_CLASSES)
ONE_CLASS = IssueType(
    "sets of a single class", "there is nothing to tell apart: add the images of a second class"
)
NOT_TEXT = IssueType("classes whose names are not UTF-8", "rename their folders")
TWINS = IssueType("classes of the same name in two folders", "move the images of one into the other")
EMPTY_CLASS = IssueType("classes without images", "put some in, or take the folders out")
HIDDEN = IssueType(
    "hidden files and folders, passed over", "take them out, or rename those that are images", error=False
)


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


class Fault(Protocol):
    """Takes a fault as a check shows it, by path (if it has one) and detail, and as a sentence with its remedy."""

    def __call__(self, kind: IssueType, path: Path | None, detail: str, sentence: str) -> None:
        """Raise ValueError, or note it and let the scan go on."""
        ...


def refuse(kind: IssueType, path: Path | None, detail: str, sentence: str) -> None:
    """Raise ValueError for the first fault that is an error: as a run reads."""
    del path, detail
    if kind.error:
        raise ValueError(sentence)


class Parts(NamedTuple):
    """The folders of classes of a folder of images."""

    train: Path
    """The folder itself where there are no parts."""
    test: Path | None
    beside: list[Path]
    """What lies beside train and test."""


@dataclass(frozen=True)
class ClassFiles:
    """What lies in a folder of classes."""

    images: dict[str, list[Path]]
    """By class, in the order of their names."""
    others: list[Path]
    """In folders of classes, but no images."""
    loose: list[Path]
    """Beside the folders of classes."""


def list_sets(root: Path, *, test_fraction: float, seed: int) -> tuple[Listing, Listing]:
    """The training and the test images of a folder; one without test images is split by the seed, class by class.

    Raises ValueError, naming the folder, where the layout is unfit.
    """
    if not os.path.isdir(root):
        what = "is a file" if os.path.isfile(root) else "does not exist"
        raise ValueError(f"the folder of images {root} {what}; give a folder of train/CLASS/* or of CLASS/*")
    home = root.resolve()
    parts = find_parts(root, home)
    whole = list_classes(parts.train, home)
    whole.log_remarks()
    if others := [path.name for path in parts.beside if path.is_dir()]:
        named = f"{', '.join(map(printable, others[:NAMED]))}{', ...' if len(others) > NAMED else ''}"
        log.info(
            f"{root}: passed over {named}, beside train; test images are those of the first folder of "
            f"{', '.join(TEST_NAMES)} that is there"
        )
    if parts.test is not None:
        test = list_classes(parts.test, home)
        test.log_remarks()
        check_same_classes(whole.classes, test.classes, where=str(root))
        return whole, test
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
    found = scan_classes(folder, home, refuse, inner=inner)
    labels = [label for label, images in enumerate(found.images.values()) for _ in images]
    paths = tuple(str(path) for images in found.images.values() for path in images)
    remarks = (f"{folder}: passed over {_entries_by_kind(found.others)}",) if found.others else ()
    return Listing(tuple(found.images), paths, torch.tensor(labels), remarks)


def find_parts(root: Path, home: Path, fault: Fault = refuse) -> Parts:
    """Find the training and test folders of a folder of images."""
    entries = entries_of(root, home, fault)
    folders = {path.name.lower(): path for path in entries if path.is_dir()}
    train = folders.get("train")
    # A class may be called train: then images lie in it, and no folders.
    if train is None or not holds_folders(train):
        if PART_NAMES.issuperset(folders):
            names = ", ".join(printable(path.name) for path in folders.values())
            for path in folders.values():
                fault(
                    PARTS_ALONE,
                    path,
                    "",
                    f"the folders of {root} are called like parts of a set, not like classes: {names}; {TO_CLASSES}",
                )
        return Parts(root, None, [])
    test = next((folders[name] for name in TEST_NAMES if name in folders), None)
    return Parts(train, test, [path for path in entries if path not in (train, test)])


def scan_classes(folder: Path, home: Path, fault: Fault, *, inner: str = "") -> ClassFiles:
    """Go through folder/CLASS, or folder/CLASS/inner, and give every fault of the layout to `fault`."""
    entries = entries_of(folder, home, fault)
    named = sorted((_class_name(path, fault), path.name, path) for path in entries if path.is_dir())
    for (name, _, one), (again, _, other) in pairwise(named):
        if name == again:
            said = (
                f"two class folders of {folder} have the same name, with its accents written in two ways, "
                f"{one.name!a} and {other.name!a}"
            )
            fault(TWINS, None, said, f"{said}; {TWINS.remedy}")
    found = ClassFiles(
        {name: [] for name, _, _ in named}, [], [path for path in entries if not path.is_dir()]
    )
    if not found.images:
        put = f"put the images of every class into {folder}/CLASS"
        fault(NO_CLASSES, folder, "", f"{folder} has no folders of classes; {put}")
    elif len(found.images) == 1:
        only = repr(named[0][0])
        put = f"put the images of a second into {folder}/CLASS"
        fault(ONE_CLASS, folder, f"only {only}", f"{folder} has one class only, {only}; {put}")
    for name, _, class_folder in named:
        inside = entries_of(class_folder / inner, home, fault)
        images = [path for path in inside if path.suffix.lower() in SUFFIXES and path.is_file()]
        if not images:
            put = f"put some in ({', '.join(sorted(SUFFIXES))}), or take the folder out"
            fault(EMPTY_CLASS, class_folder, "", f"the class folder {class_folder} has no images; {put}")
        kept = set(images)
        found.images[name].extend(images)
        found.others.extend(path for path in inside if path not in kept)
    return found


def _class_name(folder: Path, fault: Fault) -> str:
    """The class of a folder: its name, accents written as systems other than the one that made it may write them.

    A name that is no text is a fault: nothing but this folder could be compared with it.
    """
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        where = printable(str(folder))
        said = f"the class folder {where} has a name that is not UTF-8, {os.fsencode(folder.name)!r}"
        fault(NOT_TEXT, None, said, f"{said}; rename it")
        return printable(folder.name)
    return one_form(folder.name)


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


def entries_of(folder: Path, home: Path, fault: Fault = refuse) -> list[Path]:
    """Return what is in a folder, by name, without what is hidden and links that lead out of `home`."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        reason = error.strerror or str(error)
        fault(CLOSED, folder, reason, f"cannot read the folder {folder}: {reason}")
        return []
    kept = []
    for path in found:
        if is_hidden(path.name):
            fault(HIDDEN, path, "", "")
        elif path.is_symlink() and (stray := _stray(path, home)):
            fault(LINK, path, f"to {path.readlink()}", stray)
        else:
            kept.append(path)
    return kept


def holds_folders(folder: Path) -> bool:
    """Whether there are folders in it that are not hidden."""
    try:
        return any(path.is_dir() and not is_hidden(path.name) for path in folder.iterdir())
    except OSError:
        return False


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is nobody's image or class: it begins with a dot, or a system made it."""
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def _stray(link: Path, home: Path) -> str:
    """Words on a link that leads out of `home` or back to itself; empty for another."""
    if _is_circular(link):
        return f"{link} is a link that leads back to itself; take it out"
    if link.resolve().is_relative_to(home):
        return ""
    return (
        f"{link} is a link to {link.resolve()}, outside of {home}; put the file itself there, or take it out"
    )


def _is_circular(link: Path) -> bool:
    try:
        link.resolve(strict=True)
    except RuntimeError:  # of Python up to 3.12
        return True
    except OSError as error:
        return error.errno == errno.ELOOP
    return False
