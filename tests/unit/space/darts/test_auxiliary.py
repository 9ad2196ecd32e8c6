"""The auxiliary tower: DARTS's two forms are special cases of it, and features of any size fit."""

import pytest
import torch
from torch import nn

from xnas.space.backbone import NetworkSpec
from xnas.space.darts.auxiliary import AuxiliaryTower, at_both_ends
from xnas.space.darts.network import Network
from xnas.space.published import published_genotype

GENOTYPE = published_genotype("xnas")


def network(*, cells: int = 3, channels: int = 4, classes: int = 5) -> Network:
    plan = NetworkSpec(image_channels=3, num_classes=classes, channels=channels, cells=cells)
    return Network(GENOTYPE, plan)


@pytest.mark.parametrize(("side", "stride"), [(8, 3), (7, 2)], ids=["CIFAR", "ImageNet"])
def test_the_pooling_is_that_of_darts_at_its_two_sizes(side: int, stride: int) -> None:
    features = torch.randn(2, 3, side, side, dtype=torch.float64)
    plain = nn.AvgPool2d(5, stride=stride, padding=0, count_include_pad=False)(features)
    ours = at_both_ends(at_both_ends(features, dim=2), dim=3)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("side", "stride"), [(8, 3), (7, 2)], ids=["CIFAR", "ImageNet"])
def test_the_tower_is_that_of_darts(side: int, stride: int) -> None:
    torch.manual_seed(0)
    tower = AuxiliaryTower(network()).double().train()
    squeeze, norm_1, _, widen, norm_2, _ = tower.layers
    plain = nn.Sequential(
        nn.ReLU(), nn.AvgPool2d(5, stride=stride, padding=0, count_include_pad=False),
        squeeze, norm_1, nn.ReLU(), widen, norm_2, nn.ReLU(), nn.Flatten(), tower.classifier,
    )  # fmt: skip
    features = torch.randn(4, squeeze.in_channels, side, side, dtype=torch.float64)  # type: ignore[arg-type]
    torch.testing.assert_close(tower(features), plain(features), rtol=1e-10, atol=1e-12)


def test_its_size_is_counted_by_hand() -> None:
    # Of XNAS-Small: 4 * 144 channels to 128, norm; 128 * 2 * 2 to 768, norm; 768 + 1 for each of 10 classes.
    with torch.device("meta"):
        tower = AuxiliaryTower(network(cells=20, channels=36, classes=10))
    assert tower.cell == 13
    found = sum(parameter.numel() for parameter in tower.parameters())
    assert found == 4 * 144 * 128 + 2 * 128 + 128 * 4 * 768 + 2 * 768 + 769 * 10 == 476_426


@pytest.mark.parametrize(("cells", "place"), [(1, 0), (2, 1), (3, 2), (8, 5), (14, 9), (20, 13)])
def test_it_reads_the_cell_at_two_thirds(cells: int, place: int) -> None:
    plan = NetworkSpec(image_channels=1, num_classes=2, channels=2, cells=cells, reductions=1)
    with torch.device("meta"):
        assert AuxiliaryTower(Network(GENOTYPE, plan)).cell == place


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (2, 3), (4, 4), (5, 17), (28, 28)])
def test_features_of_any_size_come_to_two_by_two(size: tuple[int, int]) -> None:
    tower = AuxiliaryTower(network()).train()
    channels = tower.layers[0].in_channels
    features = torch.randn(3, channels, *size, requires_grad=True)  # type: ignore[arg-type]
    logits = tower(features)
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    assert features.grad is not None
    assert (features.grad.abs().sum(dim=(0, 1)) > 0).all()  # every place of the features is seen


@pytest.mark.parametrize(
    ("side", "window"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 5), (8, 5), (9, 6), (16, 10)]
)
def test_windows_are_five_eighths_of_a_side_rounded_up(side: int, window: int) -> None:
    first, last = at_both_ends(torch.arange(side).double(), dim=0).tolist()
    assert first == pytest.approx((window - 1) / 2)
    assert last == pytest.approx(side - 1 - (window - 1) / 2)


def test_the_network_is_the_same_with_and_without_it() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    AuxiliaryTower(model)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
