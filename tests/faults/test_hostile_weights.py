"""Weights of strangers: a file that claims much, or other things than its run's settings do, ends in one line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from xnas import Config
from xnas.data.images import DataSet, Normalisation
from xnas.runs.folder import WEIGHTS, RunFolder
from xnas.space.darts.network import Network
from xnas.space.published import published_genotype
from xnas.train.build import network_spec
from xnas.train.trained_network import TrainedNetwork

from ..helpers.resource_limits import watched

pytestmark = pytest.mark.usefixtures("by_hand")

CPU = torch.device("cpu")


@pytest.fixture
def run(tiny: Config, data: DataSet, tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path)
    folder.describe(tiny, {})
    genotype = published_genotype("darts_v2")
    plan = network_spec(tiny.retrain, image_channels=3, num_classes=3)
    TrainedNetwork(
        network=Network(genotype, plan), genotype=genotype, classes=data.train.classes,
        normalisation=Normalisation.of(data.train), image_shape=data.image_shape,
    ).write(folder)  # fmt: skip
    return tmp_path


def refused(run: Path) -> str:
    refusal = watched(lambda: TrainedNetwork.read(RunFolder(run), device=CPU)).refusal
    assert refusal is not None
    assert "\n" not in refusal
    assert len(refusal) < 600
    return refusal


def test_settings_of_a_giant_do_not_build_one(run: Path) -> None:
    (run / "config.toml").write_text("[retrain]\nchannels = 4096\ncells = 100\n")
    assert "does not fit its settings: it has tensors of " in refused(run)


def test_settings_of_a_broad_network_are_refused_by_the_first_tensor_that_is_narrower(
    tiny: Config, run: Path
) -> None:
    (run / "config.toml").write_text(
        f"[retrain]\nchannels = 4096\ncells = {tiny.retrain.cells}\nreductions = {tiny.retrain.reductions}\n"
    )
    assert "does not fit its settings: stem.conv.weight has the shape" in refused(run)


@pytest.mark.parametrize("claimed", [10**9, 2**63, 2**64 - 1, 9_000_000])
def test_a_header_that_claims_to_be_huge_is_refused(claimed: int, run: Path) -> None:
    path = run / WEIGHTS
    path.write_bytes(claimed.to_bytes(8, "little") + path.read_bytes()[8:])
    assert f"its header claims {claimed:,} bytes" in refused(run)


def test_tensors_that_claim_to_be_huge_are_refused(run: Path) -> None:
    for shape, end in (([10**6, 10**6], 4 * 10**12), ([2**62, 4], 0), ([10**18, 0], 0)):
        header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
        (run / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)
        refused(run)


@pytest.mark.parametrize("damage", ["shape", "type", "nan", "missing", "unknown"])
def test_tensors_that_are_not_the_networks_are_named(damage: str, run: Path) -> None:
    folder = RunFolder(run)
    weights, about = folder.weights()
    name = "classifier.weight"
    match damage:
        case "shape":
            weights[name] = weights[name].T.contiguous()
        case "type":
            weights[name] = weights[name].half()
        case "nan":
            weights[name][0, 0] = torch.nan
        case "missing":
            del weights[name]
        case "unknown":
            weights["\x1b[2J"] = weights.pop(name)
    folder.write_weights(weights, about=about)
    refusal = refused(run)
    assert name in refusal
    assert "\x1b" not in refusal


@pytest.mark.parametrize("key", ["genotype", "classes", "mean", "std", "image_shape", "border"])
@pytest.mark.parametrize(
    "text",
    ["", "{", "1", "[1, 2]", '["a", "a"]', "[1e999]", "[" * 100_000, '"' + "x" * 3_000_000 + '"', "[[]]"],
)
def test_words_about_the_network_that_are_wrong_are_refused(key: str, text: str, run: Path) -> None:
    folder = RunFolder(run)
    weights, about = folder.weights()
    folder.write_weights(weights, about=about | {key: text})
    refused(run)
    if key not in ("image_shape", "border"):  # older runs do without
        del about[key]
        folder.write_weights(weights, about=about)
        assert f"does not say its {key}" in refused(run)


def test_an_undamaged_file_gives_the_same_network_again(run: Path) -> None:
    read = TrainedNetwork.read(RunFolder(run), device=CPU)
    kept = load((run / WEIGHTS).read_bytes())
    assert save({name: tensor.contiguous() for name, tensor in read.network.state_dict().items()}) == save(
        kept
    )
