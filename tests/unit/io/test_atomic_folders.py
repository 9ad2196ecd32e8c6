"""Folders whose names are on the disk once they are made."""

import os
from pathlib import Path

import pytest

from xnas.io import atomic as folders
from xnas.io.atomic import mkdir_fsync
from xnas.runs.location import RunLocation


def test_the_name_of_every_folder_that_is_made_is_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[Path] = []
    monkeypatch.setattr(folders, "fsync_dir", forced.append)
    mkdir_fsync(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert forced == [tmp_path.parent, tmp_path, tmp_path / "a"]


def test_a_parent_that_may_not_be_read_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, os.strerror(13), folder)

    monkeypatch.setattr(folders, "fsync_dir", refuse)
    mkdir_fsync(tmp_path / "a")
    assert (tmp_path / "a").is_dir()


def test_what_a_process_left_that_died_while_it_deleted_an_old_run_is_deleted(tmp_path: Path) -> None:
    (tmp_path / ".mine.discarded").mkdir()
    (tmp_path / ".mine.discarded" / "config.toml").write_text("")
    RunLocation(runs=tmp_path, name="mine").create()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
