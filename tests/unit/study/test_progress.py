"""The progress of a study: the time left, and how many tasks are in each state."""

from pathlib import Path

from xnas import Config, RunFolder, StudySpec
from xnas.study.progress import StudyProgress
from xnas.study.tasks import tasks


def test_the_time_left_counts_down_and_is_at_least_that_of_the_known_kinds(
    tmp_path: Path, tiny: Config
) -> None:
    made = tasks(StudySpec(search_seeds=(0, 1), train_seeds=(0,), select="best"), tiny)
    RunFolder.at(tmp_path / "search-xnas-0").add_timing("search", seconds=100.0)
    now = 0.0
    progress = StudyProgress(tmp_path, made, clock=lambda: now)
    progress.has_ended(made[0])
    progress.starts(made[1])
    now = 30.0
    assert progress.line() == "2 of 5: search, xnas, seed 1; at least 1 min 10 s left in all"
    assert progress.table().splitlines() == [
        "tasks   waiting  running  done  failed",
        "search        0        1     1       0",
        "select        2        0     0       0",
        "train         1        0     0       0",
        "all           3        1     1       0",
        "running: search, xnas, seed 1",
        "at least 1 min 10 s left in all",
    ]
    progress = StudyProgress(tmp_path, made[:2], clock=lambda: now)
    progress.has_ended(made[0])
    progress.starts(made[1])
    now = 50.0
    assert progress.line() == "2 of 2: search, xnas, seed 1; about 1 min 20 s left in all"
