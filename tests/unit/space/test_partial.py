"""Partial channels: what passes the experts, what goes around them, and what comes back."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas import XNAS
from xnas.config.schema import SpaceConfig
from xnas.optimizers.registry import baseline
from xnas.space.backbone import NetworkSpec
from xnas.space.darts.network import build_network
from xnas.space.darts.space import DartsSpace
from xnas.space.forecaster import Forecaster, forecaster_groups, mixture_gradients, recording_mixture_grads
from xnas.space.names import SEARCHABLE
from xnas.space.operations import SUPERNET_STYLE, build_operation
from xnas.space.partial import bypass, join_channels, shuffle_channels, split_channels


@pytest.mark.parametrize("shape", [(2, 12), (2, 12, 5), (2, 12, 5, 3), (2, 12, 2, 2, 2)])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 12])
def test_the_shuffle_is_a_permutation_that_takes_one_of_every_group_in_turn(
    shape: tuple[int, ...], groups: int
) -> None:
    features = torch.randn(shape)
    shuffled = shuffle_channels(features, groups=groups)
    width = 12 // groups
    for group in range(groups):
        for j in range(width):
            assert torch.equal(shuffled[:, j * groups + group], features[:, group * width + j])


@pytest.mark.parametrize("groups", [1, 3, 4])
def test_the_shuffle_keeps_values_and_channels_last(groups: int) -> None:
    features = torch.randn(2, 12, 5, 3)
    shuffled = shuffle_channels(features.to(memory_format=torch.channels_last), groups=groups)
    assert torch.equal(shuffled, shuffle_channels(features, groups=groups))
    assert shuffled.is_contiguous(memory_format=torch.channels_last)


def test_shuffling_mixes_the_parts_of_the_next_forecaster() -> None:
    # Channels that passed the experts are one in k of those that pass the next ones.
    passed = torch.zeros(1, 16)
    passed[:, :4] = 1
    assert shuffle_channels(passed, groups=4)[0, :4].tolist() == [1, 0, 0, 0]


def partial_forecaster(parts: int, *, width: int, outer: nn.Module | None = None) -> Forecaster:
    torch.manual_seed(0)
    experts = {
        "line": nn.Conv2d(width, width, 1),
        "bent": nn.Tanh(),
        "wide": nn.Conv2d(width, width, 3, padding=1),
    }
    forecaster = Forecaster(experts, partial=parts, bypass=outer).double()
    forecaster.set_mixture(torch.tensor([0.5, 0.2, 0.3]))
    return forecaster


@pytest.mark.parametrize("parts", [2, 3, 6])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_one_channel_in_k_passes_the_experts_and_the_rest_is_as_it_was(
    parts: int, memory_format: torch.memory_format
) -> None:
    forecaster = partial_forecaster(parts, width=12 // parts)
    inputs = torch.randn(2, 12, 5, 7, dtype=torch.float64).to(memory_format=memory_format)
    outputs = forecaster(inputs)
    assert outputs.is_contiguous(memory_format=memory_format)
    mixed = torch.zeros(2, 12 // parts, 5, 7, dtype=torch.float64)
    for u, expert in zip(forecaster.mixture_K, forecaster.experts, strict=True):
        mixed = mixed + u * expert(inputs[:, : 12 // parts])
    torch.testing.assert_close(outputs[:, ::parts], mixed)
    for other in range(1, parts):
        start = other * (12 // parts)
        assert torch.equal(outputs[:, other::parts], inputs[:, start : start + 12 // parts])


@pytest.mark.parametrize("per_sample", [True, False])
def test_rewards_are_those_of_the_part_that_passed_the_experts(per_sample: bool) -> None:
    forecaster = partial_forecaster(3, width=2)
    groups = forecaster_groups(forecaster)
    inputs = torch.randn(4, 6, 5, 5, dtype=torch.float64)
    target = torch.randn(4, 6, 5, 5, dtype=torch.float64)
    with recording_mixture_grads(groups, per_sample=per_sample):
        (forecaster(inputs) - target).square().sum().backward()
        found_BK = mixture_gradients(groups["default"], alive_EK=torch.ones(1, 3, dtype=torch.bool))[0, :, 0]
    expected_BK = []
    for sample in range(4):
        u_K = forecaster.mixture_K.clone().requires_grad_()
        one = inputs[sample : sample + 1]
        mixed = torch.zeros(1, dtype=torch.float64)
        for u, expert in zip(u_K, forecaster.experts, strict=True):
            mixed = mixed + u * expert(one[:, :2])
        joined = shuffle_channels(torch.cat([mixed, one[:, 2:]], dim=1), groups=3)
        (joined - target[sample : sample + 1]).square().sum().backward()
        assert u_K.grad is not None
        expected_BK.append(u_K.grad)
    expected = torch.stack(expected_BK)
    torch.testing.assert_close(found_BK, expected if per_sample else expected.sum(dim=0, keepdim=True))


def test_gradients_reach_the_inputs_through_both_parts() -> None:
    forecaster = partial_forecaster(3, width=2)
    inputs = torch.randn(2, 6, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(forecaster, (inputs,))


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (1, 1), (5, 2), (1, 6)])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_operation_and_the_bypass_have_the_same_size(size: tuple[int, int], stride: int) -> None:
    features = torch.randn(3, 8, *size)
    around = bypass(stride=stride)(features[:, 2:])
    for name in SEARCHABLE:
        operation = build_operation(name, 2, stride=stride, style=SUPERNET_STYLE).eval()
        joined = join_channels(operation(features[:, :2]), around, parts=4)
        assert joined.shape == (3, 8, -(-size[0] // stride), -(-size[1] // stride))


def test_the_bypass_pools_the_largest_of_two_by_two_where_the_stride_is_2() -> None:
    features = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert bypass(stride=2)(features).tolist() == [[[[5, 7], [9, 11]]]]
    assert torch.equal(bypass(stride=1)(features), features)


@pytest.mark.parametrize("image_size", [16, 13])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_supernet_of_partial_channels_classifies_and_is_smaller(parts: int, image_size: int) -> None:
    plan = NetworkSpec(image_channels=3, num_classes=5, channels=8, cells=4, reductions=2)
    supernet = DartsSpace(num_nodes=2, partial_channels=parts).supernet(plan)
    logits = supernet(torch.randn(4, 3, image_size, image_size))
    assert logits.shape == (4, 5)
    logits.sum().backward()
    sizes = {
        k: sum(
            p.numel()
            for member in DartsSpace(num_nodes=2, partial_channels=k).supernet(plan).modules()
            if isinstance(member, Forecaster)
            for p in member.parameters()
        )
        for k in (1, parts)
    }
    assert parts == 1 or sizes[parts] < sizes[1] / parts


def test_the_network_of_a_genotype_knows_nothing_of_it() -> None:
    plan = NetworkSpec(image_channels=3, num_classes=5, channels=8, cells=3)
    whole, part = DartsSpace(), DartsSpace(partial_channels=4)
    assert part.random_genotype(3) == whole.random_genotype(3)
    torch.manual_seed(0)
    network = build_network(whole.random_genotype(3), plan)
    torch.manual_seed(0)
    other = build_network(part.random_genotype(3), plan)
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in other.state_dict().items()
    }
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(network(images), other(images))


class Wave(nn.Module):
    """A user's own model, of signals: (B, C, L)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv1d(1, 8, 3, padding=1)
        experts = {"3": nn.Conv1d(2, 2, 3, stride=2, padding=1), "5": nn.Conv1d(2, 2, 5, stride=2, padding=2)}
        self.choice = Forecaster(experts, partial=4, bypass=nn.AvgPool1d(2))
        self.head = nn.Linear(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.choice(self.stem(inputs)).mean(dim=-1))
        return logits


