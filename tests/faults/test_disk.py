"""A disk that is full, read-only or broken costs a checkpoint, never a run."""

import errno
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from xnas import DataSet, RunFolder, SearchTrainer
from xnas.cli import main
from xnas.io.errors import CannotWrite
from xnas.train.search import fit_search

from ..helpers.full_disk import ANY, failing
from ..helpers.outcomes import differing, outcome
from ..helpers.smallest_run import (
    CPU,
    Listener,
    Record,
    interrupted,
    is_warning,
    left_over,
    newest_good,
    run_job,
    run_search,
    smallest,
)

ERRORS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "broken": errno.EIO}
STAGING = "*/checkpoints/.staging-search-0000000002"
SAVING = {
    "make the folder": ("mkdir", STAGING, 0),
    "make a file": ("open", f"{STAGING}/*", 0),
    "write": ("write", f"{STAGING}/*", 0),
    "force a file": ("fsync", f"{STAGING}/*", 0),
    "force the folder": ("fsync", STAGING, 0),
    "move it into place": ("rename", STAGING, 0),
    "force the names": ("fsync", "*/checkpoints", 2),
    "move the oldest out of the way": ("rename", "*/checkpoints/search-0000000000", 0),
    "delete a file of the oldest": ("unlink", "*/.discarded-search-0000000000/*", 0),
    "delete its folder": ("rmdir", "*/.discarded-search-0000000000", 0),
    "cut the rows": ("ftruncate", "*/metrics.jsonl", 4),
    "write the rows": ("write", "*/metrics.jsonl", 4),
    "force the rows": ("fsync", "*/metrics.jsonl", 4),
}
"""What saving does: the call, on what, and how many such calls come before."""


