"""Folders whose names are on the disk once they are made: what is forced into a folder that is lost is lost with it."""

from contextlib import suppress
from pathlib import Path

from xnas.report.whole_file import sync_folder


def make_folder(path: Path) -> None:
    """Have a folder, and those above it, on the disk when this returns. Raises OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
    # Also if it was there: a process that died may have made it a moment ago. A parent that may not be read cannot be
    # forced to the disk either.
    with suppress(PermissionError):
        sync_folder(path.parent)
