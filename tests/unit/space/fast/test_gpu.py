"""The grouped path computes what the plain supernet does: outputs, gradients of all network weights, and rewards.

Everything in float64, within 1e-9. K: experts.
"""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from benchmarks.accelerator import grouped
from benchmarks.plain import plain_forecast
from xnas.space.fast.dispatch import NodeKernel, node_kernel, reference_node
from xnas.space.fast.gpu.nodes import BatchedGpuNodes, grouped_node
from xnas.space.forecaster import Forecaster
from xnas.space.names import EXPERTS, SEARCHABLE
from xnas.space.operations import NETWORK_STYLE, SUPERNET_STYLE, FactorizedReduce, build_operation

from ....helpers.equal_supernets import (
    CLOSE,
    PLAN,
    check_equal,
    forecasters_of,
    gradients,
    images,
    leaf,
    recording,
    rewards,
    supernet,
)


@pytest.fixture(autouse=True)
def _grouped() -> Iterator[None]:
    with grouped():
        yield


@pytest.mark.parametrize("partial", [2, 4])
def test_partial_channels(partial: int) -> None:
    check_equal(supernet(EXPERTS, partial=partial), images((7, 6)))


def test_one_expert_chosen_on_every_edge() -> None:
    model = supernet(SEARCHABLE, nodes=3)
    for number, forecaster in enumerate(forecasters_of(model)):
        forecaster.set_mixture(torch.eye(len(SEARCHABLE))[number % len(SEARCHABLE)], one_hot=True)
    check_equal(model, images())


def test_plans_follow_experts_that_leave_and_images_of_another_size() -> None:
    model = supernet(EXPERTS)
    check_equal(model, images())
    check_equal(model, images((5, 4)))
    for forecaster in forecasters_of(model)[::2]:
        forecaster.remove("sep_conv_3x3")
        forecaster.remove("skip_connect")
    check_equal(model, images((5, 4)))


def test_channels_last_changes_nothing() -> None:
    model = supernet(EXPERTS).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    check_equal(model, images().to(memory_format=torch.channels_last))


def test_cells_may_be_computed_twice_to_save_memory() -> None:
    check_equal(supernet(EXPERTS, plan=replace(PLAN, activation_checkpointing=True)), images())


def user_experts() -> dict[str, nn.Module]:
    """Experts that the path knows nothing of, beside some that it knows."""
    return {
        "ends in a norm": nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), SUPERNET_STYLE.norm(4)),
        "learns its norm": nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)),
        "another eps": nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, 1e-3, affine=False)),
        "only a norm": SUPERNET_STYLE.norm(4),
        "bent": nn.Tanh(),
        "sep": build_operation("sep_conv_3x3", 4, stride=1, style=SUPERNET_STYLE),
        "network's sep": build_operation("sep_conv_3x3", 4, stride=1, style=NETWORK_STYLE),
        "reduced": nn.Sequential(FactorizedReduce(4, 4, style=SUPERNET_STYLE), nn.Upsample(scale_factor=2)),
        "pool": nn.AvgPool2d(3, stride=1, padding=1),
        "skip": nn.Identity(),
    }


@pytest.mark.parametrize("partial", [1, 2])
def test_experts_of_users_run_by_themselves(partial: int) -> None:
    torch.manual_seed(0)
    members = [
        Forecaster(user_experts(), partial=partial, bypass=nn.AvgPool2d(1) if partial > 1 else None).double()
        for _ in range(3)
    ]
    sources = [torch.randn(3, 4 * partial, 6, 6, dtype=torch.float64, requires_grad=True) for _ in members]
    leaves = {member: member.mixture_K.expand(3, -1).clone().requires_grad_() for member in members}
    forecasts = [plain_forecast(m, x, leaves[m]) for m, x in zip(members, sources, strict=True)]
    expected = torch.stack(forecasts).sum(dim=0)
    weights = [weight for member in members for weight in member.parameters()]
    with recording(members):
        found = grouped_node(members, sources)
        found_gradients = gradients(found.square().sum(), [*sources, *weights, *map(leaf, members)])
    torch.testing.assert_close(found, expected, **CLOSE)
    inputs = [*sources, *weights, *leaves.values()]
    torch.testing.assert_close(found_gradients, gradients(expected.square().sum(), inputs), **CLOSE)


def test_under_autocast_moments_mixtures_and_rewards_are_in_full_precision() -> None:
    model = supernet(EXPERTS).float()
    inputs = images((8, 8)).float()
    types = []
    for cell in model.cells:
        cell.register_forward_hook(lambda module, _, nodes: types.append(nodes.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = rewards(model, inputs, "sample")
    assert types == [torch.bfloat16] * len(model.cells)
    in_full, _ = rewards(model, inputs, "sample")
    for low, plain_low, full in zip(found, expected, in_full, strict=True):
        assert low.dtype == torch.float32
        assert not torch.equal(low, low.bfloat16().float())  # not rounded
        assert not torch.equal(low, full)
        assert (low - full).norm() <= 2 * (plain_low - full).norm() + 0.02 * full.norm()


def test_it_is_picked_on_accelerators_while_training() -> None:
    def picked(device: str, *, training: bool) -> NodeKernel:
        features = cast(Tensor, SimpleNamespace(device=torch.device(device), dim=lambda: 4))
        return node_kernel(features, training=training)

    assert isinstance(picked("cuda", training=True), BatchedGpuNodes)
    assert isinstance(picked("mps", training=True), BatchedGpuNodes)
    assert picked("cuda", training=False) is picked("meta", training=True) is reference_node
