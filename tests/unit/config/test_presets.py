"""The presets of the paper's experiments: its figures, and a reason for every setting."""

import dataclasses
import re
import tomllib
from importlib import resources
from typing import Any

import pytest
import torch

from xnas.config.loading import preset_names, read_preset
from xnas.config.schema import Config
from xnas.data.names import DATA_SETS
from xnas.space.cost import count_multiply_adds, count_parameters
from xnas.space.darts.network import build_network
from xnas.space.published import published_genotype
from xnas.train.build import network_spec

SIZES = {"xnas-small": 36, "xnas-medium": 44, "xnas-large": 50}
TRANSFERS = ("cifar100", "svhn", "fashion-mnist", "freiburg", "cinic10")
TRAININGS = (*SIZES, "darts-recipe", "imagenet-mobile", *(f"transfer-{name}" for name in TRANSFERS))
PAPER = (*TRAININGS, "paper-search-cifar10")

RECIPE = (
    "channels", "cells", "reductions", "stem", "epochs", "batch_size", "learning_rate", "learning_rate_min", "momentum",
    "nesterov", "cosine_power", "cycles", "cycle_decay", "drop_path", "auxiliary_weight", "label_smoothing",
    "weight_decay", "clip_norm",
)  # fmt: skip
"""What every preset of a training decides by itself, whatever the defaults become."""


def text_of(name: str) -> str:
    return resources.files("xnas.config").joinpath("presets", f"{name}.toml").read_text(encoding="utf-8")


def retrain(name: str) -> dict[str, Any]:
    return dataclasses.asdict(read_preset(name).retrain)


def test_all_presets_of_the_papers_experiments_are_there() -> None:
    assert set(PAPER) <= set(preset_names())


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_leaves_nothing_of_its_recipe_to_the_defaults(name: str) -> None:
    given = tomllib.loads(text_of(name))
    assert set(RECIPE) <= given["retrain"].keys()
    assert {"source", "crop", "flip", "policy", "cutout"} <= given["data"].keys()
    assert given.keys() == {"data", "retrain"}


@pytest.mark.parametrize("name", PAPER)
def test_a_preset_is_for_a_data_set_that_is_known_by_name(name: str) -> None:
    assert read_preset(name).data.source in DATA_SETS


@pytest.mark.parametrize("name", PAPER)
def test_a_preset_serves_for_a_folder_of_other_images_too(name: str) -> None:
    assert read_preset(name).data.fold is None  # a folder has none, and no flag takes a setting back


@pytest.mark.parametrize("name", PAPER)
def test_every_setting_stands_below_what_it_comes_from(name: str) -> None:
    for section in re.split(r"^\[\w+\]$", text_of(name), flags=re.MULTILINE)[1:]:
        blocks = re.split(r"((?:^#.*\n)+)", section.strip() + "\n", flags=re.MULTILINE)
        assert blocks[0] == ""  # no setting before the first reason
        for reason in blocks[1::2]:
            assert re.search(r"Section [34]|Algorithm 1|[Ss]ilent|DARTS|the same model", reason), reason


@pytest.mark.parametrize(("name", "channels"), SIZES.items())
def test_section_4_2(name: str, channels: int) -> None:
    found = retrain(name)
    assert (found["channels"], found["cells"], found["reductions"]) == (channels, 20, 2)
    assert (found["epochs"], found["batch_size"], found["nesterov"]) == (1500, 96, True)
    assert (found["cycles"], found["cycle_decay"], found["cosine_power"]) == (5, 0.5, 10)
    for piece in ("drop_path", "auxiliary_weight", "label_smoothing", "weight_decay"):
        assert found[piece] > 0
    data = read_preset(name).data
    assert (data.source, data.policy, data.cutout) == ("cifar10", "cifar10", 16)
    # The sizes differ in their channels alone.
    assert found == {**retrain("xnas-small"), "channels": channels}
    assert data == read_preset("xnas-small").data


def test_the_recipe_of_darts_is_the_same_network_without_what_came_later() -> None:
    small, darts = retrain("xnas-small"), retrain("darts-recipe")
    changed = {key: value for key, value in darts.items() if value != small[key]}
    assert changed == {
        "epochs": 600,
        "nesterov": False,
        "cosine_power": 1.0,
        "cycles": 1,
        "cycle_decay": 1.0,
        "label_smoothing": 0.0,
    }
    data = read_preset("darts-recipe").data
    assert data == dataclasses.replace(read_preset("xnas-small").data, policy="none")


@pytest.mark.parametrize("name", TRANSFERS)
def test_section_4_3s_other_data_sets_are_trained_as_xnas_small_is(name: str) -> None:
    config = read_preset(f"transfer-{name}")
    stem = "imagenet" if name == "freiburg" else "cifar"
    assert dataclasses.asdict(config.retrain) == {**retrain("xnas-small"), "stem": stem}
    assert config.data.source == name
    assert config.data.policy != "none"
    assert config.data.cutout > 0
    assert config.data.flip == (name != "svhn")


@pytest.mark.parametrize(
    ("squeeze_excite", "parameters", "millions"), [(True, 5_258_564, 568.8), (False, 4_886_148, 568.4)]
)
def test_imagenet_is_the_mobile_network_of_section_4_3(
    squeeze_excite: bool, parameters: int, millions: float
) -> None:
    config = read_preset("imagenet-mobile")
    found = config.retrain
    assert (found.channels, found.cells, found.stem) == (46, 14, "imagenet")
    assert (found.epochs, found.cycles, found.nesterov, found.cosine_power) == (250, 1, True, 2)
    assert found.squeeze_excite
    plan = network_spec(
        dataclasses.replace(found, squeeze_excite=squeeze_excite), image_channels=3, num_classes=1000
    )
    with torch.device("meta"):
        network = build_network(published_genotype("xnas"), plan)
    size = config.data.image_size
    assert size is not None
    multiply_adds = count_multiply_adds(network, (3, size, size))
    assert count_parameters(network) == parameters
    assert multiply_adds / 1e6 == pytest.approx(millions, abs=0.05)
    assert multiply_adds < 600e6


def test_section_4_1() -> None:
    config = read_preset("paper-search-cifar10")
    assert (config.space.cells, config.space.nodes, config.space.reductions) == (8, 4, 2)
    assert len(config.space.experts) == 8
    assert (config.search.epochs, config.search.batch_size) == (50, 96)
    assert (config.search.validation_share, config.search.method) == (0.5, "paper")
    assert (config.data.policy, config.data.cutout) == ("none", 0)
    assert config.retrain == Config().retrain


def test_the_benchmarks_own_recipe_has_nesterovs_momentum() -> None:
    assert read_preset("nasbench201").retrain.nesterov
