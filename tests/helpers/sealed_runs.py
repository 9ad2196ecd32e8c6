"""Run folders that a test makes or changes by hand, with manifests as if xnas had written what is there."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from xnas.io.manifest import FileDigest, pack_manifest
from xnas.runs.finished_files import AT_THE_START, FORMAT, LATER, MANIFEST, SUMMARIES, VERSION, RunFiles

KNOWN = (*(name for name in (*AT_THE_START, *LATER) if "." in name), *SUMMARIES, "images.json")
MORE = ("pictures/*", "checkpoints/*.safetensors", "controls/*/result.json")
MOST = 2**27
"""Bytes of a file that are read; what is larger, or no file, no reader takes in any case."""


def seal(folder: Path) -> Path:
    """Name every file of the folder, and of the runs in it, as it is now; returns the folder."""
    inside = (path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())
    for place in (folder, *(path for path in inside if any(map(_is_there, (path / name for name in KNOWN))))):
        _seal_one(place)
    return folder


def sealing(
    digests: Callable[[RunFiles], dict[str, FileDigest]],
) -> Callable[[RunFiles], dict[str, FileDigest]]:
    """`RunFiles.digests` for folders that are changed by hand: before it is read, the manifest is made to fit."""
    seen: dict[Path, object] = {}

    def sealed(files: RunFiles) -> dict[str, FileDigest]:
        place = files.folder
        state = [
            (path, (found := path.lstat()).st_ino, found.st_size, found.st_mtime_ns) for path in _files(place)
        ]
        if state and seen.get(place) != state:
            _seal_one(place)
        seen[place] = state
        return digests(files)

    return sealed


def _files(place: Path) -> list[Path]:
    if not os.path.isdir(place):
        return []
    found = [place / name for name in KNOWN] + [path for each in MORE for path in sorted(place.glob(each))]
    return [path for path in found if _is_there(path)]


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _seal_one(place: Path) -> None:
    digests = {str(path.relative_to(place)): _digest(path) for path in _files(place)}
    (place / MANIFEST).write_bytes(pack_manifest(digests, form=FORMAT, version=VERSION))


def _digest(path: Path) -> FileDigest:
    try:
        found = path.stat()
    except OSError:
        return FileDigest(0, "0" * 64)
    if not stat.S_ISREG(found.st_mode) or found.st_size > MOST:
        return FileDigest(0, "0" * 64)
    with path.open("rb") as file:
        return FileDigest.of_file(file)
