"""One process at a time works in a run folder.

The lock is the system's, on a file that stays: it ends with its process, however that ends, so a stale one cannot be.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xnas.io.atomic import watching
from xnas.io.errors import CannotWrite
from xnas.io.safe_read import AT_ONCE, NO_LINK, check_place

LOCK = ".lock"


class InUse(ValueError):
    """Another process, or this one already, works in a folder."""


_held: set[Path] = set()
"""The system's lock keeps out other processes; this, other runs of this one."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it no other process can lock `folder`, and nothing is written into it once it is another folder.

    Raises InUse, at once, if another process has locked it, CannotWrite if the disk does not let it, and ValueError if
    its lock is no regular file.
    """
    home = Path(os.path.realpath(folder))
    path = home / LOCK
    if path in _held:  # asked before the file is opened: closing it again would give the lock up
        raise _in_use(folder, "this process already")
    check_place(folder / LOCK, inside=folder)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK | AT_ONCE, 0o644)
    except OSError as error:
        raise CannotWrite(f"cannot lock {folder}: {path}: {error.strerror or error}") from error
    with os.fdopen(handle, "r+b", buffering=0) as file:
        if not _take(handle):
            owner = file.read(200).decode("utf-8", errors="replace")
            raise _in_use(folder, owner if owner and owner.isprintable() else "another process")
        _held.add(path)
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            with watching(home, path):
                yield
        finally:
            with suppress(OSError):
                file.truncate(0)
            _held.discard(path)


def wait_until_free(folder: Path, *, seconds: float) -> None:
    """Return once no other process has locked `folder`, if it is there. Raises ValueError if that takes too long.

    A process whose machine was given up for lost may still be at work.
    """
    until = time.monotonic() + seconds
    while folder.is_dir():
        try:
            with locked(folder):
                return
        except InUse:
            if time.monotonic() > until:
                raise
        time.sleep(0.5)


def _in_use(folder: Path, owner: str) -> InUse:
    return InUse(f"{folder} is in use by {owner}; wait for its end, stop it, or choose another --name")


if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> bool:
        os.lseek(handle, 2**30, os.SEEK_SET)  # beyond the text, which others may read
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _take(handle: int) -> bool:
        # Of the process, not of the open file: a data worker that outlives it for a moment does not hold it.
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
