"""Files that a folder keeps from one process to the next, none of which anybody else can have changed.

The folder and its files must belong to this user or to root, nobody else may write to them, and no link is followed. A
file is its content and, behind that, the SHA-256 of its name and content: one that is damaged, cut off or another's is
not taken. What is read is what was checked, since it is read once, into memory.

A user who can rename folders above this one can only put another folder of the same owner in its place.
"""

import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SUM = hashlib.sha256().digest_size
MOST = 2**26
"""Bytes of a file; kernels have a quarter of a million."""
WORK, WORK_ELSEWHERE = "compiling-", "xnas-compiling-"
"""How folders are called in which a process makes something; and where others make what they like."""
OLD = 3600
"""Seconds after which nobody works in such a folder any more, where the disk knows no locks."""
ATTEMPTS = 10
REMEDY = "mend that, or set XDG_CACHE_HOME to a folder of your own"
BY_HANDLE = os.open in os.supports_dir_fd
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class TrustedFolder:
    """An open folder: what becomes of its path meanwhile is all the same."""

    path: Path
    handle: int | None
    """None where the system opens no folders (Windows)."""

    def read(self, name: str) -> bytes:
        """Return the file kept under that name.

        Raises FileNotFoundError if nothing was, and OSError, which says why, if it cannot be trusted or read.
        """
        sealed = self.read_regular(name, by_us=True)
        content, written = sealed[:-SUM], sealed[-SUM:]
        if written != _sum(name, content):
            raise OSError("is not as it was written")
        return content

    def read_regular(self, name: str, *, by_us: bool = False) -> bytes:
        """The bytes of a file, which only this user and root may write to if it must be `by_us`. Raises OSError."""
        before = os.stat(self._at(name), dir_fd=self.handle, follow_symlinks=False)
        _check_file(before, by_us=by_us)  # else a device would be opened
        with os.fdopen(os.open(self._at(name), _READ, dir_fd=self.handle), "rb") as file:
            found = os.fstat(file.fileno())
            _check_file(found, by_us=by_us)
            return file.read(min(found.st_size, MOST))  # no more than that is allocated

    def keep(self, name: str, content: bytes) -> None:
        """Put a file there, whole or not at all, in place of any other. Raises OSError if that fails."""
        with work_folder(self) as work:
            handle = os.open(work._at(name), _NEW, 0o600, dir_fd=work.handle)
            with os.fdopen(handle, "wb") as file:
                file.write(content + _sum(name, content))
                file.flush()
                os.fsync(file.fileno())
            os.replace(work._at(name), self._at(name), src_dir_fd=work.handle, dst_dir_fd=self.handle)
            if self.handle is not None:
                os.fsync(self.handle)

    def clear(self) -> None:
        """Take out what processes have left behind that ended while they made something."""
        _clear(self.path, self.handle, WORK)

    def _at(self, name: str) -> str:
        return name if self.handle is not None else str(self.path / name)


@contextmanager
def trusted(path: Path) -> Iterator[TrustedFolder]:
    """The folder, made if it is missing. Raises OSError, in a line with the remedy, if it cannot be trusted or made."""
    with ExitStack() as stack:
        try:
            folder = TrustedFolder(path, _open_trusted(path, stack))
        except OSError as error:
            if error.errno is None:
                raise
            line = f"{path} cannot be used: {error.strerror}; {REMEDY}"
            raise OSError(error.errno, line) from error
        yield folder


def _open_trusted(path: Path, stack: ExitStack) -> int | None:
    _make(path)
    above = path.parent.resolve()
    if reason := _others(os.stat(above), above=True):
        raise OSError(f"{above} {reason}; {REMEDY}")
    if path.is_symlink() or not path.is_dir():
        raise OSError(f"{path} is {'a link' if path.is_symlink() else 'no folder'}; {REMEDY}")
    handle = _open_folder(path, inside=None, stack=stack)
    if reason := _others(os.stat(path) if handle is None else os.fstat(handle)):
        raise OSError(f"{path} {reason}; {REMEDY}")
    return handle


