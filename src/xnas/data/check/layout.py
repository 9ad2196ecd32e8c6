"""The layout of a folder of images: where reading it stops at a fault, this notes the fault and continues."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xnas.data.files.decode import SUFFIXES
from xnas.data.files.listing import TEST_NAMES, find_parts, scan_classes
from xnas.data.issues import Issues, IssueType
from xnas.io.text import told_apart

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
        found = find_parts(self.root, self.home, self._fault)
        train = self._part(found.train)
        test = self._part(found.test) if found.test else None
        for path in found.beside:
            self._pass_over(path)
        if test is not None:
            self._compare(train, test)
        return train, test

    def parts_called(self, trains: Sequence[str], test: str) -> tuple[FolderPart, FolderPart]:
        """Training and test files of folders of these names; those of several folders become one part."""
        first, *others = (self._part(self.root / name) for name in (*trains, test))
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

    def _fault(self, kind: IssueType, path: Path | None, detail: str, sentence: str) -> None:
        del sentence
        if path is None:
            self.findings.add(kind, detail)
        else:
            self.note(kind, path, detail)

    def _part(self, folder: Path) -> FolderPart:
        found = scan_classes(folder, self.home, self._fault)
        for path in found.others:
            if path.is_dir():
                self.note(NESTED, path)
            else:
                self.note(OTHER_FILES, path, "" if path.exists() else "a link to nothing")
        for path in found.loose:
            self._pass_over(path)
        return FolderPart(folder, found.images)

    def _pass_over(self, path: Path) -> None:
        """Something beside the classes, or beside train and test."""
        if path.is_dir():
            self.note(OTHER_FOLDERS, path)
        else:
            self.note(LOOSE if path.suffix.lower() in SUFFIXES else OTHER_FILES, path)

    def _compare(self, train: FolderPart, test: FolderPart) -> None:
        for one, other in ((train, test), (test, train)):
            for name in one.classes:
                if name not in other.classes:
                    how = f"not in {other.folder.name}"
                    shown = told_apart(name)
                    self.note(OTHER_CLASSES, one.folder / name, how if shown == name else f"{shown}, {how}")