@pytest.mark.parametrize("name", ["xnas", "gdas"])
def test_it_works_in_a_model_of_ones_own(name: str) -> None:
    model = Wave()
    optimizer = XNAS(model, rounds=4, batch_size=6) if name == "xnas" else baseline(name)(model, rounds=4)
    inputs, labels = torch.randn(6, 1, 10), torch.randint(2, (6,))
    for _ in range(4):
        optimizer.measure(lambda: F.cross_entropy(model(inputs), labels, reduction="none"))
        optimizer.step()
    assert model(inputs).shape == (6, 2)
    assert "partial=4" in repr(model.choice)


def test_parts_that_do_not_fit_are_answered_in_one_line() -> None:
    pair = {"a": nn.Identity(), "b": nn.Tanh()}
    with pytest.raises(
        ValueError, match=r"^partial must be at least 1; got 0 for a forecaster without a group$"
    ):
        Forecaster(pair, partial=0)
    with pytest.raises(ValueError, match=r"^nothing goes around all channels; leave out the bypass of"):
        Forecaster(pair, bypass=nn.Identity())
    with pytest.raises(
        ValueError, match=r"^partial = 3 does not divide the channels of an input of shape \(2, 8\)"
    ):
        Forecaster(pair, partial=3)(torch.ones(2, 8))
    with pytest.raises(
        ValueError, match=r"^partial = 2 does not divide the channels of an input of shape \(8,\)"
    ):
        split_channels(torch.ones(8), parts=2)
    pool = Forecaster({"a": nn.MaxPool2d(2), "b": nn.AvgPool2d(2)}, partial=2)
    with pytest.raises(
        ValueError, match=r"^with partial = 2 the experts give \(2, 2, 2, 2\) and the bypass \(2, 2, 4"
    ):
        pool(torch.ones(2, 4, 4, 4))
    plan = NetworkSpec(image_channels=3, num_classes=5, channels=8, cells=3)
    with pytest.raises(
        ValueError, match=r"^partial_channels = 3 does not divide the 8 channels of the supernet$"
    ):
        DartsSpace(partial_channels=3).supernet(plan)
    with pytest.raises(ValueError, match=r"^partial_channels must be at least 1; got 0$"):
        DartsSpace(partial_channels=0)
    with pytest.raises(
        ValueError, match=r"^space.partial_channels = 3 does not divide space.channels = 16; use a"
    ):
        SpaceConfig(partial_channels=3)
    with pytest.raises(ValueError, match=r"^space.partial_channels must be at least 1; got 0$"):
        SpaceConfig(partial_channels=0)
