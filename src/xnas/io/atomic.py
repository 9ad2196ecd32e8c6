"""Atomic writes of files and folders: written beside their place, fsynced, then renamed."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from xnas.io.errors import CannotWrite
from xnas.io.safe_read import check_place, exists, is_folder, remove_folder


class FolderGone(CannotWrite):
    """A folder in which this process works was removed, moved or replaced: nothing more can be written there."""


_locks: dict[Path, tuple[Path, tuple[int, int]]] = {}
"""Lock of every folder in which this process works, and that file's device and inode."""


@contextlib.contextmanager
def watching(folder: Path, lock: Path) -> Iterator[None]:
    """Let `check_kept` notice if `folder`, a real path, is no longer the one that has this file as its lock."""
    _locks[folder] = lock, _identity(lock)
    try:
        yield
    finally:
        del _locks[folder]


def check_kept(folder: Path) -> None:
    """Raise FolderGone if `folder` is, or is in, one in which this process works and which is not there any more.

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
    """Make a folder, and those above it up to `inside`, which is not made.

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


def atomic_write(path: Path, content: bytes, *, inside: Path | None = None) -> None:
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
        write_fsync(staged, content)
        os.replace(staged, path)
        fsync_dir(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
        if inside is not None:
            check_kept(inside)
        raise CannotWrite(
            f"cannot write {path}: {error.strerror or error}; make room or choose another place"
        ) from error


def write_fsync(path: Path, content: bytes) -> None:
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


def fsync_dir(folder: Path) -> None:
    """Force the names in a folder to the disk. Raises OSError."""
    if os.name == "nt":
        return  # Windows opens no folders, and keeps names in its journal
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def mkdir_fsync(path: Path, *, inside: Path | None = None) -> None:
    """Make a folder, and those above it up to `inside`, and force them to the disk.

    Raises OSError, also if `inside` is not there, and ValueError for what is no folder, or a link below `inside`.
    """
    if path == inside:
        check_kept(inside)
        return
    if not is_folder(path, inside=inside):
        mkdir_fsync(path.parent, inside=inside)
        path.mkdir(exist_ok=True)
    # Also if it was there: a process that died may have made it a moment ago. A parent that may not be read cannot be
    # forced to the disk either.
    with suppress(PermissionError):
        fsync_dir(path.parent)


if sys.platform == "win32":  # there folders cannot be locked
    flock, LOCK_EX, LOCK_NB = None, 0, 0
else:
    from fcntl import LOCK_EX, LOCK_NB, flock


def check_target(path: Path, *, overwrite: bool, ours: Callable[[Path], bool]) -> None:
    """Raise ValueError if nothing may be written at `path`.

    Without `overwrite` nothing may be there; with it what `ours` knows as written by the same kind of export.
    """
    if path.name in ("", ".."):
        raise ValueError(f"{path} names no place of its own; give --to a name to be made")
    if not exists(path):
        return
    if not overwrite:
        raise ValueError(f"{path} is there already; choose another place, or replace it with --overwrite")
    if path.is_symlink():
        raise ValueError(f"{path} is a link, so it is not overwritten; choose another place, or take it away")
    if not ours(path):
        raise ValueError(
            f"{path} is not, or not only, what an export of this form has written, so it is not overwritten; choose "
            "another place"
        )


@contextmanager
def alone_in(folder: Path, *, seconds: float = 600) -> Iterator[None]:
    """Hold the lock of exports into `folder`, which is made if it is not there.

    What is made beside its place has the same name for all who write there, so they write one after another. The lock
    is the system's, on the folder itself, and ends with its process; where the system has none, nobody waits. Raises
    CannotWrite, and ValueError if others take longer than `seconds`.
    """
    handle = None
    try:
        mkdir_fsync(folder)
        with suppress(PermissionError):  # one may write into some folders, and not look into them
            handle = os.open(folder, os.O_RDONLY) if flock is not None else None
    except OSError as error:
        raise CannotWrite(
            f"cannot write to {folder}: {error.strerror or error}; make room or choose another place"
        ) from error
    try:
        until = time.monotonic() + seconds
        while handle is not None and not _take(handle):
            if time.monotonic() > until:
                raise ValueError(
                    f"another export has been writing to {folder} for long; wait for its end, or stop it"
                )
            time.sleep(0.02)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _take(handle: int) -> bool:
    """Return whether the lock is this process's now, or there are none on this disk."""
    assert flock is not None
    try:
        flock(handle, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def write_folder(path: Path, files: Mapping[str, bytes], *, check: Callable[[Path], None]) -> None:
    """Put a folder of these files at `path`, in place of what `check_target` has allowed to be there.

    `check` looks at the folder before it moves; what it raises leaves everything as it was. Raises CannotWrite, and
    ValueError where something else is in the place of what a process that died has left.
    """
    staged, gone = (path.with_name(f".{path.name}.{what}") for what in ("part", "discarded"))
    try:
        mkdir_fsync(path.parent)
        remove_folder(staged)  # of a process that died
        staged.mkdir()
        for name, content in files.items():
            write_fsync(staged / name, content)
        fsync_dir(staged)
        check(staged)
        if exists(path):
            remove_folder(gone)
            os.rename(path, gone)
        try:
            os.rename(staged, path)
        except OSError:
            if exists(gone) and not exists(path):
                os.rename(gone, path)
            raise
        fsync_dir(path.parent)
        with suppress(OSError):  # what was to be written is written
            remove_folder(gone)
    except OSError as error:
        raise CannotWrite(
            f"cannot write {path}: {error.strerror or error}; make room or choose another place"
        ) from error
    finally:
        with suppress(OSError, ValueError):
            remove_folder(staged)
