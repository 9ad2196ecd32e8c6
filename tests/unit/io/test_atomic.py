"""Files are written whole or not at all."""

import os
from pathlib import Path

import pytest

from xnas.io.atomic import atomic_write


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    atomic_write(path, b"old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


def test_a_file_that_fails_to_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ValueError, match=r"cannot write .*file: No space left on device; make room"):
        atomic_write(path, b"half")
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
