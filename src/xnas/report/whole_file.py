"""Files that are written whole or not at all: into a file beside the place, then moved there."""

import contextlib
import os
import tempfile
from pathlib import Path

from xnas.space.regular_file import check_place


def write_whole(path: Path, content: bytes, *, inside: Path | None = None) -> None:
    """Put `content` at `path`, or leave what was there.

    Raises ValueError if the place cannot be written to, or leads by a link out of the folder `inside`.
    """
    if inside is not None:
        check_place(path, inside=inside)
    staged: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        staged = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staged.chmod(0o644)
        os.replace(staged, path)
    except OSError as error:
        raise ValueError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another place"
        ) from error
    finally:
        if staged is not None:
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
