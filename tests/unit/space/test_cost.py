"""Multiply-adds of a network in the midst of a search."""

import pytest
import torch
from torch import nn

from xnas.space.backbone import NetworkSpec
from xnas.space.cost import count_layer_multiply_adds, count_multiply_adds
from xnas.space.darts.network import Network
from xnas.space.darts.supernet import Supernet
from xnas.space.forecaster import Forecaster
from xnas.space.names import SEARCHABLE
from xnas.space.published import published_genotype

PLAN = NetworkSpec(image_channels=3, num_classes=3, channels=4, cells=3)


def supernet() -> Supernet:
    return Supernet(PLAN, num_nodes=2, experts=SEARCHABLE)


def test_layers_are_counted_as_torch_counts_operations() -> None:
    for network in (supernet(), Network(published_genotype("darts_v2"), PLAN)):
        assert (
            count_layer_multiply_adds(network, (3, 16, 16)) == count_multiply_adds(network, (3, 16, 16)) > 0
        )


def test_a_convolution_is_counted_by_hand() -> None:
    # 4 x 4 places, 5 channels, 3 x 3 x 2 numbers each; then 80 numbers for each of 7 classes
    network = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.Flatten(), nn.Linear(80, 7))
    assert count_layer_multiply_adds(network, (2, 4, 4)) == 4 * 4 * 5 * 18 + 80 * 7


def test_what_an_expert_cost_is_gone_with_it() -> None:
    network = supernet()
    whole = count_layer_multiply_adds(network, (3, 16, 16))
    forecaster = next(module for module in network.modules() if isinstance(module, Forecaster))
    before = list(forecaster.names)
    forecaster.remove("sep_conv_3x3")
    # Stride 1, 16 x 16 places: twice a depthwise and a pointwise convolution of 4 channels.
    assert "sep_conv_3x3" in before
    assert whole - count_layer_multiply_adds(network, (3, 16, 16)) == 16 * 16 * 2 * (4 * 9 + 4 * 4)


@pytest.mark.parametrize("training", [True, False])
def test_counting_touches_nothing_and_takes_images_that_shrink_to_a_pixel(training: bool) -> None:
    network = supernet().train(training)
    network.register_buffer("averages", torch.zeros(1))
    norm = nn.BatchNorm2d(3)
    network.stem = nn.Sequential(norm, network.stem)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    randomness = torch.get_rng_state()
    assert count_layer_multiply_adds(network, (3, 4, 4)) > 0
    assert torch.equal(torch.get_rng_state(), randomness)
    assert network.training is training
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
