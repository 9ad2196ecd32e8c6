"""The layout of a folder of images: where reading it stops at a fault, this notes the fault and goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xnas.data.check.issues import Issues, IssueType
from xnas.data.files.decode import SUFFIXES
from xnas.data.files.listing import (
    ONE_OF_TWINS,
    PART_NAMES,
    TEST_NAMES,
    TO_CLASSES,
    class_name,
    is_hidden,
    not_text,
    twins,
)
from xnas.io.text import printable, told_apart

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
TWINS = IssueType("classes of the same name in two folders", ONE_OF_TWINS)
EMPTY_CLASS = IssueType("classes without images", "put some in, or take the folders out")
OTHER_CLASSES = IssueType(
    "classes that are only in train or only in test",
    "give both the same classes, or take the odd ones out; folders are told apart by their exact names",
)
NESTED = IssueType(
    "folders inside of classes, passed over with all that is in them",
    "move their images up into CLASS; if they are the classes, name the folders above them train and test",
    error=False,
)
OTHER_FOLDERS = IssueType(
    "folders beside train and test, passed over",
    f"a test set is called {', '.join(TEST_NAMES)}, the first of these that is there; move other images into CLASS",
    error=False,
)
OTHER_FILES = IssueType(
    "files that are not read as images, passed over",
    f"take them out, or save images as one of {', '.join(sorted(SUFFIXES))}",
    error=False,
)
LOOSE = IssueType(
    "images outside of every class, passed over", "put them into the folders of their classes", error=False
)
HIDDEN = IssueType(
    "hidden files and folders, passed over", "take them out, or rename those that are images", error=False
)


@dataclass(frozen=True)
class FolderPart:
    """The image files of train, of test, or of a folder without test images, by class."""

    folder: Path
    classes: dict[str, list[Path]] = field(default_factory=dict)

    def count(self, name: str) -> int:
        """Files of a class."""
        return len(self.classes.get(name, ()))


class FolderWalk:
    """Goes through a folder and notes what is wrong with its layout."""

    def __init__(self, root: Path, findings: Issues) -> None:
        self.root, self.home, self.findings = root, root.resolve(), findings

    def parts(self) -> tuple[FolderPart, FolderPart | None]:
        """Training and test files; None where a run splits the first to have a test set."""
        entries = self._entries(self.root)
        folders = {path.name.lower(): path for path in entries if path.is_dir()}
        train_folder = folders.get("train")
        # As in reading: a class may be called train, and then images lie in it and no folders.
        if train_folder is None or not holds_folders(train_folder):
            if PART_NAMES.issuperset(folders):
                for path in folders.values():
                    self.note(PARTS_ALONE, path)
            return self._part(self.root, entries), None
        train = self._part(train_folder, self._entries(train_folder))
        test_folder = next((folders[name] for name in TEST_NAMES if name in folders), None)
        test = self._part(test_folder, self._entries(test_folder)) if test_folder else None
        for path in entries:
            if path not in (train_folder, test_folder):
                self._pass_over(path)
        if test is not None:
            self._compare(train, test)
        return train, test

    def parts_called(self, trains: Sequence[str], test: str) -> tuple[FolderPart, FolderPart]:
        """Training and test files of folders of these names; those of several folders become one part."""
        folders = [self.root / name for name in (*trains, test)]
        first, *others = (self._part(folder, self._entries(folder)) for folder in folders)
        for other in others:
            self._compare(first, other)
        for more in others[:-1]:
            for name, paths in more.classes.items():
                first.classes.setdefault(name, []).extend(paths)
        return first, others[-1]

    def note(self, kind: IssueType, path: Path, how: str = "") -> None:
        """A fault of a file or folder."""
        self.findings.add(kind, f"{self.name(path)} ({how})" if how else self.name(path))

    def name(self, path: Path) -> str:
        """A path as seen from the folder, and the folder itself by its own name."""
        return str(path.relative_to(self.root)) if path != self.root else str(path)

    def _part(self, folder: Path, entries: list[Path]) -> FolderPart:
        part, folders = FolderPart(folder), dict[str, Path]()
        for path in entries:
            if path.is_dir():
                self._class(part, path, folders)
            else:
                self._pass_over(path)
        if not part.classes:
            self.note(NO_CLASSES, folder)
        elif len(part.classes) == 1:
            self.note(ONE_CLASS, folder, f"only {next(iter(part.classes))!r}")
        return part

    def _class(self, part: FolderPart, folder: Path, folders: dict[str, Path]) -> None:
        """The images of a class; `folders`: those of the classes before it."""
        try:
            name = class_name(folder)
        except ValueError:
            self.findings.add(NOT_TEXT, not_text(folder))
            name = printable(folder.name)
        images = self._images(folder)
        if name in folders:
            self.findings.add(TWINS, twins(folders[name], folder))
            images = [*part.classes[name], *images]
        folders[name] = folder
        part.classes[name] = images

    def _pass_over(self, path: Path) -> None:
        """Something beside the classes, or beside train and test."""
        if path.is_dir():
            self.note(OTHER_FOLDERS, path)
        else:
            self.note(LOOSE if path.suffix.lower() in SUFFIXES else OTHER_FILES, path)

    def _images(self, folder: Path) -> list[Path]:
        images = []
        for path in self._entries(folder):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                images.append(path)
            elif path.is_dir():
                self.note(NESTED, path)
            else:
                self.note(OTHER_FILES, path, "" if path.exists() else "a link to nothing")
        if not images:
            self.note(EMPTY_CLASS, folder)
        return images

    def _compare(self, train: FolderPart, test: FolderPart) -> None:
        for one, other in ((train, test), (test, train)):
            for name in one.classes:
                if name not in other.classes:
                    how = f"not in {other.folder.name}"
                    shown = told_apart(name)
                    self.note(OTHER_CLASSES, one.folder / name, how if shown == name else f"{shown}, {how}")

    def _entries(self, folder: Path) -> list[Path]:
        """What is in a folder, by name, without hidden entries and links that lead out of `home`."""
        try:
            found = sorted(folder.iterdir())
        except OSError as error:
            self.note(CLOSED, folder, error.strerror or str(error))
            return []
        kept = []
        for path in found:
            if is_hidden(path.name):
                self.note(HIDDEN, path)
            elif path.is_symlink() and not self._leads_inside(path):
                self.note(LINK, path, f"to {path.readlink()}")
            else:
                kept.append(path)
        return kept

    def _leads_inside(self, link: Path) -> bool:
        try:
            return link.resolve().is_relative_to(self.home)
        except (OSError, RuntimeError):  # a circle of links
            return False


def holds_folders(folder: Path) -> bool:
    """Whether there are folders in it that are not hidden."""
    try:
        return any(path.is_dir() and not is_hidden(path.name) for path in folder.iterdir())
    except OSError:
        return False
