"""A trained network comes back from a run folder and from an exported one; what is neither is named."""

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from xnas import Config, DataSet, RunFolder, load, published_genotype
from xnas.data.images import ImageSet
from xnas.export.load import exported_files, read_exported
from xnas.train.retrain import fit_retrain

from ...helpers.exported_networks import (
    CASES,
    RESULT,
    about_of,
    pixels,
    reseal,
    trained_network,
    write_exported,
)

CASE = CASES["RGB, DARTS"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_exported(tmp_path / "exported", CASE)


def test_a_run_folder_is_loaded_with_the_size_of_its_images(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    run = RunFolder.at(tmp_path / "run")
    run.describe(tiny, {})
    fit_retrain(
        published_genotype("darts_v2"), tiny, data, name="found", device=torch.device("cpu"), folder=run
    )
    trained = load(tmp_path / "run")
    assert trained.image_shape == (3, 8, 8)
    assert trained.border == 0
    assert not trained.network.training
    # A run of an earlier version does not say it.
    weights, about = run.weights()
    del about["image_shape"]
    run.write_weights(weights, about=about)
    assert load(str(tmp_path / "run")).image_shape is None
    run.write_weights(weights, about=about | {"image_shape": "[1, 8, 8]"})
    with pytest.raises(ValueError, match=r"'image_shape' must be channels, height, width; got \[1, 8, 8\]"):
        load(tmp_path / "run")


def test_the_figures_come_back_with_the_network(folder: Path) -> None:
    about, _ = read_exported(folder)
    assert about.result == RESULT
    assert about.data == "of things"
    assert about.plan == CASE.plan


def test_a_network_of_more_classes_than_fit_a_small_file_comes_back(tmp_path: Path) -> None:
    names = tuple(f"the class number {i} of twenty-two thousand" for i in range(22_000))
    case = dataclasses.replace(CASE, plan=dataclasses.replace(CASE.plan, num_classes=len(names)))
    trained = dataclasses.replace(trained_network(case), classes=names)
    (tmp_path / "n").mkdir()
    for name, content in exported_files(about_of(trained), trained.network).items():
        (tmp_path / "n" / name).write_bytes(content)
    assert load(tmp_path / "n").classes == names


def test_a_network_that_was_not_tested_has_no_figures(folder: Path) -> None:
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(fields | {"result": None}))
    reseal(folder)
    assert read_exported(folder)[0].result is None


def test_what_is_no_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing is no folder; give a run folder or one that xnas export"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"it has no config\.toml and no config\.json"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"device 'cuda:99' is not there"):
        load(write_exported(tmp_path / "it", CASE), device="cuda:99")


def changed(**words: Any) -> Callable[[dict[str, Any]], object]:
    return lambda fields: fields.update(words)


def plan(**words: Any) -> Callable[[dict[str, Any]], object]:
    return lambda fields: fields["plan"].update(words)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(format="recipe"), 'it lacks "format": "xnas-network"'),
        (changed(version=2), "has version 2; this xnas reads version 1: upgrade xnas if the file is newer"),
        (changed(classes=["a", "b"]), "2 classes where the network has 3"),
        (changed(classes=["a", "b", "b"]), "2 different classes where the network has 3"),
        (changed(classes=3), "'classes' must be a list of strings"),
        (changed(image_shape=[1, 8, 8]), "1 image channels where the network has 3"),
        (changed(border=0.5), "the border must lie in [0, 0.5); got 0.5"),
        (changed(image_shape=[3, 8]), "'image_shape' must be channels, height, width"),
        (changed(image_shape=[3, 8, 10**6]), "images have 1 to 65,536 pixels a side"),
        (changed(normalisation={"mean": [0.5] * 3, "std": [0.0] * 3}), "the normalisation must lie between"),
        (changed(normalisation={"mean": [0.5] * 2, "std": [0.5] * 3}), "2 means where the network has 3"),
        (changed(genotype={"format": "xnas-genotype"}), "lacks 'version'"),
        (changed(genotype=None), "'genotype' must be a JSON object"),
        (changed(data="x" * 999), "'data' must be a string of at most 255"),
        (changed(result={"name": "found"}), "'test_accuracy' is missing"),
        (plan(stem="cifarr"), "unknown stem 'cifarr'; did you mean 'cifar'?"),
        (plan(cells=10**6), "plan.cells must be at most 200"),
        (plan(channels=10**6), "plan.channels must be at most 4096"),
        (plan(stem_channels=10**6), "plan.stem_channels must be at most 4096"),
        (plan(reductions=2), "does not fit its settings"),
        (plan(cells=4), "does not fit its settings"),
        (plan(channels=8), "does not fit its settings: stem.conv.weight has the shape"),
        (plan(squeeze_excite="yes"), "'squeeze_excite' must be true or false"),
        (lambda fields: fields.pop("plan"), "'plan' is missing"),
        (lambda fields: fields["plan"].pop("cells"), "'cells' is missing"),
    ],
)
def test_a_description_that_is_wrong_is_refused_in_one_line(
    change: Callable[[dict[str, Any]], object], said: str, folder: Path
) -> None:
    fields = json.loads((folder / "config.json").read_text())
    change(fields)
    (folder / "config.json").write_text(json.dumps(fields))
    reseal(folder)
    with pytest.raises(ValueError) as caught:
        load(folder)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_lead_elsewhere_or_are_missing_are_refused(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"has no model\.safetensors; export the run again"):
        load(folder)
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"is a link to .*elsewhere, outside of"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_a_network_brought_to_16_bits_computes_in_them(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    trained = load(write_exported(tmp_path / "n", CASES[name]))
    images = pixels(CASES[name], 6)
    exact = trained.predict(images)
    trained.network.to(dtype)
    with torch.no_grad():
        assert trained.network(trained.normalisation(images).to(dtype)).dtype == dtype
    found = trained.predict(images)
    assert found.dtype == torch.float32
    assert torch.allclose(found, exact, atol=0.02)
    labels = torch.arange(6) % exact.shape[1]
    kept = ImageSet(images_NCHW=images, labels_N=labels, classes=trained.classes)
    assert trained.test(kept, device=torch.device("cpu")).samples == 6


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_bit_that_changes_after_the_export_is_noticed_wherever_it_is(file: str, folder: Path) -> None:
    content = (folder / file).read_bytes()
    chance = random.Random(file)
    for place in (0, 5, len(content) - 1, *(chance.randrange(len(content)) for _ in range(40))):
        spoiled = bytearray(content)
        spoiled[place] ^= 1 << chance.randrange(8)
        (folder / file).write_bytes(spoiled)
        with pytest.raises(ValueError) as caught:
            load(folder)
        assert str(folder / file) in str(caught.value)
        assert "\n" not in str(caught.value)
    (folder / file).write_bytes(content)
    load(folder)


def test_a_file_that_has_changed_is_named_with_the_remedy_and_taken_if_that_is_asked_for(
    folder: Path,
) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"b"', '"cat"'))
    with pytest.raises(
        ValueError, match=r"config\.json has changed since it was exported: .*; export the run again"
    ):
        load(folder)
    assert load(folder, unchecked=True).classes == ("a", "cat", "c")
    reseal(folder)
    assert load(folder).classes == ("a", "cat", "c")


def test_a_run_folder_where_an_exported_one_is_needed_says_how_to_export_it(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(ValueError, match=r"is a run folder, .*: xnas export .* --format hub --to FOLDER"):
        read_exported(tmp_path)
