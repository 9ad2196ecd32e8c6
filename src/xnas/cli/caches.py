"""Temporary cache folders for other packages, where there is no home to keep them in.

A user of a container may have a number alone: no HOME, no entry among the users, no name. Some packages then make a
folder called ~ where they are, warn on several lines, or end with an error.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_FOLDERS = {
    "MPLCONFIGDIR": "matplotlib",
    "HF_HOME": "huggingface",
    "TORCH_HOME": "torch",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_HOME": "triton",
}
"""The variables by which packages are told where, and a folder for each."""
_BASES = {"MPLCONFIGDIR": "XDG_CONFIG_HOME", "HF_HOME": "XDG_CACHE_HOME", "TORCH_HOME": "XDG_CACHE_HOME"}
"""Variables that packages read instead, if they are set."""
_USERS = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""Variables in which Python's getpass looks for a name."""


@contextmanager
def private_caches() -> Iterator[None]:
    """Give packages a private temporary folder, removed at the end, if there is no writable home.

    What the user has set stays as it is.
    """
    given: dict[str, str] = {}
    if not _has_name():
        given["LOGNAME"] = f"uid{os.getuid()}"
    place = None
    if not _has_home():
        with suppress(OSError):  # without a place for temporary files the packages say so themselves
            place = tempfile.mkdtemp(prefix="xnas-caches-")
            folders = {
                name: folder for name, folder in _FOLDERS.items() if not os.environ.get(_BASES.get(name, ""))
            }
            given |= {name: os.path.join(place, folder) for name, folder in folders.items()}
    added = {name: value for name, value in given.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)


def _has_home() -> bool:
    home = os.path.expanduser("~")
    return os.path.isabs(home) and os.path.isdir(home) and os.access(home, os.W_OK | os.X_OK)


def _has_name() -> bool:
    if any(os.environ.get(name) for name in _USERS):
        return True
    try:
        import pwd

        pwd.getpwuid(os.getuid())
    except (ImportError, KeyError):  # Windows has no such list, and a name for everybody
        return os.name == "nt"
    return True
