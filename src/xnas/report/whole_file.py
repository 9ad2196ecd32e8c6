"""Files that are written whole or not at all: into a file beside the place, then moved there."""

import contextlib
import os
from pathlib import Path

from xnas.space.regular_file import check_place


class CannotWrite(ValueError):
    """The disk does not take a file: it is full, read-only or gone. What was there before is as it was."""


def write_whole(path: Path, content: bytes, *, inside: Path | None = None) -> None:
    """Put `content` at `path`, or leave what was there.

    Raises CannotWrite if the place cannot be written to, and ValueError if it leads by a link out of the folder
    `inside`.
    """
    if inside is not None:
        check_place(path, inside=inside)
    staged = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.unlink(missing_ok=True)  # of a process that died
        write_synced(staged, content)
        os.replace(staged, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
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
