"""A signal ends the round, saves, and exits with 128 + n, whatever the run is about; a second one ends it at once."""

import os
import signal
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from xnas.runs.checkpoint import CheckpointStore

from ..conftest import save_images
from ..helpers.fork_server import Fork, Forks, nobody_is_left
from ..helpers.outcomes import differing, outcome
from ..helpers.rehearsal import Rehearsal

PLACES = {
    "a round": "xnas.train.search:SearchTrainer.training_step",
    "the reward pass": "xnas.train.search:SearchTrainer.measure",
    "a save": "os:fsync",
    "a retraining": "xnas.train.retrain:RetrainTrainer.training_step",
    "the test": "xnas.train.trained_network:TrainedNetwork.test",
}
"""What a run can be about, and the function that it is in."""
SLOW = """
import importlib, pathlib, time
module, _, path = {place!r}.partition(":")
*owners, name = path.split(".")
owner = importlib.import_module(module)
for step in owners:
    owner = getattr(owner, step)
inner, calls = getattr(owner, name), iter(range(10**9))
def slow(*words, **settings):
    if next(calls) == {call}:
        pathlib.Path({marker!r}).touch()
        while pathlib.Path({marker!r}).exists():
            time.sleep(0.01)
    return inner(*words, **settings)
setattr(owner, name, slow)
"""
"""Make a function say by a marker that it is there, and wait until that is taken away."""


class Case(NamedTuple):
    """A signal at some time in the life of a run."""

    number: signal.Signals
    group: bool
    """To the whole process group, as a terminal and batch systems do."""
    place: str
    command: str = "run"


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
ALL = [
    *(Case(*values) for values in product(SIGNALS, (False, True), PLACES)),
    *(Case(*values, "a round", "files") for values in product(SIGNALS, (False, True))),
]
SOME = [ALL[i] for i in (0, 14, 17, 21, 38, 41)]


@pytest.fixture(scope="module")
def rehearsals(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rehearsal]:
    """Commands and what they leave if nothing happens; each test leaves them without a run folder."""
    folder = tmp_path_factory.mktemp("rehearsals")
    images = save_images(folder / "images")
    return {name: Rehearsal(name, folder, images, forks) for name in ("run", "files")}


def cases(chosen: list[Case]) -> list[tuple[str, Case]]:
    return [
        (
            f"{case.number.name} to the {'group' if case.group else 'process'}, {case.place}, {case.command}",
            case,
        )
        for case in chosen
    ]


def wait_for(path: Path, fork: Fork) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, fork.said()[-2000:]
        time.sleep(0.01)


def newest_step(run: Path) -> int:
    found = [CheckpointStore(run / "checkpoints", phase).found()[:1] for phase in ("search", "retrain")]
    return sum(int(path.name.rpartition("-")[2]) for paths in found for path in paths)


def send(case: Case, fork: Fork) -> None:
    (os.killpg if case.group else os.kill)(fork.pid, case.number)


def test_a_signal_ends_the_round_saves_and_the_run_goes_on_exactly(
    long_faults: bool,
    forks: Forks,
    rehearsals: dict[str, Rehearsal],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    chosen = cases(ALL if long_faults else SOME)
    for number, (about, case) in enumerate(chosen):
        rehearsal, marker = rehearsals[case.command], tmp_path / f"there-{number}"
        call = {"a save": 70, "the test": 0}.get(case.place, 3)
        slow = SLOW.format(place=PLACES[case.place], call=call, marker=str(marker))
        before = len(forks.said())
        fork = forks.start(*rehearsal.words, before=slow)
        wait_for(marker, fork)
        send(case, fork)
        marker.unlink()
        assert fork.wait() == 128 + case.number, f"{about}: {fork.said()[before:]}"
        said = fork.said()[before:]
        assert said.count(f"xnas: stopped by {case.number.name}\n") == 1, f"{about}: {said}"
        assert "resume with: xnas resume" in said
        assert "Traceback" not in said, f"{about}: {said}"
        assert nobody_is_left(fork.pid), about
        if case.place in ("a round", "the reward pass", "a retraining"):
            assert newest_step(rehearsal.run) == (13 if case.place == "a retraining" else 4), about
        assert list(rehearsal.run.rglob(".staging*")) == []
        rehearsal.go()
        assert differing(outcome(rehearsal.run), rehearsal.whole) == [], about
        rehearsal.start_anew()
    record_property("figures", f"{len(chosen)} signals, 0 differences, 0 hangs, 0 orphans")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_second_signal_ends_the_run_at_once_and_it_goes_on_exactly_all_the_same(
    number: signal.Signals, code: int, forks: Forks, rehearsals: dict[str, Rehearsal], tmp_path: Path
) -> None:
    rehearsal, marker = rehearsals["run"], tmp_path / "there"
    slow = SLOW.format(place=PLACES["a round"], call=3, marker=str(marker))
    fork = forks.start(*rehearsal.words, before=slow)
    wait_for(marker, fork)
    started = time.monotonic()
    os.kill(fork.pid, number)
    time.sleep(0.2)  # two at once are one
    os.kill(fork.pid, number)
    assert fork.wait() == code
    assert time.monotonic() - started < 5
    rehearsal.go()
    assert differing(outcome(rehearsal.run), rehearsal.whole) == []
    rehearsal.start_anew()
