"""A run that is killed at any moment, and called again, ends bit for bit as one that nothing happened to."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ..helpers.fork_server import Forks, nobody_is_left
from ..helpers.outcomes import differing, outcome
from ..helpers.rehearsal import COMMANDS, Rehearsal

PART = {"run": 0.4, "search": 0.25, "retrain": 0.2, "files": 0.15}
"""Of the kills."""


def moment(name: str, run: Path) -> str:
    """What a run was about when it was killed."""
    if not (run / "config.toml").exists():
        return "before its folder"
    place = run
    for control in (run / "controls").glob("*"):
        under_way = (control / "genotype.json").exists() and not (control / "result.json").exists()
        place = control if under_way else place
    if list(place.glob("checkpoints/.*")):
        return "saving"
    if not (place / "genotype.json").exists():
        return "searching"
    if name == "search" or (place / "result.json").exists():
        return "reporting"
    return "testing" if (place / "checkpoints/network.safetensors").exists() else "retraining"


def kill_now_and_then(name: str, kills: int, place: Path, images: Path, forks: Forks) -> Counter[str]:
    """Kill so many runs, each called again until it has ended; returns what they were about."""
    rehearsal = Rehearsal(name, place, images, forks)
    chance = random.Random(f"{name}-{kills}")
    moments: Counter[str] = Counter()
    wanted = kills
    while wanted or rehearsal.run.exists():
        words = rehearsal.words
        if (rehearsal.run / "config.toml").exists() and chance.random() < 0.5:
            words = ("resume", str(rehearsal.run))
        fork = forks.start(*words)
        if wanted:
            # Sooner rather than later: there is least to lose in a report, which takes half of the time if it is drawn.
            time.sleep(0.8 * rehearsal.seconds * chance.random() ** 2)
            os.kill(fork.pid, signal.SIGKILL)  # one that has ended already is not hurt by it
        code = fork.wait()
        about = f"kill {kills - wanted} of {name}, {moment(name, rehearsal.run)}"
        if code == -signal.SIGKILL:
            moments[moment(name, rehearsal.run)] += 1
            wanted -= 1
            assert nobody_is_left(fork.pid), about
            continue
        assert code == 0, f"{about}: {fork.said()[-2000:]}"
        assert differing(outcome(rehearsal.run), rehearsal.whole) == [], about
        assert [path for path in rehearsal.run.rglob(".*") if path.name != ".lock"] == [], about
        rehearsal.start_anew()
    return moments


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_killed_at_any_moment_and_called_again_ends_as_if_nothing_had_happened(
    name: str,
    long_faults: bool,
    forks: Forks,
    image_folder: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    kills = round((500 if long_faults else 10) * PART[name])
    started = time.monotonic()
    moments = kill_now_and_then(name, kills, tmp_path, image_folder, forks)
    assert moments.total() == kills
    seconds = time.monotonic() - started
    record_property("figures", f"{kills} kills, 0 differences, {seconds:.0f} s: {dict(moments)}")
