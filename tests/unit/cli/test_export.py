"""xnas export and xnas predict, from a run folder to classes of images."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xnas import RunFolder, load, read_config
from xnas.cli import main
from xnas.data.sets.registry import load_data

from ...helpers.exported_networks import CASES, trained_network

SMALL = """
[data]
source = "{source}"
[retrain]
channels = 4
cells = 2
reductions = 1
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose network nobody has trained, and its images, 12 x 12."""
    root = tmp_path_factory.mktemp("export")
    for part in ("train", "test"):
        for label, name in enumerate("abc"):
            folder = root / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = np.random.default_rng(10 * label + i).integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    (root / "settings.toml").write_text(SMALL.format(source=root / "images"))
    run = RunFolder.at(root / "run")
    run.describe(read_config(root / "settings.toml"), {})
    trained_network(CASES["RGB, DARTS"]).write(run)
    return run.path


@pytest.mark.parametrize("form", ["safetensors", "timm", "hub"])
def test_a_folder_is_exported_checked_and_said(
    form: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--format", form, "--to", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{form}: {tmp_path / 'out'}, logits " in said
    assert "on 12 images and parts of them" in said
    again, trained = load(tmp_path / "out"), load(run)
    images = load_data(str(run.parent / "images"), root=None).test.pixels(torch.arange(12))
    assert torch.equal(again.predict(images), trained.predict(images))
    assert (tmp_path / "out" / "README.md").exists() == (form != "safetensors")


def test_an_onnx_file_is_exported_and_asked(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "network.onnx"
    images = run.parent / "images" / "test"
    words = ["export", str(run), "--format", "onnx", "--to", str(path), "--images", str(images)]
    assert main(words) == 0
    capsys.readouterr()
    assert main(words) == 2
    assert "is there already; choose another place, or replace it" in capsys.readouterr().err
    answers = []
    for model in (path, run):
        assert main(["predict", str(model), str(images), "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    for ours, theirs in zip(answers[0]["images"], answers[1]["images"], strict=True):
        assert ours["image"] == theirs["image"]
        assert [item["class"] for item in ours["predictions"]] == [
            item["class"] for item in theirs["predictions"]
        ]
        assert [item["probability"] for item in ours["predictions"]] == pytest.approx(
            [item["probability"] for item in theirs["predictions"]], abs=1e-4
        )
    assert answers[0]["format"] == "xnas-predictions"


def test_predictions_are_a_line_an_image_and_broken_ones_are_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = run.parent / "images" / "test" / "a" / "0.png"
    (tmp_path / "bad\x1b.png").write_text("no image")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    Path(odd).write_text("no image")
    words = ["predict", str(run), str(tmp_path / "bad\x1b.png"), str(good), "--top", "2"]
    assert main(words) == 1
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    assert line.startswith(str(good)[:20])
    assert line.count("%") == 2
    assert "bad\\x1b.png cannot be read as an image: it is no image" in printed.err
    assert main([*words[:4], odd, *words[4:], "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["images"]
    assert rows[2]["image"] == f"{tmp_path}/\\xff.png"  # a byte that is no UTF-8
    assert rows[0]["error"] == "it is no image"
    assert len(rows[1]["predictions"]) == 2


def test_images_that_are_gone_are_named_before_anything_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(run), "--format", "safetensors", "--to", str(tmp_path / "out")]
    assert main([*words, "--data", str(tmp_path / "gone")]) == 2
    said = capsys.readouterr().err
    assert "gone does not exist" in said
    assert said.endswith("; or give some images with --images\n")
    assert main([*words, "--images", str(tmp_path / "gone")]) == 2
    assert "gone does not exist; give images or folders" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "form", "said"),
    [
        ("onnxruntime", "onnx", "pip install 'xnas[onnx]'"),
        ("timm", "timm", "pip install 'xnas[timm]'"),
        ("huggingface_hub", "hub", "pip install 'xnas[hub]'"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(
    package: str,
    form: str,
    said: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name in ("xnas.hub", "xnas.timm_models"):  # as if nobody had imported them yet
        monkeypatch.delitem(sys.modules, name, raising=False)
    target = tmp_path / ("out.onnx" if form == "onnx" else "out")
    words = ["export", str(run), "--format", form, "--to", str(target)]
    assert main([*words, "--data", str(run.parent / "gone")]) == 2  # said before the images are looked for
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_versions_of_onnx_are_for_onnx_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(run), "--to", str(tmp_path / "out"), "--onnx-opset", "18"]
    assert main([*words, "--format", "safetensors"]) == 2
    assert (
        "--onnx-opset and --onnx-ir are for --format onnx; got --format safetensors"
        in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_was_changed_is_refused_by_predict_unless_that_is_asked_for(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--format", "safetensors", "--to", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "config.json").read_text()
    (tmp_path / "out" / "config.json").write_text(text.replace('"b"', '"cat"'))
    capsys.readouterr()
    words = ["predict", str(tmp_path / "out"), str(run.parent / "images" / "test"), "--top", "9"]
    assert main(words) == 2
    assert "has changed since it was exported" in capsys.readouterr().err
    assert main([*words, "--unchecked"]) == 0
    assert "cat" in capsys.readouterr().out
