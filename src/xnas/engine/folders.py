"""Folders whose names are on the disk once they are made: what is forced into a folder that is lost is lost with it."""

from contextlib import suppress
from pathlib import Path

from xnas.report.whole_file import check_kept, sync_folder
from xnas.space.regular_file import is_folder


def make_folder(path: Path, *, inside: Path | None = None) -> None:
    """Have a folder, and those above it up to `inside`, on the disk when this returns.

    Raises OSError, also if `inside` is not there, and ValueError for what is no folder, or a link below `inside`.
    """
    if path == inside:
        check_kept(inside)
        return
    if not is_folder(path, inside=inside):
        make_folder(path.parent, inside=inside)
        path.mkdir(exist_ok=True)
    # Also if it was there: a process that died may have made it a moment ago. A parent that may not be read cannot be
    # forced to the disk either.
    with suppress(PermissionError):
        sync_folder(path.parent)
