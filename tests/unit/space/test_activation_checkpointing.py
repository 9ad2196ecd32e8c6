"""Cells that are computed twice: losses, gradients, rewards and averages are the same, bit for bit; less is kept."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.optimizers.checks import no_grad_for
from xnas.space.architecture import Architecture
from xnas.space.backbone import NetworkSpec
from xnas.space.darts.network import build_network
from xnas.space.darts.space import DartsSpace
from xnas.space.forecaster import Forecaster, forecaster_groups, mixture_gradients, recording_mixture_grads
from xnas.space.names import EXPERTS
from xnas.space.nasbench201.space import Nasbench201Space
from xnas.space.nasbench201.stack import Nasbench201Stack
from xnas.space.published import published_genotype
from xnas.space.search_space import SearchSpace

SPACES: dict[str, SearchSpace] = {
    "darts": DartsSpace(num_nodes=2, experts=("none", *EXPERTS), partial_channels=2),
    "nasbench201": Nasbench201Space(partial_channels=2),
}
each_space = pytest.mark.parametrize("space", SPACES)


def plan(*, activation_checkpointing: bool, squeeze_excite: bool = False) -> NetworkSpec:
    return NetworkSpec(
        image_channels=3,
        num_classes=4,
        channels=4,
        cells=3,
        squeeze_excite=squeeze_excite,
        activation_checkpointing=activation_checkpointing,
    )


def supernet(space: str, *, activation_checkpointing: bool) -> nn.Module:
    torch.manual_seed(0)
    network = SPACES[space].supernet(plan(activation_checkpointing=activation_checkpointing))
    for forecaster in network.modules():
        if isinstance(forecaster, Forecaster):
            forecaster.set_mixture(torch.rand(len(forecaster.names)).softmax(dim=0))
    return network


def layers_of(network: nn.Module) -> list[nn.Module]:
    """What is computed twice: the cells, and the blocks between those of NAS-Bench-201."""
    layers = network.get_submodule("layers" if isinstance(network, Nasbench201Stack) else "cells")
    return list(layers.children())


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, 3, 9, 9, generator=generator), torch.randint(4, (5,), generator=generator)


def losses_of(network: nn.Module) -> Tensor:
    images_BCHW, labels_B = batch()
    return F.cross_entropy(network(images_BCHW), labels_B, reduction="none")


def weight_gradients(network: nn.Module) -> tuple[Tensor, list[Tensor | None]]:
    network.zero_grad()
    losses_B = losses_of(network)
    losses_B.mean().backward()
    return losses_B.detach(), [parameter.grad for parameter in network.parameters()]


def rewards(network: nn.Module, *, per_sample: bool) -> tuple[Tensor, list[Tensor]]:
    groups = forecaster_groups(network)
    with no_grad_for(network.parameters()), recording_mixture_grads(groups, per_sample=per_sample):
        losses_B = losses_of(network)
        losses_B.sum().backward()
        alive = {
            group.name: torch.ones(group.num_forecasters, group.num_experts, dtype=torch.bool)
            for group in groups.values()
        }
        return losses_B.detach(), [
            mixture_gradients(group, alive_EK=alive[group.name]) for group in groups.values()
        ]


def assert_same(found: list[Tensor | None], expected: list[Tensor | None]) -> None:
    assert len(found) == len(expected) > 0
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or theirs is None or torch.equal(mine, theirs)


@each_space
@pytest.mark.parametrize("one_hot", [False, True], ids=["all experts", "one drawn"])
def test_losses_weight_gradients_and_rewards_are_the_same(space: str, one_hot: bool) -> None:
    networks = [
        supernet(space, activation_checkpointing=activation_checkpointing)
        for activation_checkpointing in (False, True)
    ]
    if one_hot:
        for network in networks:
            for number, forecaster in enumerate(m for m in network.modules() if isinstance(m, Forecaster)):
                experts = len(forecaster.names)
                drawn = torch.tensor(1 + number % (experts - 1))
                forecaster.set_mixture(F.one_hot(drawn, experts).float(), one_hot=True)
    (losses_B, gradients), (again_B, others) = map(weight_gradients, networks)
    assert torch.equal(losses_B, again_B)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    assert_same(others, gradients)
    for per_sample in (True, False):
        (_, measured), (_, again) = (rewards(network, per_sample=per_sample) for network in networks)
        assert all(gradients_RBEK.abs().sum() > 0 for gradients_RBEK in measured)
        assert_same([*again], [*measured])


@pytest.mark.parametrize(
    ("genotype", "squeeze_excite"),
    [(published_genotype("xnas"), True), (Nasbench201Space().random_genotype(1), False)],
    ids=["darts", "nasbench201"],
)
def test_in_a_network_a_batch_counts_once_in_the_averages_of_its_norms(
    genotype: Architecture, squeeze_excite: bool
) -> None:
    networks = []
    for activation_checkpointing in (False, True):
        torch.manual_seed(0)
        shape = plan(activation_checkpointing=activation_checkpointing, squeeze_excite=squeeze_excite)
        networks.append(build_network(genotype, shape).train())
    for _ in range(2):
        (losses_B, gradients), (again_B, others) = map(weight_gradients, networks)
        assert torch.equal(losses_B, again_B)
        assert_same(others, gradients)
    plain, saving = (network.state_dict() for network in networks)
    assert {int(value) for name, value in plain.items() if "num_batches" in name} == {2}
    for name, value in plain.items():
        assert torch.equal(saving[name], value), name


@each_space
def test_less_is_kept_for_the_backward_pass_and_every_cell_is_computed_twice(space: str) -> None:
    kept: dict[bool, int] = {}
    for activation_checkpointing in (False, True):
        network, calls = supernet(space, activation_checkpointing=activation_checkpointing), list[int]()
        layers = layers_of(network)
        for layer in layers:
            layer.register_forward_pre_hook(lambda *given, calls=calls: calls.append(1))
        packed: list[int] = []

        def pack(tensor: Tensor, packed: list[int] = packed) -> Tensor:
            packed.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = losses_of(network).sum()
        loss.backward()
        kept[activation_checkpointing] = sum(packed)
        assert len(calls) == len(layers) * (1 + activation_checkpointing)
    assert 0 < kept[True] < 0.5 * kept[False]


@each_space
def test_nothing_is_computed_twice_where_no_gradient_is_asked_for(space: str) -> None:
    network = supernet(space, activation_checkpointing=True)
    calls: list[int] = []
    layers_of(network)[1].register_forward_hook(lambda *given: calls.append(1))
    with torch.no_grad():
        losses_of(network)
    network.eval()
    losses_of(network).sum().backward()
    assert len(calls) == 2
