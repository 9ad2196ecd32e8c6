"""The kernels' path computes what the plain supernet does: outputs, gradients of all network weights, and rewards.

Everything in float64, within 1e-9.
"""

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from benchmarks.plain import plain_logits
from xnas import XNAS, Config, DataSet, SearchTrainer
from xnas.kernels import calls
from xnas.runs.folder import RunFolder
from xnas.space.darts.network import Network
from xnas.space.darts.supernet import Supernet
from xnas.space.fast.cpu.nodes import CpuNodes
from xnas.space.fast.depthwise import DepthwiseConv2d
from xnas.space.fast.dispatch import node_kernel, reference_node, sum_outputs
from xnas.space.forecaster import Forecaster
from xnas.space.names import EXPERTS, SEARCHABLE
from xnas.space.operations import NETWORK_STYLE, SUPERNET_STYLE, FactorizedReduce, build_operation
from xnas.space.published import published_genotype
from xnas.train.search import fit_search

from ....helpers.equal_supernets import (
    CLOSE,
    LABELS,
    PLAN,
    check_equal,
    forecasters_of,
    gradients,
    images,
    leaf,
    recording,
    supernet,
)


def module_by_module() -> "mock._patch[mock.MagicMock]":
    """Within it there are no kernels."""
    return mock.patch("xnas.space.fast.dispatch.supported", return_value=False)


@pytest.mark.parametrize("partial", [2, 4])
def test_partial_channels(partial: int) -> None:
    check_equal(supernet(EXPERTS, partial=partial), images((7, 6)))


def test_one_expert_chosen_on_every_edge() -> None:
    model = supernet(SEARCHABLE, nodes=3)
    for number, forecaster in enumerate(forecasters_of(model)):
        forecaster.set_mixture(torch.eye(len(SEARCHABLE))[number % len(SEARCHABLE)], one_hot=True)
    check_equal(model, images())


def test_channels_last_changes_nothing() -> None:
    model = supernet(EXPERTS).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    check_equal(model, images().to(memory_format=torch.channels_last))


def test_cells_may_be_computed_twice_to_save_memory() -> None:
    check_equal(supernet(EXPERTS, plan=replace(PLAN, activation_checkpointing=True)), images())


