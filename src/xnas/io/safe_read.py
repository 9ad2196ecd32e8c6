"""Files that others may have made are read only if they are regular, of a bounded size, and where they seem to be.

A pipe would be waited for without end, a device never ends, and a link can lead to any file of the machine. So links
are followed only where a user may have named them: in the path of the folder `inside`, and never below it.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags for opening a file: one that turns out to be a pipe is not waited for."""
NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def check_place(path: Path, *, inside: Path | None = None) -> None:
    """Raise ValueError if there is something at `path` that is no regular file, or a link below the folder `inside`.

    Nothing needs to be there: it is asked before writing too.
    """
    mode = _mode(path, inside=inside)
    if mode is not None and not stat.S_ISREG(mode):
        raise _no_file(path)


def check_folder(path: Path, *, inside: Path | None = None) -> None:
    """Raise ValueError if there is something at `path` that is no folder, or a link below the folder `inside`."""
    mode = _mode(path, inside=inside)
    if mode is not None and not stat.S_ISDIR(mode):
        remedy = "take it away" if inside is not None else "choose another place, or take it away"
        raise ValueError(f"{path} is no folder; {remedy}")


def is_folder(path: Path, *, inside: Path | None = None) -> bool:
    """Return whether a folder is there. Raises ValueError as `check_folder` does."""
    check_folder(path, inside=inside)
    return os.path.isdir(path)


def remove_folder(path: Path) -> None:
    """Take away the folder at `path`, if there is one, with all that is in it and nothing that links in it lead to.

    Raises ValueError for what is no folder, or a link to one, and OSError.
    """
    if is_folder(path, inside=path.parent):  # the system's own removal would wait for a pipe
        shutil.rmtree(path)


def resolved(path: Path, *, inside: Path) -> Path:
    """Return the target of `path` by links. Raises ValueError if that is not in the folder `inside`."""
    try:
        home, target = os.path.realpath(inside), os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise _cannot_look(path, error) from None
    if os.path.commonpath((home, target)) != home:
        raise ValueError(
            f"{path} is a link to {target}, outside of {inside}; put the file itself there, or take it out"
        )
    return Path(target)


def open_regular(path: Path, *, what: str, most: int, inside: Path | None = None) -> BinaryIO:
    """Return the file, open for reading bytes; `what` it is, such as "settings", goes into errors.

    Raises ValueError as `check_place` does, and for a file that cannot be opened or has more than `most` bytes.
    """
    check_place(path, inside=inside)
    try:
        # A pipe that took the file's place since then is not waited for.
        handle = os.open(path, os.O_RDONLY | AT_ONCE | (NO_LINK if inside is not None else 0))
        file = os.fdopen(handle, "rb")
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the {what} {path}: {_reason(error)}") from None
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode) and found.st_size <= most:
        return file
    file.close()
    raise _too_large(path, what, most) if stat.S_ISREG(found.st_mode) else _no_file(path)


def read_regular(path: Path, *, what: str, most: int, inside: Path | None = None) -> bytes:
    """Return the bytes of a file. Raises ValueError as `open_regular` does."""
    with open_regular(path, what=what, most=most, inside=inside) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            content = file.read(size + 1)  # no more than that is allocated, whatever the bound
        except OSError as error:
            raise ValueError(f"cannot read the {what} {path}: {_reason(error)}") from None
    if len(content) > size:  # some of the system's files say that they are empty
        raise ValueError(
            f"cannot read the {what} {path}: it has more bytes than it says; is it the right file?"
        )
    return content


def read_regular_text(path: Path, *, what: str, most: int, inside: Path | None = None) -> str:
    """Return the text of a file in UTF-8. Raises ValueError as `read_regular` does, and for what is no UTF-8."""
    try:
        return read_regular(path, what=what, most=most, inside=inside).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"cannot read the {what} {path}: it is not UTF-8 at byte {error.start:,}; save it as UTF-8"
        ) from None


def exists(path: Path) -> bool:
    """Return whether there is anything at `path`, be it a link that leads nowhere."""
    return os.path.lexists(path)


def _mode(path: Path, *, inside: Path | None) -> int | None:
    """Return the mode of what is at `path`, or None if nothing is.

    Raises ValueError for a link, or what is no folder, on the way.
    """
    if inside is None:
        return _look(path, os.stat)
    try:
        names = path.relative_to(inside).parts
    except ValueError:
        names = ("..",)
    if ".." in names:
        raise ValueError(f"{path} is outside of {inside}; put it there, or leave it out")
    mode, place = _look(inside, os.stat), inside
    for name in names:
        if mode is None:
            return None
        if not stat.S_ISDIR(mode):
            raise ValueError(f"{place} is no folder; take it away")
        place /= name
        mode = _look(place, os.lstat)
        if mode is not None and stat.S_ISLNK(mode):
            raise ValueError(
                f"{place} is a link, and in {inside} none is followed; put there what it leads to, or take it away"
            )
    return mode


def _look(path: Path, look: Callable[[Path], os.stat_result]) -> int | None:
    try:
        return look(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise ValueError(
                f"{path} is a link that leads nowhere; choose another place, or take it away"
            ) from None
        return None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # nothing can have that name
            return None
        raise _cannot_look(path, error) from None


def _cannot_look(path: Path, error: Exception) -> ValueError:
    return ValueError(f"cannot look at {path}: {_reason(error)}")


def _no_file(path: Path) -> ValueError:
    return ValueError(f"{path} is no regular file; take it away")


def _too_large(path: Path, what: str, most: int) -> ValueError:
    return ValueError(
        f"cannot read the {what} {path}: it has more than {most:,} bytes; is it the right file?"
    )


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
