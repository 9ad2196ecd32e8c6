"""Wherever a process or the power ends, the same command again ends as if nothing had happened."""

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from xnas import Config, DataSet
from xnas.cli import main

from ..helpers.broken_disk import ENDS, RANDOM, Disk, Image, put_back, watched
from ..helpers.outcomes import differing, outcome
from ..helpers.smallest_run import OTHERS, Record, left_over, newest_good, run_job, smallest

PHASES = ("search", "retrain")


def distinct(disk: Disk, ends: Collection[str]) -> Iterator[tuple[str, Image]]:
    """Every disk that an end at some step would have left, once, with where it comes from."""
    seen = set()
    for moment in disk.moments:
        for end in ends:
            image = moment.images[end]
            key = frozenset(image.items())
            if key not in seen:
                seen.add(key)
                yield f"{end} ends after step {moment.step}, {moment.call}", image


class Job:
    """A job that nothing happened to, and the disk that was watched meanwhile."""

    def __init__(self, config: Config, data: DataSet, home: Path, *, seed: int = 0) -> None:
        self.config, self.data = config, data
        home.mkdir()
        with watched(home, seed=seed) as self.disk:
            run_job(config, data, home / "mine")
        self.outcome = outcome(home / "mine")

    def check_results(self, ends: Collection[str], place: Path, *, every: int = 1) -> str:
        """From every disk, or one in `every`, the job comes to the same result, warns of nothing and tidies up."""
        wrong, count = [], 0
        for count, (where, image) in enumerate(distinct(self.disk, ends), start=1):
            if count % every:
                continue
            home = place / str(count)
            put_back(image, home)
            said = run_job(self.config, self.data, home / "mine").warnings
            differ = differing(outcome(home / "mine"), self.outcome)
            if differ or said or left_over(home):
                wrong.append(f"{where}: {differ}, {said}, {left_over(home)}")
            shutil.rmtree(home)
        assert not wrong, "\n".join(wrong[:20])
        return (
            f"{len(self.disk.moments)} steps, {count} different disks, {count // every} of them gone on with"
        )

    def check_checkpoints(self, end: str, place: Path) -> None:
        """Once there is a checkpoint there is always one, and never an older."""
        best = dict.fromkeys(PHASES, -1)
        for where, image in distinct(self.disk, [end]):
            put_back(image, place / "image")
            for phase in PHASES:
                now = newest_good(place / "image" / "mine", phase)
                assert now >= best[phase], f"{where}: the newest of the {phase} is {now}, was {best[phase]}"
                best[phase] = now
            shutil.rmtree(place / "image")
        assert best == {"search": 4, "retrain": 2}


@pytest.fixture(scope="module")
def job(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return Job(smallest(), data, tmp_path_factory.mktemp("watched") / "disk")


def test_a_job_that_ends_at_any_step_goes_on_to_the_same_result(
    job: Job, tmp_path: Path, long_faults: bool, record_property: Record
) -> None:
    record_property("figures", job.check_results(ENDS, tmp_path, every=1 if long_faults else 4))


@pytest.mark.parametrize("end", ENDS)
def test_once_there_is_a_checkpoint_there_is_always_one_and_never_an_older(
    end: str, job: Job, tmp_path: Path
) -> None:
    job.check_checkpoints(end, tmp_path)


@pytest.mark.parametrize("name", OTHERS)
def test_with_other_settings_and_a_power_cut_that_leaves_some_of_it_too(
    name: str, data: DataSet, tmp_path: Path, long_faults: bool, record_property: Record
) -> None:
    job = Job(smallest(OTHERS[name]), data, tmp_path / "disk", seed=len(name))
    record_property("figures", job.check_results((*ENDS, RANDOM) if long_faults else (), tmp_path))
    for end in ENDS:
        job.check_checkpoints(end, tmp_path)


COMMANDS = {
    "search": ["search", "--name", "mine"],
    "search --overwrite": ["search", "--name", "mine", "--overwrite"],
    "retrain --overwrite": ["retrain", "HOME/runs/mine", "--overwrite"],
    "run": ["run", "--name", "mine", "--controls", "1"],
}
"""What is begun, and begun anew, from the command line."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_ends_at_any_step_succeeds_when_it_is_given_again(
    name: str,
    settings: list[str],
    tmp_path: Path,
    long_faults: bool,
    capsys: pytest.CaptureFixture[str],
    record_property: Record,
) -> None:
    def command(home: Path) -> list[str]:
        command, *rest = [word.replace("HOME", str(home)) for word in COMMANDS[name]]
        return (
            [command, *rest]
            if command == "retrain"
            else [command, *settings, "--runs", f"{home}/runs", *rest]
        )

    home = tmp_path / "disk"
    home.mkdir()
    if "--overwrite" in name:
        assert main(["run", *settings, "--runs", f"{home}/runs", "--name", "mine"]) == 0
    with watched(home) as disk:
        assert main(command(home)) == 0
    expected, files = outcome(home / "runs" / "mine"), names(home)
    disks = list(distinct(disk, ENDS))
    if name == "search":
        # Until there is a checkpoint all, as nothing else tests how a run folder comes to be.
        early = [found for found in disks if not any("checkpoints" in path for path in found[1])]
        disks = early + some_of(disks[len(early) :], most=60 if long_faults else 3)
    else:
        disks = some_of(disks, most=60 if long_faults else 2)
    wrong = []
    for where, image in disks:
        again = tmp_path / "again"
        put_back(image, again)
        capsys.readouterr()
        code = main(command(again))
        differ = differing(outcome(again / "runs" / "mine"), expected) + sorted(files ^ names(again))
        if code or differ:
            wrong.append(f"{where}: {code}, {differ}, {capsys.readouterr().err}")
        shutil.rmtree(again)
    record_property("figures", f"{len(disk.moments)} steps, {len(disks)} different disks")
    assert not wrong, "\n".join(wrong[:20])


def some_of(disks: list[tuple[str, Image]], *, most: int) -> list[tuple[str, Image]]:
    """Evenly chosen ones."""
    return disks[:: -(-len(disks) // most)]


def names(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*")}
