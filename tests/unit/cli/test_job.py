"""The verbs, one after another, as a person uses them on images of her own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from xnas.cli import main

FILES = {
    "config.toml",
    "environment.json",
    "metrics.jsonl",
    "genotype.json",
    "report.html",
    "timing.json",
    "pictures",
}


@pytest.fixture
def words(tiny_toml: Path, image_folder: Path, tmp_path: Path) -> list[str]:
    place = ["--runs", str(tmp_path / "runs"), "--name", "mine", "--threads", "1"]
    return ["--config", str(tiny_toml), "--data", str(image_folder), "--device", "cpu", *place]


def names(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


def test_a_search_over_files_is_the_same_as_over_memory(words: list[str], tmp_path: Path) -> None:
    assert main(["search", *words]) == 0
    files = [word.replace("mine", "files") for word in words]
    assert main(["search", *files, "--data.workers", "2"]) == 0
    for name in ("metrics.jsonl", "genotype.json"):
        first, second = ((tmp_path / "runs" / run / name).read_bytes() for run in ("mine", "files"))
        assert first == second


def test_search_retrain_and_evaluate_go_on_from_one_folder(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "mine"
    assert main(["search", *words]) == 0
    assert names(run) == FILES
    assert main(["retrain", str(run)]) == 0
    assert names(run) == FILES | {"result.json", "checkpoints"}
    result = json.loads((run / "result.json").read_text())
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 0
    assert f"test accuracy {result['test_accuracy']:.2%}" in capsys.readouterr().out
    assert main(["show", str(run), "--cost", "--image-shape", "3", "16", "16", "--classes", "3"]) == 0
    assert f"{result['parameters']:,} parameters" in capsys.readouterr().out

    assert main(["retrain", str(run)]) == 2
    assert "has been retrained already; --overwrite replaces" in capsys.readouterr().err
    assert json.loads((run / "result.json").read_text()) == result
    assert main(["retrain", str(run), "--retrain.epochs", "1", "--overwrite"]) == 0
    assert json.loads((run / "result.json").read_text())["epochs"] == 1
    assert main(["retrain", str(run), "--seed", "3", "--overwrite"]) == 2
    assert "the [seed] of" in capsys.readouterr().err
    assert main(["retrain", str(run), "--preset", "quick", "--overwrite"]) == 2
    assert "--preset does not go with the folder of a search" in capsys.readouterr().err


def test_the_whole_job_with_controls_ends_in_a_table(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words, "--controls", "2"]) == 0
    run = tmp_path / "runs" / "mine"
    assert names(run) == FILES | {"result.json", "checkpoints", "controls"}
    assert names(run / "controls") == {"xnas", "random-1", "random-2"}
    printed = capsys.readouterr().out
    for name in ("found cell", "random-1", "random-2", "xnas", "T = ", "report: "):
        assert name in printed
    assert main(["evaluate", str(run / "controls" / "random-1")]) == 0


def test_a_published_cell_is_trained_in_a_folder_of_its_own(words: list[str], tmp_path: Path) -> None:
    assert main(["retrain", "--genotype", "darts_v1", *words]) == 0
    result = json.loads((tmp_path / "runs" / "mine" / "result.json").read_text())
    assert result["name"] == "darts_v1"


def test_a_run_folder_that_exists_is_refused_and_kept(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *words]) == 0
    before = (tmp_path / "runs" / "mine" / "metrics.jsonl").read_bytes()
    assert main(["search", *words]) == 2
    assert "exists already; choose another --name, or --overwrite it" in capsys.readouterr().err
    assert main(["search", *words, "--overwrite", "--search.batch-size", "4000"]) == 2
    assert "search.batch_size 4000 is larger than the training part of 30 images" in capsys.readouterr().err
    assert main(["run", *words, "--overwrite", "--retrain.batch-size", "4000"]) == 2
    assert "retrain.batch_size 4000 is larger than the training set of 60 images" in capsys.readouterr().err
    narrow = ["--retrain.stem", "imagenet", "--retrain.channels", "1"]
    assert main(["run", *words, "--overwrite", *narrow]) == 2
    assert "channels must be at least 2 for the stem 'imagenet'; got 1" in capsys.readouterr().err
    assert main(["search", *words, "--overwrite", "--data.padding", "16"]) == 2
    assert "data.padding 16 can push images of 16 x 16 pixels out of sight" in capsys.readouterr().err
    assert (tmp_path / "runs" / "mine" / "metrics.jsonl").read_bytes() == before
    assert main(["search", *words, "--overwrite"]) == 0


def test_a_file_that_a_run_wrote_starts_the_same_run_again(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine"
    assert main(["search", *words]) == 0
    again = ["--config", str(run / "config.toml"), "--runs", str(tmp_path / "runs"), "--name", "again"]
    assert main(["search", *again]) == 0
    other = tmp_path / "runs" / "again"
    for name in ("config.toml", "metrics.jsonl", "genotype.json"):
        assert (other / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("other classes", "yellow"),
        ("empty class", "green"),
        ("one class", "has one class only"),
        ("truncated", "000.png"),
    ],
)
def test_images_that_are_not_fit_are_named_before_anything_is_written(
    spoil: str,
    said: str,
    words: list[str],
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    match spoil:
        case "other classes":
            (image_folder / "test" / "green").rename(image_folder / "test" / "yellow")
        case "empty class":
            for file in (image_folder / "train" / "green").iterdir():
                file.unlink()
        case "one class":
            for part in ("train", "test"):
                for name in ("green", "red"):
                    (image_folder / part / name).rename(tmp_path / f"{part}-{name}")
        case "truncated":
            file = image_folder / "train" / "red" / "000.png"
            file.write_bytes(file.read_bytes()[:60])
    assert main(["run", *words]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_folder_without_a_test_part_is_split_and_grey_images_stay_grey(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("dark", "light"):
        (tmp_path / "grey" / label).mkdir(parents=True)
        for i in range(40):
            Image.new("L", (12, 12), i + 150 * (label == "light")).save(
                tmp_path / "grey" / label / f"{i}.png"
            )
    assert main(["search", *words, "--data", str(tmp_path / "grey")]) == 0
    assert "64 training and 16 test images of 2 classes, 12 x 12, 1 channel" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_cleanly_and_leaves_a_folder_that_can_be_used(
    number: signal.Signals, words: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "mine"
    command = [sys.executable, "-m", "xnas", "run", *words, "--search.epochs", "100000"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while (
        '"epoch": 2' not in (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").exists() else True
    ):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.1)
    os.kill(child.pid, number)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 128 + number
    assert number.name in err
    assert "Traceback" not in err
    assert "report: " in out
    assert names(run) == FILES
    assert main(["retrain", str(run)]) == 0


def test_a_terminal_that_knows_ascii_alone_shows_the_table_all_the_same(
    words: list[str], tmp_path: Path
) -> None:
    assert main(["run", *words, "--controls", "2"]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "xnas", "show", str(tmp_path / "runs" / "mine")],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "random cells, mean ? sd" in done.stdout
