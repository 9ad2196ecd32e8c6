"""xnas sweep: a whole grid, one after another: nothing done twice, and what fails is named."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from xnas import RunFolder
from xnas.cli import main
from xnas.io.errors import NonFinite
from xnas.runs.folder import Job
from xnas.runs.location import RunLocation
from xnas.runs.lock import locked
from xnas.study import member
from xnas.study import remote_task as errand
from xnas.study.remote_task import TaskResult, shared_folder_token
from xnas.study.sweep import page
from xnas.study.sweep.settings import read_sweep
from xnas.study.sweep.tasks import sweep_tasks
from xnas.train import pipeline
from xnas.train.context import RunRequest

from ...faults.smallest import SMALLEST
from ...sealed import seal
from .breaking_off import signal_in_step

GRID = """
[sweep]
search_seeds = [0, 1]
[sweep.data.plain]
flip = false
[sweep.settings.gd]
search.momentum = 0.5
[sweep.settings.slow]
retrain.learning_rate = 0.001
"""
SEARCHES = [f"search-plain-{name}-xnas-{seed}" for seed in (0, 1) for name in ("gd", "slow")]
TRAININGS = [f"train-plain-{name}-xnas-{seed}-seed-0" for seed in (0, 1) for name in ("gd", "slow")]
ORDER = [*SEARCHES[:2], *TRAININGS[:2], *SEARCHES[2:], *TRAININGS[2:]]


@pytest.fixture
def file(tmp_path: Path, image_folder: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(SMALLEST.replace("[data]", f'[data]\nsource = "{image_folder}"') + GRID)
    return path


@pytest.fixture
def words(file: Path, tmp_path: Path) -> list[str]:
    return ["sweep", str(file), "--runs", str(tmp_path / "runs"), "--threads", "1", "--device", "cpu"]


@pytest.fixture
def undrawn(blank_pictures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "sweep_pictures", lambda results: iter(()))


def numbers(folder: Path) -> Any:
    values = json.loads((folder / "sweep.json").read_text())
    for row in values["rows"]:
        for item in (row, *row["trainings"]):
            for name in ("search_seconds", "training_seconds", "seconds"):
                item.pop(name, None)
    return values


@pytest.mark.usefixtures("undrawn")
def test_a_whole_grid_is_searched_and_trained_and_summed_up(
    words: list[str], tmp_path: Path, done: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    folder = tmp_path / "runs" / "grid"
    assert done == ORDER
    for training, name in zip(TRAININGS, SEARCHES, strict=True):
        assert RunFolder(folder / training).genotype() == RunFolder(folder / name).genotype()
    assert RunFolder(folder / TRAININGS[1]).config().retrain.learning_rate == 0.001
    rows = numbers(folder)["rows"]
    assert [(row["settings"], row["n"], row["searches"]) for row in rows] == [("gd", 2, 2), ("slow", 2, 2)]
    accuracies = [RunFolder(folder / name).result()["test_accuracy"] for name in TRAININGS[::2]]
    assert rows[0]["test_accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert rows[0]["worst"] == min(accuracies)
    with (folder / "sweep.csv").open() as table:
        assert [line["settings"] for line in csv.DictReader(table)] == ["gd", "slow"]
    printed = capsys.readouterr().out
    assert "3 of 8: training, plain gd xnas, search seed 0, seed 0; at least" in printed
    assert "8 of 8: training, plain slow xnas, search seed 1, seed 0; about" in printed
    assert "2 cells of the grid, searched with 2 seeds (0, 1) each" in printed
    assert f"report: {folder / 'report.html'}" in printed
    assert main(words) == 0  # has ended: nothing is done again
    assert len(done) == 8


@pytest.mark.usefixtures("undrawn")
def test_a_sweep_that_is_broken_off_goes_on_and_may_grow(
    words: list[str],
    file: Path,
    tmp_path: Path,
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*words, "--name", "whole"]) == 0
    done.clear()
    folder = tmp_path / "runs" / "grid"
    with monkeypatch.context() as patch:
        signal_in_step(6, patch=patch)  # in the second search
        assert main(words) == 128 + signal.SIGTERM
    assert f"go on with: xnas resume {folder}\n" in capsys.readouterr().out
    assert numbers(folder)["missing"] == ["7 searches and trainings not done yet"]
    assert main(["resume", str(folder)]) == 0
    assert done == [*ORDER[:2], *ORDER[1:]]
    assert numbers(folder) == numbers(tmp_path / "runs" / "whole")
    file.write_text(
        file.read_text().replace("search_seeds = [0, 1]", "search_seeds = [0, 1]\nretrain_seeds = [0, 1]")
    )
    done.clear()
    assert main(words) == 0
    assert done == [name.replace("-seed-0", "-seed-1") for name in TRAININGS]
    file.write_text(file.read_text().replace("momentum = 0.5", "momentum = 0.6"))
    capsys.readouterr()
    assert main(words) == 2
    assert "was begun with other settings: sweep.settings differs; choose another" in capsys.readouterr().err
    (folder / "sweep.toml").unlink()
    seal(folder)
    assert main(["resume", str(folder)]) == 2
    assert "grid has no sweep.toml, so it cannot be continued" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_what_fails_by_itself_is_named_and_the_others_go_on(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: list[str]
) -> None:
    carry_out = pipeline.run_search

    def fails(request: RunRequest) -> int:
        if request.place.name == SEARCHES[0]:
            raise NonFinite("the loss is nan at step 1")
        if request.place.name == SEARCHES[3]:
            raise ValueError("the images are damaged")
        return carry_out(request)

    monkeypatch.setattr(pipeline, "run_search", fails)
    assert main(words) == 2
    hindered = "not begun, as it needs what has failed: search"
    assert numbers(tmp_path / "runs" / "grid")["missing"] == [
        "search, plain gd xnas, seed 0: the loss is nan at step 1",
        f"training, plain gd xnas, search seed 0, seed 0: {hindered}, plain gd xnas, seed 0",
        "search, plain slow xnas, seed 1: the images are damaged",
        f"training, plain slow xnas, search seed 1, seed 0: {hindered}, plain slow xnas, seed 1",
    ]
    assert done == [SEARCHES[1], TRAININGS[1], SEARCHES[2], TRAININGS[2]]


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("flip = false", "flop = false", "unknown setting 'flop'; did you mean 'flip'?"),
        ("flip = false", "padding = 99", "data.padding 99 can push images"),
        ("flip = false", 'source = "nowhere/"', "nowhere"),
        ("search.momentum = 0.5", "search.batch_size = 1000", "search.batch_size 1000 is larger than"),
        (
            "retrain.learning_rate = 0.001",
            "retrain.batch_size = 1000",
            "retrain.batch_size 1000 is larger than",
        ),
        ("steps = 1", "steps = 0", "checkpoint.steps must be at least 1; got 0"),
    ],
)
def test_a_mistake_in_any_cell_ends_in_one_line_before_anything_is_written(
    words: list[str],
    file: Path,
    tmp_path: Path,
    wrong: str,
    right: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file.write_text(file.read_text().replace(wrong, right))
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_worker_answers_what_has_become_of_an_errand(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "LOCK_PATIENCE", 0.0)
    monkeypatch.setattr(errand, "PATIENCE", 0.0)
    config, settings = read_sweep(Path(words[1]))
    task = sweep_tasks(settings, config)[0]
    (whole := tmp_path / "whole").mkdir()
    asked = RunRequest(
        job=Job(verb="sweep"), config=config, place=RunLocation.of(whole), fixed=("seed", "threads")
    )
    one = member.task_request(asked, task, whole, verb="search")
    assert one.fixed == ("seed",)
    with shared_folder_token(whole) as token:
        text = member.errand_text(one, None, token=token)
        assert TaskResult.of(member.work(text.replace(token, "another"))).end == "unseen"
        assert not member.has_ended(one, ("genotype.json",))
        before = member.progress(one)
        assert TaskResult.of(member.work(text)).end == "ended"
        assert member.has_ended(one, ("genotype.json", "report.html"))
        assert member.progress(one) != before
        with locked(whole / task.name):  # as by a process of a machine that was given up for lost
            outcome = TaskResult.of(member.work(text))
        assert (outcome.end, "is in use by" in outcome.reason) == ("mistake", True)