@pytest.fixture(scope="module")
def undisturbed(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    run_search(smallest(), data, run)
    return outcome(run)


class Watcher(Listener):
    """Looks at the disk whenever there is a warning."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.run, self.newest, self.staged = run, list[int](), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if is_warning(self.said[-1]):
            self.newest.append(newest_good(self.run, "search"))
            self.staged += [name for name in left_over(self.run) if "staging" in name]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("what", SAVING)
def test_a_failure_while_saving_costs_one_warning_and_is_made_up_for(
    what: str,
    error: str,
    undisturbed: dict[str, bytes],
    data: DataSet,
    tmp_path: Path,
    long_faults: bool,
) -> None:
    call, path, before = SAVING[what]
    for skip in range(3 if long_faults else 1):
        run = tmp_path / str(skip)
        watcher = Watcher(run)
        with watcher, failing(call, ERRORS[error], path=path, skip=before + skip) as faults:
            fit_search(
                SearchTrainer(smallest(), data, device=CPU), folder=RunFolder.at(run), callback=watcher
            )
        if skip > 0 and faults.raised == 0:
            break  # there are no more of these calls
        assert faults.raised == 1
        assert len(watcher.warnings) == 1, watcher.said
        assert os.strerror(ERRORS[error]) in watcher.warnings[0]
        assert all(newest >= 0 for newest in watcher.newest)
        assert watcher.staged == left_over(run) == []
        assert differing(outcome(run), undisturbed) == []


@pytest.mark.parametrize("begun", [False, True])
def test_whatever_call_fails_the_job_ends_as_it_should_or_says_what_it_cannot_read_or_write(
    begun: bool, data: DataSet, tmp_path: Path, long_faults: bool, record_property: Record
) -> None:
    def prepare(name: str) -> Path:
        if begun:  # in the middle, with something that a process that died has left
            shutil.copytree(tmp_path / "begun", tmp_path / name)
        return tmp_path / name

    interrupted(smallest(), data, tmp_path / "begun", after=2)
    (tmp_path / "begun" / "checkpoints" / ".staging-search-0000000003").mkdir()
    run = prepare("whole")
    with failing(ANY, errno.EIO, path=f"{run}*", times=0) as counted:
        run_job(smallest(), data, run)
    expected, said = outcome(run), list[str]()
    calls = range(0, counted.seen, 1 if long_faults else 30)
    for number in calls:
        run = prepare(str(number))
        with failing(ANY, errno.EIO, path=f"{run}*", skip=number):
            try:
                run_job(smallest(), data, run)
            except ValueError as error:
                said.append(str(error))
        run_job(smallest(), data, run)
        assert differing(outcome(run), expected) == [], number
        assert left_over(run) == [], number
        shutil.rmtree(run)
    assert all("Input/output error" in line and str(tmp_path) in line for line in said), said
    record_property(
        "figures", f"{len(calls)} of {counted.seen} calls failed, {len(said)} of them stopped the job"
    )


def test_after_three_failures_in_a_row_the_search_stops_and_says_what_it_needs(
    data: DataSet, tmp_path: Path
) -> None:
    run, config = tmp_path / "run", smallest("[search]\nepochs = 4")
    watcher = Watcher(run)
    with (
        watcher,
        failing("write", errno.ENOSPC, path="*/.staging-*", times=-1, skip=6),
        pytest.raises(
            CannotWrite,
            match=r"cannot write a checkpoint into .*checkpoints: No space left on device; it needs [\d,]{5,} bytes; "
            r"last good checkpoint: .*/search-0000000001$",
        ),
    ):
        fit_search(SearchTrainer(config, data, device=CPU), folder=RunFolder.at(run), callback=watcher)
    assert len(watcher.warnings) == 2
    assert watcher.newest == [1, 1]
    assert left_over(run) == []
    run_search(config, data, run)
    run_search(config, data, tmp_path / "other")
    assert differing(outcome(run), outcome(tmp_path / "other")) == []


def test_two_failures_in_a_row_are_forgotten_after_a_success(data: DataSet, tmp_path: Path) -> None:
    config = smallest("[search]\nepochs = 4")
    run_search(config, data, tmp_path / "other")
    run = tmp_path / "run"
    with (
        failing("write", errno.ENOSPC, path="*/.staging-*", times=2, skip=6),
        failing("write", errno.ENOSPC, path="*/.staging-*", times=2, skip=11),
    ):
        listener = run_search(config, data, run)
    assert len(listener.warnings) == 4
    assert differing(outcome(run), outcome(tmp_path / "other")) == []


def test_rows_wait_for_the_disk_and_come_whole_and_in_order(
    undisturbed: dict[str, bytes], data: DataSet, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with failing("write", errno.ENOSPC, path="*/metrics.jsonl", times=5, skip=1):
        listener = run_search(smallest(), data, run)
    assert 2 <= len(listener.warnings) <= 5
    assert all("No space left on device" in line for line in listener.warnings)
    assert differing(outcome(run), undisturbed) == []


def test_the_command_line_ends_with_4_and_the_same_command_goes_on(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with failing("write", errno.ENOSPC, path="*/.staging-*", times=-1, skip=6):
        assert main(words) == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "No space left on device; it needs" in said
    assert "last good checkpoint: " in said
    assert main(words) == 0
    assert "search: resuming from" in capsys.readouterr().out


@pytest.mark.parametrize("error", ERRORS)
def test_a_run_folder_that_cannot_be_made_ends_with_4(
    error: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with failing("mkdir", ERRORS[error], path="*/runs"):
        assert main(words) == 4
    assert f"cannot make the run folder {tmp_path}/runs/mine: " in capsys.readouterr().err
    for call in ("open", "write", "fsync", "replace"):
        with failing(call, ERRORS[error], path="*/runs/mine/*"):
            assert main(words) == 4, call
        assert os.strerror(ERRORS[error]) in capsys.readouterr().err
    assert main(words) == 0


def test_a_disk_without_room_for_three_checkpoints_is_refused_before_anything_is_computed(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1000))
    with pytest.raises(
        CannotWrite,
        match=r"has room for 1,000 bytes, and 3 checkpoints of the search need [\d,]+; make room, or choose",
    ):
        run_search(smallest(), data, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.toml",
        "environment.json",
        "manifest.json",
    }


def mount(place: Path, options: str) -> bool:
    """Mount a disk in memory, or mount it otherwise; whether that is permitted."""
    command = ["mount", "-t", "tmpfs", "-o", options, "xnas-tests", str(place)]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def can_mount() -> bool:
    with tempfile.TemporaryDirectory() as place:
        permitted = mount(Path(place), "size=64k")
        if permitted:
            subprocess.run(["umount", place], check=True)
    return permitted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    assert mount(place, "size=600k")
    yield place
    subprocess.run(["umount", str(place)], check=True)


class Spoiler(Listener):
    """Spoils the disk after round 2 and mends it after round `mended`."""

    def __init__(self, disk: Path, how: str, *, mended: int) -> None:
        super().__init__()
        self.disk, self.how, self.mended, self.round = disk, how, mended, 0

    def step_done(self, **values: object) -> None:
        del values
        self.round += 1
        ballast = self.disk / "ballast"
        if self.how == "read-only" and self.round in (2, self.mended):
            assert mount(self.disk, "remount," + ("ro" if self.round == 2 else "rw"))
        elif self.round == 2:
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        elif self.round == self.mended:
            ballast.unlink()


@pytest.mark.skipif(not can_mount(), reason="mounting a small disk in memory is not permitted here")
@pytest.mark.parametrize("how", ["full", "read-only"])
@pytest.mark.parametrize("mended", [4, 5])
def test_a_real_disk_that_fails_for_a_while_delays_checkpoints_or_stops_the_search(
    mended: int, how: str, small_disk: Path, data: DataSet, tmp_path: Path
) -> None:
    config = smallest("[search]\nepochs = 4")
    run_search(config, data, tmp_path / "other")
    run = small_disk / "run"
    spoiler = Spoiler(small_disk, how, mended=mended)
    if mended == 4:  # two checkpoints are missed
        fit_search(SearchTrainer(config, data, device=CPU), folder=RunFolder.at(run), callback=spoiler)
    else:
        with pytest.raises(CannotWrite, match=r"last good checkpoint: .*search-0000000001"):
            fit_search(SearchTrainer(config, data, device=CPU), folder=RunFolder.at(run), callback=spoiler)
        assert newest_good(run, "search") == 1
        assert mount(small_disk, "remount,rw,size=2m")
        run_search(config, data, run)
    assert differing(outcome(run), outcome(tmp_path / "other")) == []
    assert left_over(run) == []
