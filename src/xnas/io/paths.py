"""Paths as a person writes them: with ~ for a home, and from the folder where she works."""

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """Return the path, with a home for the ~ or ~user that it may begin with.

    Raises ValueError if there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"cannot find the home that {path} begins with: {error} Give the path in full"
        ) from error


def absolute(path: str | Path) -> Path:
    """Return the path from the root on, without . and ..; links in it stay.

    Raises ValueError for a home, or a current folder, that is not there.
    """
    found = expanded(path)
    try:
        found = found.absolute()
    except FileNotFoundError as error:
        raise ValueError(f"cannot tell where {path} is: the current folder is gone") from error
    plain = Path(os.path.normpath(found))
    try:
        same = os.path.samefile(plain, found)
    except (OSError, ValueError):
        same = not os.path.exists(found)
    return plain if same else found  # .. of a link leads elsewhere


def is_path(source: str) -> bool:
    """Return whether a path is meant rather than a name: it is there, or is written with a slash.

    Raises ValueError as `expanded` does.
    """
    path = expanded(source)
    return bool(source) and (os.path.exists(path) or source != path.name)
