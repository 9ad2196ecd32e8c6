"""Files that are written whole or not at all: into a file beside the place, then moved there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from xnas.space.regular_file import check_place, is_folder


class CannotWrite(ValueError):
    """The disk does not take a file: it is full, read-only or gone. What was there before is as it was."""


class FolderGone(CannotWrite):
    """A folder in which this process works was removed, moved or replaced: nothing more can be written there."""


_locks: dict[Path, tuple[Path, tuple[int, int]]] = {}
"""Of every folder in which this process works: its lock, and which file that is."""


@contextlib.contextmanager
def watching(folder: Path, lock: Path) -> Iterator[None]:
    """Within it `check_kept` notices if `folder`, a real path, is no longer the one that has this file as its lock."""
    _locks[folder] = lock, _identity(lock)
    try:
        yield
    finally:
        del _locks[folder]


def check_kept(folder: Path) -> None:
    """Raises FolderGone if `folder` is, or is in, one in which this process works and which is not there any more.

    It would be made again otherwise, as a stub of a run, or written into while another process works in it.
    """
    if not _locks:
        return
    place = Path(os.path.realpath(folder))
    for home, (lock, known) in list(_locks.items()):  # which other threads change
        if place.is_relative_to(home):
            try:
                same = _identity(lock) == known
            except OSError:
                same = False
            if not same:
                raise FolderGone(
                    f"{home} was removed, moved or replaced, or its {lock.name} was, while this process worked in it, "
                    "so nothing more is written there; start the same command again, or resume the run where it is now"
                )


def make_below(folder: Path, *, inside: Path | None) -> None:
    """Have a folder, and those above it up to `inside`, which is not made.

    Raises OSError, FolderGone, and ValueError for what is no folder, or a link below `inside`.
    """
    if inside is not None:
        check_kept(inside)
    if folder != inside and not is_folder(folder, inside=inside):
        make_below(folder.parent, inside=inside)
        folder.mkdir(exist_ok=True)


def _identity(file: Path) -> tuple[int, int]:
    found = os.lstat(file)
    return found.st_dev, found.st_ino


def write_whole(path: Path, content: bytes, *, inside: Path | None = None) -> None:
    """Put `content` at `path`, or leave what was there.

    Raises CannotWrite if the place cannot be written to, FolderGone if the folder `inside` is not there any more, and
    ValueError if what is there is no file, or a link below `inside`.
    """
    staged = path.with_name(f".{path.name}.part")
    try:
        make_below(path.parent, inside=inside)
        for place in (path, staged):
            check_place(place, inside=inside)
        staged.unlink(missing_ok=True)  # of a process that died
        write_synced(staged, content)
        os.replace(staged, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
        if inside is not None:
            check_kept(inside)
        raise CannotWrite(
            f"cannot write {path}: {error.strerror or error}; make room or choose another place"
        ) from error


def write_synced(path: Path, content: bytes) -> None:
    """A new file that is on the disk when this returns. Raises OSError, also if it exists already."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        write_all(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, content: bytes) -> None:
    """Write to an open file until nothing is left: the system may take less at once. Raises OSError."""
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk when this returns. Raises OSError."""
    if os.name == "nt":
        return  # Windows opens no folders, and keeps names in its journal
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
