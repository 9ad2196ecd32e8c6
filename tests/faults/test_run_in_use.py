"""Two processes on one run folder: the second is refused, the first notices nothing, and a dead one is no obstacle.

And a process whose folder somebody takes away.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xnas.cli import main
from xnas.runs.lock import LOCK, locked
from xnas.train import loop as follow

from ..helpers.sealed_runs import seal

HOLD = """
import os, sys
from pathlib import Path
from xnas.runs.lock import locked
with locked(Path(sys.argv[1])):
    child = os.fork() if len(sys.argv) > 2 else 1
    if child:
        print(os.getpid(), child, flush=True)
    sys.stdin.read()
    if not child:
        os._exit(0)
"""
"""Holds the lock until its input ends; with a second word it has a child that does the same."""


def hold(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(str(process.pid))
    yield process
    process.communicate()


def test_a_second_command_on_a_run_is_refused_and_a_dead_one_is_no_obstacle(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "mine"
    assert main(words) == 0
    (run / "genotype.json").unlink()  # as if its end had not come
    seal(run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != LOCK}
    capsys.readouterr()
    for process in hold(run):
        for command in (words, [*words, "--overwrite"], ["resume", str(run)]):
            assert main(command) == 2
            assert f"{run} is in use by process {process.pid} on " in capsys.readouterr().err
        after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != LOCK}
        assert after == before
        process.send_signal(signal.SIGKILL)
    assert "process" in (run / LOCK).read_text()
    assert main(words) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_child_that_outlives_its_process_does_not_hold_its_lock(tmp_path: Path) -> None:
    for process in hold(tmp_path, "with a child"):
        with pytest.raises(ValueError, match=f"in use by process {process.pid} on"), locked(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(tmp_path):  # while the child still waits for its input to end
            pass


def _removed(folder: Path) -> None:
    shutil.rmtree(folder)


def _moved(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


@pytest.mark.parametrize("away", [_removed, _moved])
@pytest.mark.parametrize(
    ("command", "gone"), [("search", "mine"), ("compare", "mine"), ("compare", "mine/search-xnas-0")]
)
def test_a_run_whose_folder_goes_away_ends_in_one_line_and_leaves_no_stub(
    command: str,
    gone: str,
    away: Callable[[Path], None],
    settings: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "runs" / gone
    rounds: list[int] = []
    there: list[Path] = []

    meet = follow.sync_after_step

    def meet_without(*words: Any, **values: Any) -> Any:
        rounds.append(0)
        if len(rounds) == 2:
            away(folder)
            there.extend(sorted(tmp_path.rglob("*")))
        return meet(*words, **values)

    monkeypatch.setattr(follow, "sync_after_step", meet_without)
    command = [command, *settings, "--runs", f"{tmp_path}/runs", "--name", "mine"]
    if command == "compare":
        command += ["--methods", "xnas", "--seeds", "0"]
    assert main(command) == 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "was removed, moved or replaced" in lines[0]
    assert sorted(tmp_path.rglob("*")) == there
    assert main(command) == 0
