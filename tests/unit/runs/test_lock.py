"""One process at a time works in a run folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from xnas.io.atomic import FolderGone
from xnas.runs.checkpoint import CheckpointState
from xnas.runs.folder import RunFolder
from xnas.runs.location import RunLocation
from xnas.runs.lock import LOCK, locked, wait_until_free

HOLD = (
    "import sys, pathlib\nfrom xnas.runs.lock import locked\n"
    "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
)


def test_a_second_process_is_refused_at_once_and_told_who_works_there(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(
            ValueError, match=rf"is in use by process {holder.pid} on .*; wait for its end, stop it"
        ),
        locked(tmp_path),
    ):
        pass
    holder.kill()
    holder.communicate()
    assert f"process {holder.pid}" in (tmp_path / LOCK).read_text()
    with locked(tmp_path):  # a dead process holds nothing, whatever its file says
        assert f"process {os.getpid()}" in (tmp_path / LOCK).read_text()
    assert (tmp_path / LOCK).read_text() == ""


def test_a_second_run_of_the_same_process_is_refused_and_takes_nothing_away(tmp_path: Path) -> None:
    with locked(tmp_path):
        for _ in range(2):
            with pytest.raises(ValueError, match="in use by this process already"), locked(tmp_path):
                pass
        other = subprocess.run(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert f"in use by process {os.getpid()}" in other.stderr


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "precious")
    with (
        pytest.raises(ValueError, match=r"lock is a link, and in .* none is followed"),
        locked(tmp_path / "run"),
    ):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
def test_what_is_no_file_in_the_place_of_the_lock_is_named(
    put: Callable[[Path], None], tmp_path: Path
) -> None:
    put(tmp_path / LOCK)
    with pytest.raises(ValueError, match="lock is no regular file; take it away"), locked(tmp_path):
        pass
    with pytest.raises(ValueError, match="take it away"):  # at once, as it does not go by itself
        wait_until_free(tmp_path, seconds=3600)


def _removed(run: Path) -> None:
    shutil.rmtree(run)


def _moved(run: Path) -> None:
    run.rename(run.with_name("moved"))


def _replaced(run: Path) -> None:
    _moved(run)
    run.mkdir()
    (run / LOCK).write_text("another process")


def _half_removed(run: Path) -> None:
    (run / LOCK).unlink()


@pytest.mark.parametrize("away", [_removed, _moved, _replaced, _half_removed])
@pytest.mark.parametrize("name", [".", "controls/xnas"])
def test_nothing_is_made_again_of_a_folder_that_went_away_while_a_process_worked_in_it(
    away: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "mine"
    RunFolder.at(run)
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    place = tmp_path / "link" / "mine"  # that it is reached by a link makes no difference
    snapshot = CheckpointState(tensors={"a": torch.ones(1)}, values={})
    with locked(place):
        folder = RunFolder.at(place / name, inside=place)
        folder.write_text("config.toml", "")
        away(run)
        there = sorted(tmp_path.rglob("*"))
        for write in (
            lambda: folder.write_text("config.toml", "seed = 1\n"),
            lambda: folder.write_weights({"a": torch.ones(1)}, about={}),
            lambda: folder.metrics.append({"kind": "test"}),
            lambda: folder.child("controls", "random"),
            lambda: folder.checkpoints("search").save(snapshot, step=1),
            lambda: RunLocation(runs=folder.path, name="member", in_study=True).create(),
        ):
            with pytest.raises(
                FolderGone, match=r"mine was removed, moved or replaced, .* start the same command"
            ):
                write()
            assert sorted(tmp_path.rglob("*")) == there


def test_a_folder_may_go_away_once_nobody_works_in_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a"):
        pass
    shutil.rmtree(tmp_path / "a")
    RunFolder.at(tmp_path / "a").write_text("config.toml", "")
