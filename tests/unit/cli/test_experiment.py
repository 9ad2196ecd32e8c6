"""xnas experiment: searches, a choice without the test images, trainings, and nothing done twice."""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from xnas import RunFolder
from xnas.cli import main
from xnas.data.images import Images
from xnas.io.errors import Interrupted, NonFinite, OutOfMemory
from xnas.runs.lock import locked
from xnas.space.architecture import Architecture
from xnas.study.experiment import page
from xnas.study.experiment import tasks as experiment
from xnas.study.experiment.settings import ExperimentSettings
from xnas.study.progress import StudyProgress
from xnas.train import evaluate, pipeline
from xnas.train.context import RunRequest
from xnas.train.retrain import RetrainTrainer

from ...faults.smallest import SMALLEST
from ...sealed import seal
from .breaking_off import signal_in_step

EXPERIMENT = """
[experiment]
search_seeds = [0, 1]
retrain_seeds = [0, 1]
random_cells = 1
[experiment.selection]
epochs = 1
batch_size = 54
"""
TASKS = [
    "search-0", "search-1", "select-0", "select-1",
    "selected-seed-0", "random-1-seed-0", "selected-seed-1", "random-1-seed-1",
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, image_folder: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(SMALLEST.replace("[data]", f'[data]\nsource = "{image_folder}"') + EXPERIMENT)
    return path


@pytest.fixture
def words(file: Path, tmp_path: Path) -> list[str]:
    return ["experiment", str(file), "--runs", str(tmp_path / "runs"), "--threads", "1", "--device", "cpu"]


@pytest.fixture
def undrawn(blank_pictures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the runs nor the experiment draw pictures."""
    monkeypatch.setattr(page, "experiment_pictures", lambda results: iter(()))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """How many images every test was of, and the first of their files' folders, train or test."""
    made: list[tuple[int, str]] = []
    test_network = evaluate.test_network

    def counted(network: Any, images: Images, **options: Any) -> Any:
        assert images.names is not None
        made.append((len(images), Path(images.names[images.place(0)]).parts[-3]))
        return test_network(network, images, **options)

    monkeypatch.setattr(evaluate, "test_network", counted)
    return made


def numbers(folder: Path) -> Any:
    return json.loads((folder / "experiment.json").read_text())


@pytest.mark.usefixtures("blank_runs")
def test_a_whole_experiment_reads_the_test_images_once_for_each_network_and_chooses_without_them(
    words: list[str],
    tmp_path: Path,
    reads: list[tuple[int, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words) == 0
    folder = tmp_path / "runs" / "mine"
    assert Counter(reads) == {(6, "train"): 2, (12, "test"): 4}
    assert reads[:2] == [(6, "train")] * 2  # before any test image
    assert [name for name in TASKS if (folder / name).is_dir()] == TASKS
    values = numbers(folder)
    scores = [RunFolder(folder / f"select-{seed}").result()["test_accuracy"] for seed in (0, 1)]
    assert [candidate["accuracy"] for candidate in values["candidates"]] == scores
    assert scores[values["chosen_search_seed"]] == max(scores)
    selected, control = values["rows"]
    results = [RunFolder(folder / f"selected-seed-{seed}").result()["test_accuracy"] for seed in (0, 1)]
    assert selected["accuracy"] == pytest.approx(sum(results) / 2)
    assert (selected["n"], selected["worst"], control["n"]) == (2, min(results), 2)
    assert values["missing"] == []
    chosen = RunFolder(folder / f"search-{values['chosen_search_seed']}").genotype()
    assert RunFolder(folder / "selected-seed-1").genotype() == chosen
    page, printed = (folder / "report.html").read_text(), capsys.readouterr().out
    for said in (
        "the one with the highest accuracy on that part was selected; the test images had no say in it",
        "Accuracy on 6 held-out training images",
        "selected cell (search seed",
    ):
        assert said in printed
        assert said in page
    assert "5 of 8: selected cell, seed 0" in printed
    assert "left in all" in printed
    assert "held-out accuracy" in printed
    assert "Held-out accuracy" in (folder / "select-0" / "report.html").read_text()
    assert {picture.name for picture in (folder / "pictures").iterdir()} >= {
        "test-accuracy.png", "selection.png", "selected-cell-normal.png",
    }  # fmt: skip
    assert main(words) == 0  # has ended: nothing is done again
    assert len(reads) == 6


@pytest.mark.usefixtures("undrawn")
def test_an_experiment_that_signals_break_off_everywhere_comes_to_the_same_numbers(
    words: list[str],
    file: Path,
    tmp_path: Path,
    reads: list[tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*words, "--name", "whole"]) == 0
    done = len(reads)
    folder = tmp_path / "runs" / "mine"
    with monkeypatch.context() as patch:
        signal_in_step(2, patch=patch)  # in the first search
        assert main(words) == 128 + signal.SIGTERM
    assert f"go on with: xnas resume {folder}\n" in capsys.readouterr().out
    for number in (1, 3, 4):  # in the first judging and in trainings
        with monkeypatch.context() as patch:
            signal_in_training(number, patch=patch)
            assert main(["resume", str(folder)]) == 128 + signal.SIGTERM
    assert main(words) == 0
    assert len(reads) == 2 * done
    assert numbers(folder) == numbers(tmp_path / "runs" / "whole")


def signal_in_training(number: int, *, patch: pytest.MonkeyPatch) -> None:
    """SIGTERM in the `number`-th round of all trainings from now on."""
    rounds = 0
    one_round = RetrainTrainer.training_step

    def step_with_a_signal(self: RetrainTrainer, *batches: Any) -> Any:
        nonlocal rounds
        rounds += 1
        if rounds == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_round(self, *batches)

    patch.setattr(RetrainTrainer, "training_step", step_with_a_signal)


@pytest.mark.usefixtures("undrawn")
def test_seeds_and_controls_can_be_added_and_what_was_trained_stays(
    words: list[str], file: Path, tmp_path: Path, done: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = file.read_text().replace("search_seeds = [0, 1]", 'search_seeds = [0]\nselect = "all"')
    file.write_text(text)
    assert main(words) == 0
    assert done == ["search-0", "found-0-seed-0", "random-1-seed-0", "found-0-seed-1", "random-1-seed-1"]
    more = text.replace("retrain_seeds = [0, 1]", 'retrain_seeds = [0, 1, 2]\npublished_cells = ["darts_v2"]')
    file.write_text(more.replace("search_seeds = [0]", "search_seeds = [0, 1]"))
    assert main(words) == 0
    assert done[5:] == [
        "search-1",
        "found-1-seed-0", "darts_v2-seed-0", "found-1-seed-1", "darts_v2-seed-1",
        "found-0-seed-2", "found-1-seed-2", "random-1-seed-2", "darts_v2-seed-2",
    ]  # fmt: skip
    rows = {row["title"]: row for row in numbers(tmp_path / "runs" / "mine")["rows"]}
    assert (rows["all found cells"]["n"], rows["all found cells"]["cells"]) == (6, 2)
    assert rows["published darts_v2 cell"]["n"] == 3
    capsys.readouterr()
    file.write_text(more.replace("random_cells = 1", "random_cells = 0"))
    assert main(words) == 2
    assert "experiment.search_seeds was (0, 1), is (0,)" in capsys.readouterr().err
    file.write_text(more.replace("batch_size = 60", "batch_size = 20"))
    assert main(words) == 2
    assert "was begun with other settings: retrain.batch_size was 60, is 20" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_a_search_that_fails_for_good_is_named_and_the_choice_is_made_among_the_others(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    carry_out = pipeline.run_search

    def fails(request: RunRequest) -> int:
        if request.place.name == "search-0":
            raise NonFinite("the loss is nan at step 1")
        return carry_out(request)

    monkeypatch.setattr(pipeline, "run_search", fails)
    assert main(words) == 2
    values = numbers(tmp_path / "runs" / "mine")
    assert values["chosen_search_seed"] == 1
    assert values["missing"] == [
        "search, seed 0: the loss is nan at step 1",
        "judging the cell of search seed 0: not begun, as it needs what has failed: search, seed 0",
    ]
    assert "search, seed 0 failed: the loss is nan" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_no_choice_is_made_while_a_candidate_may_still_come(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: list[str]
) -> None:

    def fails(request: RunRequest) -> int:
        raise OutOfMemory("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "run_search", fails)
        assert main(words) == 3
    folder = tmp_path / "runs" / "mine"
    assert not (folder / "selection.json").exists()
    assert done == ["random-1-seed-0", "random-1-seed-1"]
    assert main(["resume", str(folder)]) == 0
    assert done[2:] == ["search-0", "search-1", "select-0", "select-1", "selected-seed-0", "selected-seed-1"]


@pytest.mark.usefixtures("undrawn")
def test_ctrl_c_between_two_tasks_says_how_to_go_on(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken_off(request: RunRequest, genotype: Architecture) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run_retrain", broken_off)
    assert main(words) == 130
    folder = tmp_path / "runs" / "mine"
    assert capsys.readouterr().out.endswith(f"go on with: xnas resume {folder}\n")


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("search_seeds", "search_sedes", "unknown setting 'search_sedes'; did you mean 'search_seeds'?"),
        ("batch_size = 12", "batch_size = 1000", "search.batch_size 1000 is larger than"),
        ("batch_size = 60", "batch_size = 1000", "retrain.batch_size 1000 is larger than"),
        (
            "batch_size = 54",
            "batch_size = 60",
            "retrain.batch_size 60 is larger than the training set of 54 images",
        ),
        ("padding = 1", "padding = 99", "data.padding 99 can push images"),
        ("SOURCE", "nowhere/", "nowhere"),
    ],
)
def test_a_mistake_ends_in_one_line_before_anything_is_written(
    words: list[str],
    file: Path,
    tmp_path: Path,
    wrong: str,
    right: str,
    said: str,
    image_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file.write_text(file.read_text().replace(wrong.replace("SOURCE", str(image_folder)), right))
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_two_processes_do_not_work_on_one_experiment(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    with locked(folder):
        assert main(words) == 2
    assert "is in use by" in capsys.readouterr().err


def test_a_folder_without_its_settings_cannot_be_continued(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    def broken_off(request: RunRequest) -> int:
        raise Interrupted(15)

    monkeypatch.setattr(pipeline, "run_search", broken_off)
    assert main(words) == 128 + 15
    folder = tmp_path / "runs" / "mine"
    (folder / "experiment.toml").unlink()
    seal(folder)
    assert main(["resume", str(folder)]) == 2
    assert "mine has no experiment.toml, so it cannot be continued" in capsys.readouterr().err


def test_the_time_left_counts_down_and_is_at_least_that_of_the_known_kinds(tmp_path: Path, tiny: Any) -> None:
    made = ExperimentSettings(search_seeds=(0, 1), retrain_seeds=(0,))
    tasks = experiment.experiment_tasks(made, tiny)
    RunFolder.at(tmp_path / "search-0").add_timing("search", seconds=100.0)
    now = 0.0
    progress = StudyProgress(tmp_path, tasks, noun="experiment", clock=lambda: now)
    progress.has_ended(tasks[0])
    progress.begins(tasks[1])
    now = 30.0
    assert progress.line() == "2 of 5: search, seed 1; at least 1 min 10 s left in all"
    assert progress.table().splitlines() == [
        "experiment  waiting  running  done  failed",
        "search            0        1     1       0",
        "select            2        0     0       0",
        "train             1        0     0       0",
        "all               3        1     1       0",
        "running: search, seed 1",
        "at least 1 min 10 s left in all",
    ]
    progress = StudyProgress(tmp_path, tasks[:2], noun="experiment", clock=lambda: now)
    progress.has_ended(tasks[0])
    progress.begins(tasks[1])
    now = 50.0
    assert progress.line() == "2 of 2: search, seed 1; about 1 min 20 s left in all"