@pytest.mark.parametrize("seed", range(6))
def test_of_weights_that_are_frozen_in_part_the_others_learn(seed: int) -> None:
    model, chance = supernet(SEARCHABLE, nodes=3, seed=seed), random.Random(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(chance.random() < (0.5 if seed else 0.03))
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert weights
    found, (expected, _) = model(images()), plain_logits(model, images())
    torch.testing.assert_close(
        gradients(F.cross_entropy(found, LABELS), weights),
        gradients(F.cross_entropy(expected, LABELS), weights),
        **CLOSE,
    )


def test_the_bits_are_the_same_with_any_number_of_threads() -> None:
    model, before, seen = supernet(EXPERTS), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            logits = model(images())
            seen.append([logits, *gradients(F.cross_entropy(logits, LABELS), list(model.parameters()))])
    finally:
        torch.set_num_threads(before)
    for again in seen[1:]:
        for found, once in zip(again, seen[0], strict=True):
            assert torch.equal(found, once)


# One graph, several backward passes, and passes through a part of it


def pass_of(model: Supernet, *, per_sample: bool = True) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The loss of one pass, what its gradients may be asked for, and these gradients by the plain supernet."""
    feedback = "sample" if per_sample else "batch"
    logits, leaves = plain_logits(model, images(), feedback=feedback)
    weights = list(model.parameters())
    expected = gradients(F.cross_entropy(logits, LABELS), [*leaves.values(), *weights])
    with recording(list(leaves), per_sample=per_sample):
        loss = F.cross_entropy(model(images()), LABELS)
        return loss, [*(leaf(member) for member in leaves), *weights], expected


def test_a_graph_may_be_gone_through_again() -> None:
    loss, inputs, expected = pass_of(supernet(EXPERTS, nodes=3))
    for _ in range(3):
        found = torch.autograd.grad(loss, inputs, retain_graph=True)
        torch.testing.assert_close(list(found), expected, **CLOSE)
    for leaf_ in inputs:
        leaf_.grad = None
    for times in (1, 2):
        loss.backward(retain_graph=True)
        for leaf_, once in zip(inputs, expected, strict=True):
            torch.testing.assert_close(leaf_.grad, times * once, **CLOSE)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_gradients_may_be_asked_for_one_by_one_and_in_any_order(activation_checkpointing: bool) -> None:
    model = supernet(EXPERTS, nodes=3, plan=replace(PLAN, activation_checkpointing=activation_checkpointing))
    loss, inputs, expected = pass_of(model, per_sample=False)
    order = list(range(len(inputs)))
    random.Random(0).shuffle(order)
    for place in order[:60]:
        (found,) = torch.autograd.grad(loss, inputs[place], retain_graph=True)
        torch.testing.assert_close(found, expected[place], **CLOSE)


def test_a_pass_that_breaks_off_leaves_nothing_for_the_next() -> None:
    loss, inputs, expected = pass_of(supernet(EXPERTS, nodes=3))
    half = len(inputs) // 2

    def fail(gradient: Tensor) -> None:
        raise RuntimeError("broken off")

    handle = inputs[half].register_hook(fail)
    with pytest.raises(RuntimeError, match="broken off"):
        torch.autograd.grad(loss, inputs, retain_graph=True)
    handle.remove()
    found = torch.autograd.grad(loss, inputs)
    torch.testing.assert_close(list(found), expected, **CLOSE)


NodeKernel = Callable[[Sequence[Forecaster], Sequence[Tensor]], Tensor]
NODES = 4


def nodes_of(path: Path, members: Sequence[Forecaster], sources: Sequence[Tensor]) -> list[Tensor]:
    """The nodes that a cell computes from two sources."""
    nodes = [source * 1 for source in sources]
    left = list(members)
    for _ in range(NODES):
        incoming, left = left[: len(nodes)], left[len(nodes) :]
        nodes.append(path(incoming, nodes))
    return nodes[2:]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "read", [read for size in (1, 2, NODES) for read in combinations(range(NODES), size)], ids=str
)
def test_what_follows_may_read_any_of_the_nodes_and_more_than_once(read: tuple[int, ...], seed: int) -> None:
    torch.manual_seed(seed)
    names, chance = (
        ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "dil_conv_3x3"),
        random.Random(seed),
    )
    members = []
    for index in range(sum(range(2, 2 + NODES))):
        experts = {name: build_operation(name, 3, stride=1, style=SUPERNET_STYLE) for name in names}
        member = Forecaster(experts, group="cell", index=index).double()
        for name in chance.sample(names, chance.randint(0, len(names) - 1)):
            member.remove(name)
        members.append(member)
    sources = [torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    weights = [weight for member in members for weight in member.parameters()]

    def results(path: NodeKernel) -> list[Tensor]:
        with recording(members):
            nodes = nodes_of(path, members, sources)
            total = torch.stack(
                [nodes[number].square().sum() + nodes[number].exp().mean() for number in read]
            )
            inputs = [*sources, *weights, *map(leaf, members)]
            return [*nodes, *(gradients(total.sum(), inputs) if total.requires_grad else [])]

    torch.testing.assert_close(results(CpuNodes()), results(reference_node), **CLOSE)


@pytest.mark.parametrize("hooked", ["sources", "nodes"])
def test_hooks_on_nodes_see_their_whole_gradients(hooked: str) -> None:
    torch.manual_seed(0)
    members = [
        Forecaster(
            {name: build_operation(name, 3, stride=1, style=SUPERNET_STYLE) for name in EXPERTS},
            group="cell",
            index=index,
        ).double()
        for index in range(sum(range(2, 2 + NODES)))
    ]
    given = [torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def seen(path: NodeKernel) -> list[Tensor]:
        found: dict[int, Tensor] = {}
        sources = [source.tanh() for source in given]
        nodes = nodes_of(path, members, sources)
        for number, tensor in enumerate(sources if hooked == "sources" else nodes):

            def hook(gradient: Tensor, number: int = number) -> Tensor:
                found[number] = gradient.clone()
                return 2 * gradient

            tensor.register_hook(hook)
        by_given = torch.autograd.grad(torch.cat(nodes, dim=1).square().sum(), given)
        return [*(found[number] for number in sorted(found)), *by_given]

    expected = seen(reference_node)
    assert len(expected) == 2 + (2 if hooked == "sources" else NODES)
    torch.testing.assert_close(seen(CpuNodes()), expected, **CLOSE)


# Modules of users


class Residual(nn.Sequential):
    """A sequence that computes more than one layer after the other."""

    def forward(self, given: Tensor) -> Tensor:
        outputs: Tensor = super().forward(given)
        return given + outputs


class Tripled(nn.Conv2d):
    def forward(self, given: Tensor) -> Tensor:
        return 3 * super().forward(given)


class Bent(nn.BatchNorm2d):
    def forward(self, given: Tensor) -> Tensor:
        return super().forward(given).tanh()


def conv(size: int | tuple[int, int] = 3, *, bias: bool = False, **how: object) -> nn.Conv2d:
    padding = how.pop("padding", size // 2 if isinstance(size, int) else tuple(each // 2 for each in size))
    return nn.Conv2d(4, 4, size, padding=padding, bias=bias, **how)  # type: ignore[arg-type]


def norm() -> nn.BatchNorm2d:
    return SUPERNET_STYLE.norm(4)


def hooked(module: nn.Module) -> nn.Module:
    module.register_forward_pre_hook(lambda _, given: (given[0] + 1,))
    return module


USERS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: conv(bias=True),
    "ends in a norm": lambda: nn.Sequential(conv(bias=True), norm()),
    "norm that learns": lambda: nn.Sequential(conv(1), nn.BatchNorm2d(4, track_running_stats=False)),
    "norm that remembers": lambda: nn.Sequential(conv(1), nn.BatchNorm2d(4)),
    "norm that counts": lambda: nn.Sequential(conv(1), nn.BatchNorm2d(4, momentum=None)),
    "norm with another eps": lambda: nn.Sequential(conv(1), nn.BatchNorm2d(4, 1e-3, affine=False)),
    "norm alone": norm,
    "bent norm": lambda: nn.Sequential(nn.ReLU(), conv(), Bent(4, affine=False, track_running_stats=False)),
    "known": lambda: nn.Sequential(nn.ReLU(), conv(), norm()),
    "flat": lambda: nn.Sequential(nn.ReLU(), conv((1, 5)), norm()),
    "groups": lambda: nn.Sequential(nn.ReLU(), conv(groups=2), norm()),
    "dilated": lambda: nn.Sequential(nn.ReLU(), conv(padding=2, dilation=2), norm()),
    "biased": lambda: nn.Sequential(nn.ReLU(), conv(bias=True), norm()),
    "reflected": lambda: nn.Sequential(nn.ReLU(), conv(padding_mode="reflect"), norm()),
    "same": lambda: nn.Sequential(nn.ReLU(), conv(padding="same"), norm()),
    "tripled": lambda: nn.Sequential(nn.ReLU(), Tripled(4, 4, 3, padding=1, bias=False), norm()),
    "parametrised": lambda: nn.Sequential(nn.ReLU(), parametrizations.weight_norm(conv()), norm()),
    "hooked": lambda: nn.Sequential(nn.ReLU(), hooked(conv()), norm()),
    "residual": lambda: Residual(nn.ReLU(), conv(), norm()),
    "bent": nn.Tanh,
    "many layers": lambda: nn.Sequential(nn.ReLU(), conv(), nn.Tanh(), nn.Dropout(0), conv(1), norm()),
    "depthwise": lambda: nn.Sequential(nn.ReLU(), DepthwiseConv2d(4, 3), norm()),
    "separable": lambda: build_operation("sep_conv_3x3", 4, stride=1, style=SUPERNET_STYLE),
    "network's separable": lambda: build_operation("sep_conv_3x3", 4, stride=1, style=NETWORK_STYLE),
    "network's pooling": lambda: build_operation("max_pool_3x3", 4, stride=1, style=NETWORK_STYLE),
    "padding counted": lambda: nn.AvgPool2d(3, stride=1, padding=1),
    "a pooling of other sizes": lambda: nn.MaxPool2d((3, 1), stride=(1, 1), padding=(1, 0)),
    "a large pooling": lambda: nn.AvgPool2d(5, stride=1, padding=2, count_include_pad=False),
    "a pooling's own divisor": lambda: nn.AvgPool2d(1, stride=1, divisor_override=3),
    "reduced": lambda: nn.Sequential(
        FactorizedReduce(4, 4, style=SUPERNET_STYLE), nn.Upsample(scale_factor=2)
    ),
    "skip": nn.Identity,
}


def assert_as_without_kernels(members: Sequence[Forecaster]) -> None:
    generator = torch.Generator().manual_seed(1)
    shape = 3, 4 * members[0].partial, 6, 6
    sources = [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for _ in members]

    def results(path: NodeKernel) -> list[Tensor]:
        copies = copy.deepcopy(members)  # some remember what they have seen
        weights = [weight for member in copies for weight in member.parameters()]
        with recording(copies):
            node = path(copies, sources)
            found = gradients(node.square().sum(), [*sources, *weights, *map(leaf, copies)])
        return [node, *found, *(state for member in copies for state in member.buffers())]

    torch.testing.assert_close(results(CpuNodes()), results(reference_node), **CLOSE)


@pytest.mark.parametrize("name", USERS)
def test_an_expert_of_a_user(name: str) -> None:
    torch.manual_seed(0)
    assert_as_without_kernels([Forecaster({"one": USERS[name](), "skip": nn.Identity()}).double()])


@pytest.mark.parametrize("partial", [1, 2])
def test_all_experts_of_users_at_once(partial: int) -> None:
    torch.manual_seed(0)
    assert_as_without_kernels(
        [
            Forecaster(
                {name: build() for name, build in USERS.items()},
                partial=partial,
                bypass=nn.AvgPool2d(1) if partial > 1 else None,
            ).double()
            for _ in range(3)
        ]
    )


def test_experts_without_padding_make_images_smaller() -> None:
    torch.manual_seed(0)
    cut = {
        "known but for its padding": nn.Sequential(nn.ReLU(), conv(padding=0), norm()),
        "one_hot": conv(padding=0),
        "even": nn.Sequential(nn.ReLU(), conv(2, padding=0), norm(), nn.AvgPool2d(2, stride=1)),
        "a pooling with holes": nn.MaxPool2d(3, stride=1, padding=1, dilation=2),
        "halved": nn.Sequential(nn.ReLU(), conv(stride=(2, 2)), norm(), nn.Upsample(size=4)),
    }
    assert_as_without_kernels([Forecaster(cut).double()])


def test_experts_of_many_channels_are_for_torchs_own_operations() -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(nn.ReLU(), nn.Conv2d(300, 300, 1, bias=False), SUPERNET_STYLE.norm(300))
    separable = build_operation("dil_conv_3x3", 300, stride=1, style=SUPERNET_STYLE)
    inputs = [torch.randn(2, 300, 2, 2), torch.randn(2, 300, 2, 2)]
    with mock.patch.object(calls, "dense_forward"), mock.patch.object(calls, "separable_forward"):
        found = sum_outputs([wide, separable], inputs, training=True)
    torch.testing.assert_close(found, wide(inputs[0]) + separable(inputs[1]))


def test_experts_that_do_not_fit_together_are_refused() -> None:
    sources = [torch.randn(2, 4, 6, 6)]
    for other, said in (
        (nn.AvgPool2d(2), r"\(2, 4, 6, 6\) and \(2, 4, 3, 3\) do not belong together"),
        (conv().double(), "type"),
        (
            nn.Sequential(nn.ReLU(), conv(), norm()).double(),
            "kernels for torch.float32 on the CPU were given torch.float64",
        ),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 1, bias=False), norm()), "do not belong together"),
    ):
        forecaster = Forecaster({"skip": nn.Identity(), "other": other})
        with pytest.raises((ValueError, RuntimeError), match=said):
            CpuNodes()([forecaster], sources)


# Where the path is taken


def test_in_training_no_expert_is_called_and_in_evaluation_hooks_see_all_layers() -> None:
    model, seen = supernet(EXPERTS), []
    layers = [module for module in model.modules() if isinstance(module, DepthwiseConv2d)]
    for module in layers:
        module.register_forward_hook(lambda module, *given: seen.append(module))
    in_training = model(images())
    assert seen == []
    in_evaluation = model.eval()(images())
    assert set(seen) == set(layers)
    torch.testing.assert_close(in_training, in_evaluation, **CLOSE)


def test_other_types_and_autocast_go_module_by_module() -> None:
    features = torch.zeros(1, 1, 1, 1)
    assert isinstance(node_kernel(features, training=True), CpuNodes)
    assert node_kernel(features, training=False) is reference_node
    assert node_kernel(features.bfloat16(), training=True) is reference_node
    with torch.autocast("cpu", torch.bfloat16):
        assert node_kernel(features, training=True) is reference_node


def test_a_norm_refuses_a_single_value() -> None:
    with pytest.raises(ValueError, match="one value of each channel; use a larger batch, or larger images"):
        supernet(EXPERTS)(images((2, 2))[:1])


# Whole passes beside those without kernels


@pytest.mark.parametrize("feedback", ["sample", "batch"])
def test_rounds_of_a_search_are_the_same_without_kernels(feedback: str) -> None:
    def run() -> tuple[list[Tensor], list[Tensor]]:
        model = supernet(EXPERTS)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        experts = XNAS(model, rounds=4, batch_size=3, feedback=feedback, zeta=0.05, reward_bound=1.0)  # type: ignore[arg-type]
        for number in range(4):
            given = images() + number
            optimizer.zero_grad()
            F.cross_entropy(model(given), LABELS).backward()
            optimizer.step()
            experts.measure(lambda given=given: F.cross_entropy(model(given), LABELS, reduction="none"))  # type: ignore[misc]
            experts.step()
        return list(model.parameters()), [state.log_v_EK for state in experts.states.values()]

    found = run()
    with module_by_module():
        expected = run()
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)


def test_a_whole_search_comes_to_the_same_without_kernels(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    def run(name: str) -> dict[str, Tensor]:
        trainer = SearchTrainer(tiny, data, device=torch.device("cpu"))
        fit_search(trainer, folder=RunFolder.at(tmp_path / name))
        return {group: state.log_v_EK for group, state in trainer.experts.states.items()}

    found = run("with")
    with module_by_module():
        expected = run("without")
    torch.testing.assert_close(found, expected, rtol=0.01, atol=1e-4)


def test_a_step_of_a_network_and_its_running_averages_are_the_same_without_kernels() -> None:
    def run() -> tuple[list[Tensor], dict[str, Tensor]]:
        torch.manual_seed(0)
        network = Network(published_genotype("xnas"), PLAN).double().train()
        for parameter in network.parameters():
            if parameter.dim() == 1:
                nn.init.normal_(parameter)
        total = sum(F.cross_entropy(network(images() + number), LABELS) for number in range(2))
        assert isinstance(total, Tensor)
        return gradients(total, list(network.parameters())), network.state_dict()

    found, state = run()
    with module_by_module():
        expected, expected_state = run()
    torch.testing.assert_close(found, expected, **CLOSE)
    torch.testing.assert_close(state, expected_state, **CLOSE)
