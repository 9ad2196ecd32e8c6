"""Networks as models of timm: by name, as features, with another head, and from an exported folder."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from xnas import timm_models
from xnas.space.backbone import NetworkSpec
from xnas.space.cost import count_parameters
from xnas.timm_models import NETWORKS, TimmNetwork, xnas_network

from ..helpers.exported_networks import CASES, logits, pixels, trained_network, write_exported


def small(name: str = "RGB, DARTS", **words: object) -> nn.Module:
    case = CASES[name]
    model: nn.Module = timm.create_model("xnas_network", genotype=case.genotype, plan=case.plan, **words)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("xnas_small_cifar10", 3_793_438),
        ("xnas_medium_cifar10", 5_594_918),
        ("xnas_large_cifar10", 7_174_760),
        ("xnas_mobile_imagenet", 5_258_564),
        ("darts_v2_cifar10", 3_349_342),
        ("darts_v1_cifar10", 3_169_414),
    ],
)
def test_a_named_model_has_the_published_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    assert count_parameters(model) == parameters
    assert model.pretrained_cfg["architecture"] == name


def test_every_name_is_registered() -> None:
    assert {"pc_darts_cifar10", "drnas_cifar10", "gdas_v1_cifar10", "pdarts_imagenet"} < set(NETWORKS)
    assert set(timm.list_models(module="timm_models")) == {*NETWORKS, "xnas_network"}


@pytest.mark.parametrize("name", ["nasnet_a_cifar10", "pc_darts_imagenet"])
def test_a_named_model_takes_other_classes_and_channels(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=7, in_chans=1)
        assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_a_model_without_weights_says_so() -> None:
    with torch.device("meta"), pytest.raises(RuntimeError, match="No pretrained weights exist"):
        timm.create_model("xnas_small_cifar10", pretrained=True)


@pytest.mark.parametrize("name", CASES)
def test_an_exported_folder_is_a_model(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    folder = write_exported(tmp_path / "exported", case)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    trained, images = trained_network(case), pixels(case, 3)
    with torch.no_grad():
        outputs = model(trained.normalisation(images))
    assert torch.allclose(outputs, logits(trained, images), atol=1e-5)
    assert model.state_dict().keys() == trained.network.state_dict().keys()
    assert model.pretrained_cfg["label_names"] == list(trained.classes)
    assert list(model.pretrained_cfg["mean"]) == trained.normalisation.mean_C.tolist()
    settings = timm.data.resolve_data_config(model=model)
    assert tuple(settings["input_size"]) == trained.image_shape


def test_an_exported_folder_is_adapted_to_other_classes_and_channels(tmp_path: Path) -> None:
    folder = write_exported(tmp_path / "exported", CASES["RGB, DARTS"])
    whole, other = (
        timm.create_model(f"local-dir:{folder}", pretrained=True, **words).eval()
        for words in ({}, {"num_classes": 9, "in_chans": 2})
    )
    assert other(torch.zeros(1, 2, 12, 12)).shape == (1, 9)
    ours, theirs = whole.state_dict(), other.state_dict()
    assert {name for name in ours if not torch.equal(ours[name], theirs[name])} == {
        "stem.conv.weight",
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize("name", CASES)
def test_features_come_from_every_resolution(name: str) -> None:
    features = small(name, features_only=True)
    case = CASES[name]
    images = torch.randn(2, case.plan.image_channels, 64, 48)
    with torch.no_grad():
        maps = features(images)
        shapes = [(item.shape[1], 64 // item.shape[2], 48 // item.shape[3]) for item in maps]
    reductions = features.feature_info.reduction()
    assert shapes == [
        (channels, by, by) for channels, by in zip(features.feature_info.channels(), reductions, strict=True)
    ]
    assert reductions == ([4, 8, 16] if case.plan.stem == "imagenet" else [1, 2])


@pytest.mark.parametrize("name", CASES)
def test_the_last_features_are_those_that_the_classifier_sees(name: str) -> None:
    model = small(name)
    images = torch.randn(2, CASES[name].plan.image_channels, 32, 32)
    with torch.no_grad():
        last, maps = model.forward_intermediates(images)
        assert torch.equal(last, model.forward_features(images))
        assert torch.equal(last, maps[-1])
        assert torch.allclose(model.forward_head(last), model(images))
        assert torch.allclose(model.forward_head(last, pre_logits=True), last.mean((2, 3)), atol=1e-6)
        assert torch.equal(model.forward_intermediates(images, [-1], intermediates_only=True)[0], last)


def test_features_of_the_first_resolution_need_no_later_cells() -> None:
    whole, first = small(features_only=True), small(features_only=True, out_indices=(0,))
    assert count_parameters(first) < count_parameters(whole)
    assert [item.shape[2:] for item in first(torch.randn(1, 3, 16, 16))] == [(16, 16)]
    assert not any("classifier" in name for name, _ in first.named_parameters())


def test_a_pruned_network_tells_the_resolutions_that_are_left() -> None:
    model = small()
    assert isinstance(model, TimmNetwork)
    assert model.prune_intermediate_layers([0]) == [0]
    (features,) = model.forward_intermediates(torch.randn(1, 3, 16, 16), intermediates_only=True)
    assert features.shape == (1, model.feature_info[-1]["num_chs"], 16, 16)


def test_a_resolution_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="there are features of 2 resolutions, 0 to 1; got"):
        small(features_only=True, out_indices=(0, 2))


def test_the_classifier_is_taken_off_and_changed() -> None:
    images = torch.randn(2, 3, 16, 16)
    bare = small(num_classes=0)
    assert bare(images).shape == (2, bare.num_features)
    model = small()
    assert isinstance(model, TimmNetwork)
    model.reset_classifier(11)
    assert model(images).shape == (2, 11)
    assert model.get_classifier().out_features == model.num_classes == 11
    model.reset_classifier(0, "")
    assert model(images).shape == (2, model.num_features, 8, 8)
    assert small(global_pool="max")(images).shape == (2, 3)


def test_a_network_larger_than_there_are_is_not_built_because_a_file_says_so() -> None:
    plan = NetworkSpec(image_channels=3, num_classes=3, channels=1_000_000, cells=4)
    with pytest.raises(ValueError, match=r"plan\.channels"):
        xnas_network(plan=plan)


def test_all_that_the_module_offers_is_there() -> None:
    assert all(hasattr(timm_models, name) for name in timm_models.__all__)


def test_checkpointed_gradients_are_the_same(tmp_path: Path) -> None:
    images = torch.randn(4, 3, 8, 8)
    gradients, runs = [], []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        model = small().train()
        model.set_grad_checkpointing(checkpointed)
        runs.append([])
        model.cells[0].register_forward_pre_hook(lambda *_, runs=runs[-1]: runs.append(1))
        model(images).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert [len(times) for times in runs] == [1, 2]
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    again = small(
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "weights.safetensors"), "num_classes": 3},
    )
    assert torch.equal(again(images), model.eval()(images))


@pytest.mark.parametrize(
    ("file", "place"), [("config.json", 0.3), ("config.json", 0.9), ("model.safetensors", 0.9)]
)
def test_an_exported_folder_with_a_file_that_has_changed_is_refused(
    file: str, place: float, tmp_path: Path
) -> None:
    folder = write_exported(tmp_path / "exported", CASES["RGB, DARTS"])
    content = (folder / file).read_bytes()
    digit = next(i for i in range(int(place * len(content)), len(content)) if content[i : i + 1].isalnum())
    (folder / file).write_bytes(content[:digit] + bytes([content[digit] ^ 1]) + content[digit + 1 :])
    with pytest.raises(ValueError, match=r"has changed since it was exported|unknown|must be|damaged"):
        timm.create_model(f"local-dir:{folder}", pretrained=True)


def test_what_timm_has_saved_itself_is_read(tmp_path: Path) -> None:
    folder = write_exported(tmp_path / "exported", CASES["RGB, DARTS"])
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = json.loads((folder / "config.json").read_text())
    timm.models.save_for_hf(
        model, tmp_path / "saved", model_args=config["model_args"], safe_serialization=True
    )
    again = timm.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True).eval()
    images = torch.randn(2, 3, 12, 12)
    assert torch.equal(again(images), model(images))
