"""The sizes of the published networks: parameters exactly, multiply-adds to 0.05 %.

They are counted on torch's meta device, which knows shapes and holds no numbers.
"""

import pytest
import torch

from xnas.space.backbone import NetworkSpec
from xnas.space.cost import count_multiply_adds, count_parameters
from xnas.space.darts.network import Network
from xnas.space.published import published_genotype


def build(name: str, plan: NetworkSpec) -> Network:
    with torch.device("meta"):
        return Network(published_genotype(name), plan)


@pytest.mark.parametrize(
    ("name", "channels", "parameters", "million_multiply_adds"),
    [
        ("xnas", 36, 3_793_438, 595.5),
        ("xnas", 44, 5_594_918, 874.6),
        ("xnas", 50, 7_174_760, 1_118.9),
        ("darts_v2", 36, 3_349_342, None),
        ("darts_v1", 36, 3_169_414, None),
    ],
)
def test_a_published_cifar_network_has_its_published_size(
    name: str, channels: int, parameters: int, million_multiply_adds: float | None
) -> None:
    network = build(name, NetworkSpec(image_channels=3, num_classes=10, channels=channels, cells=20))
    assert count_parameters(network) == parameters
    if million_multiply_adds:
        found = count_multiply_adds(network, (3, 32, 32)) / 1e6
        assert found == pytest.approx(million_multiply_adds, rel=5e-4)


@pytest.mark.parametrize(("squeeze_excite", "parameters"), [(True, 5_258_564), (False, 4_886_148)])
def test_the_published_imagenet_network_has_its_published_size(squeeze_excite: bool, parameters: int) -> None:
    plan = NetworkSpec(
        image_channels=3,
        num_classes=1000,
        channels=46,
        cells=14,
        stem="imagenet",
        stem_channels=56,
        squeeze_excite=squeeze_excite,
    )
    assert count_parameters(build("xnas", plan)) == parameters


def test_the_reductions_of_twenty_cells_are_the_seventh_and_the_fourteenth() -> None:
    plan = NetworkSpec(image_channels=3, num_classes=10, channels=36, cells=20)
    assert plan.reduction_cells == (6, 13)
