"""Folders that appear whole or not at all: made beside their place, then moved there."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from xnas.engine.folders import make_folder
from xnas.report.whole_file import CannotWrite, sync_folder, write_synced
from xnas.space.regular_file import is_there, remove_folder

if sys.platform == "win32":  # there folders cannot be locked
    flock, LOCK_EX, LOCK_NB = None, 0, 0
else:
    from fcntl import LOCK_EX, LOCK_NB, flock


def check_target(path: Path, *, overwrite: bool, ours: Callable[[Path], bool]) -> None:
    """Raises ValueError if nothing may be written at `path`.

    Without `overwrite` nothing may be there; with it what `ours` knows as written by the same kind of export.
    """
    if path.name in ("", ".."):
        raise ValueError(f"{path} names no place of its own; give --to a name to be made")
    if not is_there(path):
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
    """Within it nobody else who asks for it writes an export into `folder`, which is made if it is not there.

    What is made beside its place has the same name for all who write there, so they write one after another. The lock
    is the system's, on the folder itself, and ends with its process; where the system has none, nobody waits. Raises
    CannotWrite, and ValueError if others take longer than `seconds`.
    """
    handle = None
    try:
        make_folder(folder)
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
    """Whether the lock is this process's now, or there are none on this disk."""
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
        make_folder(path.parent)
        remove_folder(staged)  # of a process that died
        staged.mkdir()
        for name, content in files.items():
            write_synced(staged / name, content)
        sync_folder(staged)
        check(staged)
        if is_there(path):
            remove_folder(gone)
            os.rename(path, gone)
        try:
            os.rename(staged, path)
        except OSError:
            if is_there(gone) and not is_there(path):
                os.rename(gone, path)
            raise
        sync_folder(path.parent)
        with suppress(OSError):  # what was to be written is written
            remove_folder(gone)
    except OSError as error:
        raise CannotWrite(
            f"cannot write {path}: {error.strerror or error}; make room or choose another place"
        ) from error
    finally:
        with suppress(OSError, ValueError):
            remove_folder(staged)
