"""Files that others may have made are read only if they are regular, of a bounded size, and where they seem to be.

A pipe would be waited for without end, a device never ends, and a link can lead to any file of the machine.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def check_place(path: Path, *, inside: Path | None = None) -> None:
    """Raises ValueError if `path` leads out of the folder `inside` by a link, or holds something that is no file.

    Nothing needs to be there: it is asked before writing too.
    """
    if inside is not None:
        check_folder(path, inside=inside)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot look at {path}: {_reason(error)}") from None
    if not stat.S_ISREG(mode):
        raise _no_file(path)


def check_folder(path: Path, *, inside: Path) -> None:
    """Raises ValueError if `path`, a folder or a file, leads out of the folder `inside` by a link."""
    try:
        home, target = os.path.realpath(inside), os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot look at {path}: {_reason(error)}") from None
    if os.path.commonpath((home, target)) != home:
        raise ValueError(
            f"{path} is a link to {target}, outside of {inside}; put the file itself there, or take it out"
        )


def open_regular(path: Path, *, what: str, most: int, inside: Path | None = None) -> BinaryIO:
    """The file, open for reading bytes; `what` it is, such as "settings", goes into errors.

    Raises ValueError as `check_place` does, and for a file that cannot be opened or has more than `most` bytes.
    """
    check_place(path, inside=inside)
    try:
        # A pipe that took the file's place since then is not waited for.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        file = os.fdopen(handle, "rb")
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the {what} {path}: {_reason(error)}") from None
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode) and found.st_size <= most:
        return file
    file.close()
    raise _too_large(path, what, most) if stat.S_ISREG(found.st_mode) else _no_file(path)


def read_regular(path: Path, *, what: str, most: int, inside: Path | None = None) -> bytes:
    """The bytes of a file. Raises ValueError as `open_regular` does."""
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
    """The text of a file in UTF-8. Raises ValueError as `read_regular` does, and for what is no UTF-8."""
    try:
        return read_regular(path, what=what, most=most, inside=inside).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"cannot read the {what} {path}: it is not UTF-8 at byte {error.start:,}; save it as UTF-8"
        ) from None


def is_there(path: Path) -> bool:
    """Whether there is anything at `path`, be it a link that leads nowhere."""
    return os.path.lexists(path)


def _no_file(path: Path) -> ValueError:
    return ValueError(f"{path} is no regular file; take it away")


def _too_large(path: Path, what: str, most: int) -> ValueError:
    return ValueError(
        f"cannot read the {what} {path}: it has more than {most:,} bytes; is it the right file?"
    )


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