@contextmanager
def work_folder(parent: TrustedFolder | Path) -> Iterator[TrustedFolder]:
    """A folder of this process alone; `clear` takes out what is left of it if the process is killed. Raises OSError."""
    inside, prefix = (parent.path, WORK) if isinstance(parent, TrustedFolder) else (parent, WORK_ELSEWHERE)
    if prefix == WORK_ELSEWHERE:
        with ExitStack() as stack, suppress(OSError):
            _clear(inside, _open_folder(inside.resolve(), inside=None, stack=stack), prefix)
    with ExitStack() as stack:
        for _ in range(ATTEMPTS):
            path = tempfile.mkdtemp(prefix=prefix, dir=inside)
            stack.callback(shutil.rmtree, path, ignore_errors=True)
            with suppress(FileNotFoundError):
                handle = _open_folder(path, inside=None, stack=stack)
                # Another process may have taken it for left behind, in the moment before it was held.
                if _hold(handle) is not False and os.path.lexists(path):
                    break
        else:
            raise OSError(errno.EAGAIN, f"no folder to work in could be made in {inside}")
        yield TrustedFolder(Path(path), handle)


def _open_folder(path: Path | str, *, inside: int | None, stack: ExitStack) -> int | None:
    """A handle to a folder that is no link, open as long as the stack is. Raises OSError."""
    if not BY_HANDLE:
        return None
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)
    stack.callback(os.close, handle)
    return handle


def _clear(path: Path, inside: int | None, prefix: str) -> None:
    """Take out folders of this user in which nobody works any more."""
    with suppress(OSError), os.scandir(path if inside is None else inside) as entries:
        for name in [entry.name for entry in entries if entry.name.startswith(prefix)]:
            at = name if inside is not None else str(path / name)
            with suppress(OSError), ExitStack() as stack:
                handle = _open_folder(at, inside=inside, stack=stack)
                if _is_left(handle, path / name):  # held meanwhile, so that nobody begins to work in it
                    shutil.rmtree(at, ignore_errors=True, dir_fd=inside)


def _make(path: Path) -> None:
    """With what is missing above it, for this user alone, whatever the umask."""
    for folder in (*reversed(path.parents), path):
        if not os.path.lexists(folder):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)


def _check_file(found: os.stat_result, *, by_us: bool) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise OSError("is a link")
    if not stat.S_ISREG(found.st_mode):
        raise OSError("is no regular file")
    if found.st_size >= MOST:
        raise OSError("is too large")
    if by_us and (reason := _others(found)):
        raise OSError(reason)


def _others(found: os.stat_result, *, above: bool = False) -> str:
    """Why others than this user and root could have changed it; of a folder `above`, whether all could exchange it."""
    if not hasattr(os, "geteuid"):
        return ""
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to another user ({found.st_uid})"
    may_write = stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
    if above and found.st_mode & stat.S_ISVTX:
        return ""
    if above and found.st_gid == os.getegid():  # many systems give each user a group, and let it write
        may_write &= stat.S_IWOTH
    return f"can be written to by others (mode {stat.S_IMODE(found.st_mode):o})" if may_write else ""


def _sum(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + content).digest()


def _is_left(handle: int | None, path: Path) -> bool:
    """Whether a folder is this user's, and nobody works in it any more. It is held from then on."""
    found = os.stat(path) if handle is None else os.fstat(handle)
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return False
    free = _hold(handle)
    return time.time() - found.st_mtime > OLD if free is None else free


if sys.platform == "win32":

    def _hold(handle: int | None) -> bool | None:
        del handle
        return None

else:
    import fcntl

    def _hold(handle: int | None) -> bool | None:
        """Hold an open folder until it is closed; whether nobody else does. None where the disk does not know."""
        if handle is None:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True
