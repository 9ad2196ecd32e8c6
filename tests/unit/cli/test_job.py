"""The commands, one after another, as a person uses them on images of her own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from xnas import RunFolder
from xnas.cli import main

from ...helpers.sealed_runs import seal
from ...helpers.signal_in_step import signal_in_step

pytestmark = pytest.mark.usefixtures("blank_pictures")

FILES = {
    ".lock",
    "checkpoints",
    "job.json",
    "manifest.json",
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
    assert names(run) == FILES | {"result.json"}
    result = json.loads((run / "result.json").read_text())
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 0
    assert f"test accuracy {result['test_accuracy']:.2%}" in capsys.readouterr().out
    assert main(["show", str(run), "--cost", "--image-shape", "3", "16", "16", "--classes", "3"]) == 0
    assert f"{result['parameters']:,} parameters" in capsys.readouterr().out

    assert main(["retrain", str(run)]) == 0  # has ended, and is not done again
    assert main(["retrain", str(run), "--retrain.epochs", "1"]) == 2
    assert "mine was started with different settings: retrain.epochs was 2, is 1" in capsys.readouterr().err
    assert json.loads((run / "result.json").read_text()) == result
    assert main(["retrain", str(run), "--retrain.epochs", "1", "--overwrite"]) == 0
    assert json.loads((run / "result.json").read_text())["epochs"] == 1
    assert main(["retrain", str(run), "--seed", "3", "--overwrite"]) == 2
    assert "mine was searched with stays as it is, but seed was 0, is 3; to train" in capsys.readouterr().err
    free = [
        "--root",
        str(tmp_path),
        "--data.workers",
        "0",
    ]  # where images are and who reads them decides nothing
    assert main(["retrain", str(run), "--retrain.epochs", "1", *free]) == 0
    assert main(["retrain", str(run), "--preset", "quick", "--overwrite"]) == 2
    assert "--preset does not go with the folder of a search" in capsys.readouterr().err


def test_the_whole_job_with_controls_ends_in_a_table(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words, "--controls", "2"]) == 0
    run = tmp_path / "runs" / "mine"
    assert names(run) == FILES | {"result.json", "controls"}
    assert names(run / "controls") == {"xnas", "random-1", "random-2"}
    printed = capsys.readouterr().out
    for name in ("found cell", "random-1", "random-2", "xnas", "T = ", "report: "):
        assert name in printed
    assert main(["evaluate", str(run / "controls" / "random-1")]) == 0
    # A terminal that knows ASCII alone shows the table all the same.
    done = subprocess.run(
        [sys.executable, "-m", "xnas", "show", str(run)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "random cells, mean ? sd" in done.stdout


def test_a_published_cell_is_trained_in_a_folder_of_its_own(words: list[str], tmp_path: Path) -> None:
    assert main(["retrain", "--genotype", "darts_v1", *words]) == 0
    result = json.loads((tmp_path / "runs" / "mine" / "result.json").read_text())
    assert result["name"] == "darts_v1"


def test_a_run_that_has_ended_is_kept_and_not_done_again(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *words]) == 0
    run = tmp_path / "runs" / "mine"
    before = (run / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["search", *words]) == 0
    assert "has ended; it is not done again without --overwrite" in capsys.readouterr().out
    for change, said in {
        "--search.epochs 3": "mine was started with different settings: search.epochs was 2, is 3",
        "--seed 3 --search.zeta 0.5": "search.zeta was 1.0, is 0.5; seed was 0, is 3; give it the same",
        "--overwrite --search.batch-size 4000": "search.batch_size 4000 is larger than the training part of 30",
        "--overwrite --data.padding 16": "data.padding 16 can push images of 16 x 16 pixels out of sight",
    }.items():
        assert main(["search", *words, *change.split()]) == 2
        assert said in capsys.readouterr().err
    for change, said in {
        "": "its command was 'search', is 'run'",
        "--overwrite --retrain.batch-size 4000": "retrain.batch_size 4000 is larger than the training set of 60",
        "--overwrite --retrain.stem imagenet --retrain.channels 1": "channels must be at least 2 for the stem",
    }.items():
        assert main(["run", *words, *change.split()]) == 2
        assert said in capsys.readouterr().err
    assert (run / "metrics.jsonl").read_bytes() == before
    assert main(["search", *words, "--overwrite"]) == 0
    assert names(tmp_path / "runs") == {"mine"}


def test_a_network_that_cannot_be_built_is_refused_before_anything_is_searched(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experts = ["none", "skip_connect", "nor_conv_3x3"]
    space = [
        "--space.kind",
        "nasbench201",
        "--space.nodes",
        "3",
        "--space.cells",
        "3",
        "--space.experts",
        *experts,
    ]
    for wrong, said in {
        "--retrain.cells 4": "4 cells do not spread evenly over the 3 stages",
        "--retrain.cells 3 --retrain.stem-channels 64": "got stem_channels = 64 beside channels = ",
        "--retrain.cells 3 --retrain.squeeze-excite": "NAS-Bench-201 has no squeeze-and-excitation",
    }.items():
        for command in ("run", "compare"):
            assert main([command, *words, *space, "--retrain.reductions", "2", *wrong.split()]) == 2
            assert said in capsys.readouterr().err
    cell = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|"
    assert (
        main(["retrain", "--genotype", cell, *words, "--retrain.reductions", "2", "--retrain.cells", "4"])
        == 2
    )
    assert "4 cells do not spread evenly" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_controls_can_be_added_to_a_run_that_has_ended(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine"
    assert main(["run", *words]) == 0
    before = (run / "result.json").read_bytes()
    assert main(["run", *words, "--controls", "1"]) == 0
    assert names(run / "controls") == {"xnas", "random-1"}
    assert (run / "result.json").read_bytes() == before
    assert json.loads((run / "job.json").read_text())["controls"] == 1


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


def test_a_signal_ends_a_run_cleanly_and_it_goes_on_where_it_was(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "mine"
    with monkeypatch.context() as patch:
        rounds = signal_in_step(5, patch=patch)  # of 6: the first of the third epoch
        assert main(["run", *words, "--search.epochs", "3"]) == 128 + signal.SIGTERM
    said = capsys.readouterr()
    assert len(rounds) == 5
    assert "stopped by SIGTERM" in said.err
    assert "report: " in said.out
    assert names(run) == FILES - {"genotype.json"} | {"genotype-so-far.json"}
    with pytest.raises(ValueError, match="its search has not ended; resume with: xnas resume"):
        RunFolder(run).genotype()
    assert main(["show", str(run)]) == 0
    assert "the search has not ended; what it would choose now" in capsys.readouterr().out
    assert "epochs are on record; the cells below are its choice" in (run / "report.html").read_text()
    reached = max(path.name for path in (run / "checkpoints").iterdir())
    assert main(["resume", str(run), "--threads", "1"]) == 0
    assert f"search: resuming from {run}/checkpoints/{reached}" in capsys.readouterr().out
    assert names(run) == FILES | {"result.json"}


def test_a_move_to_another_number_of_threads_is_allowed_said_and_noted(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "mine"
    assert main(["search", *words]) == 0
    (run / "genotype.json").unlink()
    environment = json.loads((run / "environment.json").read_text())
    environment |= {
        "device_name": "another processor",
        "instructions": "other",
        "earlier": "nothing that xnas has written",
    }
    (run / "environment.json").write_text(json.dumps(environment))
    seal(run)
    capsys.readouterr()
    assert main(["resume", str(run)]) == 0
    said = capsys.readouterr().out
    assert "warning: device_name was 'another processor', is " in said
    assert "; instructions was 'other', is '" in said
    assert "results may differ in the last bits" in said
    noted = json.loads((run / "environment.json").read_text())
    assert [earlier["device_name"] for earlier in noted["earlier"]] == ["another processor"]
    assert noted["kernels"] == environment["kernels"]


def test_a_run_may_go_on_with_less_memory_and_keeps_to_it(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine"
    assert main(["search", *words]) == 0
    before = (run / "metrics.jsonl").read_bytes()
    for again in (["resume", str(run), "--threads", "1", "--activation-checkpointing"], ["resume", str(run)]):
        (run / "genotype.json").unlink()
        seal(run)
        assert main(again) == 0
        assert "activation_checkpointing = true" in (run / "config.toml").read_text()
    assert main(["retrain", str(run), "--no-activation-checkpointing"]) == 0
    assert "activation_checkpointing = false" in (run / "config.toml").read_text()
    assert (run / "metrics.jsonl").read_bytes().startswith(before)


def test_a_run_goes_on_with_its_images_from_elsewhere_and_keeps_to_it(
    words: list[str],
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, elsewhere = tmp_path / "runs" / "mine", tmp_path / "elsewhere"
    monkeypatch.chdir(tmp_path)
    assert main(["run", *words, "--data", "images", "--controls", "1"]) == 0
    weights = (run / "checkpoints" / "network.safetensors").read_bytes()
    metrics = (run / "metrics.jsonl").read_bytes()
    assert main(["run", *words, "--data", "./images", "--controls", "1"]) == 0  # the same folder
    for part in (run, run / "controls" / "random-1"):
        (part / "result.json").unlink()
    seal(run)
    image_folder.rename(elsewhere)
    monkeypatch.chdir(tmp_path / "runs")
    capsys.readouterr()
    assert main(["resume", "mine", "--data", "../elsewhere"]) == 0
    said = capsys.readouterr().out
    assert said.count("resuming from") == 2
    assert (run / "checkpoints" / "network.safetensors").read_bytes() == weights
    assert (run / "metrics.jsonl").read_bytes() == metrics
    for part in (run, run / "controls" / "random-1"):
        assert f'source = "{elsewhere}"' in (part / "config.toml").read_text()
    assert main(["evaluate", "mine"]) == 0

    before = (run / "config.toml").read_bytes()
    (elsewhere / "train" / "red" / "000.png").rename(elsewhere / "train" / "red" / "new.png")
    for place, reason in (
        ("../elsewhere", "../elsewhere has other images than mine/checkpoints/search-"),
        ("cifar10", "--data is for a run on a folder of images; say with --root where a named data set is"),
    ):
        assert main(["resume", "mine", "--data", place]) == 2
        assert reason in capsys.readouterr().err
    assert (run / "config.toml").read_bytes() == before


def test_a_run_finds_its_images_from_everywhere_and_says_where_they_were(
    words: list[str],
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, elsewhere = tmp_path / "runs" / "mine", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["search", *words, "--data", "images"]) == 0
    (run / "genotype.json").unlink()
    seal(run)
    monkeypatch.chdir(elsewhere)
    assert main(["resume", str(run)]) == 0
    assert main(["retrain", str(run)]) == 0

    image_folder.rename(tmp_path / "images2")
    (run / "result.json").unlink()
    seal(run)
    capsys.readouterr()
    gone = f"xnas: the folder of images of {run} is not there; it was {image_folder}; say where it is now"
    for given, remedy in (
        (["resume"], f": xnas resume {run} --data FOLDER"),
        (["retrain"], f": xnas resume {run} --data FOLDER"),
        (["evaluate"], " with --data FOLDER"),
        (["export", "--format", "safetensors", "--to", "made"], " with --data FOLDER"),
    ):
        command, *more = given
        assert main([command, str(run), *more]) == 2
        said = capsys.readouterr().err
        assert said.startswith(gone + remedy), command
        assert said.count("\n") == 1
    assert main(["search", *words, "--data", "../images2"]) == 2
    assert "say where it is with: xnas resume RUN --data FOLDER" in capsys.readouterr().err
    assert main(["resume", str(run), "--data", "../images2"]) == 0
    assert main(["evaluate", str(run)]) == 0


def test_images_that_have_changed_are_noticed(
    words: list[str], image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *words]) == 0
    (tmp_path / "runs" / "mine" / "genotype.json").unlink()
    seal(tmp_path / "runs" / "mine")
    Image.new("RGB", (16, 16), (200, 30, 40)).save(image_folder / "train" / "red" / "000.png")
    assert main(["search", *words]) == 2
    assert "was started otherwise: the images changed; give it the same" in capsys.readouterr().err


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Grey images of another size, of two classes."""
    root = tmp_path / "others"
    for part, count in (("train", 12), ("test", 3)):
        for label, name in enumerate(("dark", "light")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                grey = 40 + 150 * label + i
                Image.new("L", (20, 20), grey).save(root / part / name / f"{i}.png")
                Image.effect_noise((20, 20), 30 + grey / 10).save(root / part / name / f"noise{i}.png")
    return root


def test_a_found_cell_is_trained_on_other_images_in_a_folder_of_its_own(
    words: list[str], others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *words]) == 0
    run = tmp_path / "runs" / "mine"
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    place = ["--runs", str(tmp_path / "runs")]
    capsys.readouterr()
    assert main(["transfer", str(run), *place]) == 2
    assert "say on which images with --data" in capsys.readouterr().err
    transfer = ["transfer", str(run), "--data", str(others), *place]
    assert main([*transfer, "--retrain.epochs", "1"]) == 0
    new = RunFolder(tmp_path / "runs" / "mine-on-others-1")
    assert names(new.path) == FILES | {"result.json"}
    assert new.genotype() == RunFolder(run).genotype()
    assert new.result()["name"] == "mine"
    assert (new.config().retrain.epochs, new.config().data.padding, new.config().data.source) == (
        1,
        1,
        str(others),
    )
    assert {path: path.read_bytes() for path in before} == before
    # What has ended is not done again, and may be continued under its name alone.
    named = [*transfer, "--name", "mine-on-others-1"]
    assert main(named) == 2
    assert "retrain.epochs was 1, is 2" in capsys.readouterr().err
    assert main([*named, "--retrain.epochs", "1"]) == 0
    assert main(["evaluate", str(new.path)]) == 0


def test_a_transfer_can_start_from_a_file_of_settings(
    words: list[str], others: Path, tiny_toml: Path, tmp_path: Path
) -> None:
    assert main(["search", *words]) == 0
    run = tmp_path / "runs" / "mine"
    file = tmp_path / "there.toml"
    file.write_text(tiny_toml.read_text().replace("[data]", f'[data]\nsource = "{others}"\ncutout = 4'))
    place = ["--runs", str(tmp_path / "runs"), "--name", "there", "--threads", "1", "--device", "cpu"]
    assert main(["transfer", str(run), "--config", str(file), *place, "--retrain.stem", "strided"]) == 0
    config = RunFolder(tmp_path / "runs" / "there").config()
    assert (config.data.cutout, config.retrain.stem) == (4, "strided")


def test_a_search_without_an_end_has_nothing_to_transfer(
    tiny_toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "begun"
    run.mkdir(parents=True)
    (run / "config.toml").write_text(tiny_toml.read_text())
    seal(run)
    assert main(["transfer", str(run), "--data", "fashion-mnist-small"]) == 2
    assert "genotype.json" in capsys.readouterr().err
