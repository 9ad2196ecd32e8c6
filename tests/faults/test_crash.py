"""Wherever a process or the power ends, the same command again ends as if nothing had happened."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from xnas import Config, DataSet
from xnas.cli import main

from .broken_disk import ENDS, Disk, Image, put_back, watched
from .outcome import differing, outcome
from .smallest import OTHERS, SMALLEST, Listener, left_over, newest_good, run_job, smallest

PHASES = ("search", "retrain")


class Watched:
    """A job that nothing happened to, and every disk that its end at some step would have left."""

    def __init__(self, config: Config, data: DataSet, home: Path, *, seed: int = 0) -> None:
        self.config, self.data, self.home = config, data, home
        home.mkdir()
        with watched(home, seed=seed) as disk:
            run_job(config, data, home / "mine")
        self.disk: Disk = disk
        self.outcome = outcome(home / "mine")

    def distinct(self, end: str) -> Iterator[tuple[str, Image]]:
        """The disks of one way to end, each once, with where it comes from."""
        seen = set()
        for moment in self.disk.moments:
            image = moment.images[end]
            key = frozenset(image.items())
            if key not in seen:
                seen.add(key)
                yield f"{end} ends after step {moment.step}, {moment.call}", image

    def go_on(self, image: Image, home: Path) -> list[str]:
        """What is wrong after the same job on such a disk."""
        put_back(image, home)
        listener = run_job(self.config, self.data, home / "mine")
        wrong = [f"{name} differs" for name in differing(outcome(home / "mine"), self.outcome)]
        wrong += [f"{name} is left over" for name in left_over(home / "mine")]
        return wrong + listener.warnings


@pytest.fixture(scope="module")
def job(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return Watched(smallest(), data, tmp_path_factory.mktemp("watched") / "disk")


@pytest.mark.parametrize("end", ENDS)
def test_a_job_that_ends_at_any_step_goes_on_to_the_same_result(
    end: str, job: Watched, tmp_path: Path
) -> None:
    check_every_disk(job, end, tmp_path)


@pytest.mark.parametrize("end", ENDS)
def test_once_there_is_a_checkpoint_there_is_always_one_and_never_an_older(
    end: str, job: Watched, tmp_path: Path
) -> None:
    check_checkpoints_stay(job, end, tmp_path)


def check_every_disk(job: Watched, end: str, place: Path) -> None:
    wrong, count = [], 0
    for count, (where, image) in enumerate(job.distinct(end), start=1):
        wrong += [f"{where}: {what}" for what in job.go_on(image, place / f"{end}-{count}")]
    print(f"{end}: {len(job.disk.moments)} steps, {count} different disks, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong[:20])


def check_checkpoints_stay(job: Watched, end: str, place: Path) -> None:
    best = dict.fromkeys(PHASES, -1)
    for count, (where, image) in enumerate(job.distinct(end)):
        home = place / str(count)
        put_back(image, home)
        for phase in PHASES:
            now = newest_good(home / "mine", phase)
            assert now >= best[phase], f"{where}: the newest {phase} checkpoint is {now}, was {best[phase]}"
            best[phase] = now
    assert best == {"search": 4, "retrain": 2}
