"""Forecasters: mixtures in any model, replicas, rewards of single samples, and experts that leave.

E: indices of a group; R: replicas; K: experts; B: samples.
"""

import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.kernels.calls import supported
from xnas.space.fast.cpu.nodes import CpuNodes
from xnas.space.fast.dispatch import NodeKernel
from xnas.space.fast.gpu.nodes import BatchedGpuNodes, NodeSchedules
from xnas.space.forecaster import (
    Forecaster,
    forecaster_groups,
    mixture_gradients,
    recording_mixture_grads,
    set_group_mixtures,
)

NAMES = ("plain", "wide", "bent")


def experts(width: int = 3) -> dict[str, nn.Module]:
    return {
        "plain": nn.Linear(width, width),
        "wide": nn.Sequential(nn.Linear(width, 2 * width), nn.Tanh(), nn.Linear(2 * width, width)),
        "bent": nn.Tanh(),
    }


class Model(nn.Module):
    """Two indices of one group with two replicas each, and another group deep inside."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.ModuleDict(
                {
                    "first": Forecaster(experts(), group="stage", index=0),
                    "second": nn.Sequential(nn.Tanh(), Forecaster(experts(), group="stage", index=1)),
                }
            )
            for _ in range(2)
        )
        self.head = Forecaster({"one": nn.Linear(3, 2), "two": nn.Linear(3, 2)}, group="head")

    def forward(self, inputs: Tensor) -> Tensor:
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleDict)
            inputs = inputs + stage["second"](stage["first"](inputs))
        outputs: Tensor = self.head(inputs)
        return outputs


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    model = Model().double()
    for group in forecaster_groups(model).values():
        for replicas_R in group.replicas_ER:
            mixture_K = torch.rand(len(replicas_R[0].names), dtype=torch.float64)
            for member in replicas_R:
                member.set_mixture(mixture_K / mixture_K.sum())
    return model


def test_a_forecaster_predicts_with_the_mixture_of_its_experts() -> None:
    forecaster = Forecaster(experts()).double()
    inputs = torch.randn(4, 3, dtype=torch.float64)
    assert forecaster.names == NAMES
    torch.testing.assert_close(forecaster.mixture_K, torch.full((3,), 1 / 3, dtype=torch.float64))
    mixture_K = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    forecaster.set_mixture(mixture_K)
    expected = sum(u * expert(inputs) for u, expert in zip(mixture_K, forecaster.experts, strict=True))
    torch.testing.assert_close(forecaster(inputs), expected)


def test_groups_are_found_wherever_the_model_holds_them(model: Model) -> None:
    groups = forecaster_groups(model)
    assert list(groups) == ["stage", "head"]
    assert groups["stage"].num_replicas == 2
    assert [[member.index for member in members] for members in groups["stage"].replicas_ER] == [
        [0, 0],
        [1, 1],
    ]
    assert len(list(groups["stage"])) == 4
    assert groups["head"].num_replicas == 1


def test_replicas_have_network_weights_of_their_own(model: Model) -> None:
    for replicas_R in forecaster_groups(model)["stage"].replicas_ER:
        first, second = (list(member.parameters()) for member in replicas_R)
        assert not {id(parameter) for parameter in first} & {id(parameter) for parameter in second}


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def test_one_backward_pass_leaves_the_gradient_of_every_sample(model: Model) -> None:
    inputs, labels = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    groups = forecaster_groups(model)
    alive = {
        name: torch.ones(len(group.replicas_ER), len(group.replicas_ER[0][0].names), dtype=torch.bool)
        for name, group in groups.items()
    }
    with recording_mixture_grads(groups, per_sample=True):
        loss_of(model(inputs), labels).sum().backward()
        found = {name: mixture_gradients(group, alive_EK=alive[name]) for name, group in groups.items()}
    assert {name: tuple(gradients.shape) for name, gradients in found.items()} == {
        "stage": (2, 5, 2, 3),
        "head": (1, 5, 1, 2),
    }
    for sample in range(5):
        with recording_mixture_grads(groups, per_sample=False):
            loss_of(model(inputs[sample : sample + 1]), labels[sample : sample + 1]).sum().backward()
            for name, group in groups.items():
                alone_RBEK = mixture_gradients(group, alive_EK=alive[name])
                torch.testing.assert_close(alone_RBEK[:, 0], found[name][:, sample], rtol=1e-9, atol=1e-9)


def test_a_reward_is_the_loss_gradient_projected_on_an_expert() -> None:
    forecaster = Forecaster(experts()).double()
    groups = forecaster_groups(forecaster)
    inputs = torch.randn(4, 3, dtype=torch.float64)
    with recording_mixture_grads(groups, per_sample=True):
        prediction = forecaster(inputs)
        prediction.retain_grad()
        prediction.square().sum().backward()
        found_BK = mixture_gradients(groups["default"], alive_EK=torch.ones(1, 3, dtype=torch.bool))[0, :, 0]
    expected_BK = torch.stack(
        [(prediction.grad * expert(inputs)).sum(dim=1) for expert in forecaster.experts], dim=1
    )
    torch.testing.assert_close(found_BK, expected_BK)


def test_no_gradient_passes_through_the_normalisation() -> None:
    # With equal experts the gradient of a softmax would be zero; that of a free leaf is not.
    forecaster = Forecaster({"a": nn.Identity(), "b": nn.Identity()})
    groups = forecaster_groups(forecaster)
    with recording_mixture_grads(groups, per_sample=False):
        forecaster(torch.ones(2, 3)).sum().backward()
        found = mixture_gradients(groups["default"], alive_EK=torch.ones(1, 2, dtype=torch.bool))
    assert found.tolist() == [[[[6.0, 6.0]]]]


def test_a_forecaster_that_is_used_twice_in_a_pass_adds_its_gradients() -> None:
    forecaster = Forecaster({"a": nn.Identity(), "b": nn.Tanh()})
    groups = forecaster_groups(forecaster)
    with recording_mixture_grads(groups, per_sample=True):
        (forecaster(torch.ones(2, 3)) + forecaster(torch.ones(2, 3))).sum().backward()
        found = mixture_gradients(groups["default"], alive_EK=torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(found[0, :, 0, 0], torch.full((2,), 6.0, dtype=torch.float64))


def test_a_replica_that_the_pass_did_not_reach_has_zero_gradients() -> None:
    reached, idle = (Forecaster({"a": nn.Identity(), "b": nn.Tanh()}, group="both") for _ in range(2))
    groups = forecaster_groups(nn.ModuleList([reached, idle]))
    with recording_mixture_grads(groups, per_sample=True):
        reached(torch.ones(2, 3)).sum().backward()
        found_RBEK = mixture_gradients(groups["both"], alive_EK=torch.ones(1, 2, dtype=torch.bool))
    assert found_RBEK is not None
    assert found_RBEK.shape == (2, 2, 1, 2)
    assert found_RBEK[0].all()
    assert not found_RBEK[1].any()


def test_a_group_that_no_pass_reached_has_no_gradients(model: Model) -> None:
    groups = forecaster_groups(model)
    with recording_mixture_grads(groups, per_sample=True):
        assert mixture_gradients(groups["stage"], alive_EK=torch.ones(2, 3, dtype=torch.bool)) is None


def test_listening_ends_with_its_block_even_after_an_error(model: Model) -> None:
    groups = forecaster_groups(model)
    inputs = torch.randn(2, 3, dtype=torch.float64)
    before = model(inputs)
    with pytest.raises(RuntimeError, match="mat1 and mat2"), recording_mixture_grads(groups, per_sample=True):
        model(torch.zeros(2, 4, dtype=torch.float64))
    assert all(member._leaf is None and member._per_sample is None for member in groups["stage"])
    assert torch.equal(model(inputs), before)


def test_listening_does_not_change_the_prediction(model: Model) -> None:
    inputs = torch.randn(2, 3, dtype=torch.float64)
    outside = model(inputs)
    for per_sample in (True, False):
        with recording_mixture_grads(forecaster_groups(model), per_sample=per_sample):
            torch.testing.assert_close(model(inputs), outside)


def test_a_removed_expert_takes_its_parameters_along_and_its_weight_is_shared_out() -> None:
    forecaster = Forecaster(experts()).double()
    forecaster.set_mixture(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64))
    module = forecaster.experts[1]
    parameters = {id(parameter) for parameter in module.parameters()}
    before = len(list(forecaster.parameters()))
    assert forecaster.remove("wide") is module
    assert forecaster.names == ("plain", "bent")
    assert len(list(forecaster.parameters())) == before - len(parameters)
    assert not parameters & {id(parameter) for parameter in forecaster.parameters()}
    assert module not in set(forecaster.modules())
    torch.testing.assert_close(forecaster.mixture_K, torch.tensor([0.4, 0.6], dtype=torch.float64))
    inputs = torch.randn(4, 3, dtype=torch.float64)
    plain, bent = forecaster.experts
    torch.testing.assert_close(forecaster(inputs), 0.4 * plain(inputs) + 0.6 * bent(inputs))


def test_the_last_expert_speaks_alone_whatever_its_weight_was() -> None:
    forecaster = Forecaster(experts())
    forecaster.set_mixture(torch.tensor([0.0, 1.0, 0.0]))
    forecaster.remove("wide")
    assert forecaster.mixture_K.tolist() == [0.5, 0.5]  # nothing was left to share out in proportion
    forecaster.remove("plain")
    assert forecaster.mixture_K.tolist() == [1.0]
    inputs = torch.randn(2, 3)
    assert torch.equal(forecaster(inputs), inputs.tanh())


def test_a_removed_expert_has_zero_gradient_in_its_old_place() -> None:
    forecaster = Forecaster(experts())
    forecaster.remove("wide")
    groups = forecaster_groups(forecaster)
    alive_EK = torch.tensor([[True, False, True]])
    with recording_mixture_grads(groups, per_sample=True):
        forecaster(torch.ones(2, 3)).sum().backward()
        found_BK = mixture_gradients(groups["default"], alive_EK=alive_EK)[0, :, 0]
    assert not found_BK[:, 1].any()
    assert found_BK[:, [0, 2]].all()


@pytest.mark.parametrize("name", ["training", "forward", "0", "mixture_K", "a b", "ä"])
def test_an_expert_may_have_any_name_without_a_dot(name: str) -> None:
    forecaster = Forecaster({name: nn.Identity(), "other": nn.Tanh()})
    assert forecaster(torch.ones(2, 2)).shape == (2, 2)
    forecaster.remove(name)
    assert forecaster.names == ("other",)


def test_a_forecaster_inside_an_expert_of_another_is_found_and_leaves_with_it() -> None:
    inner = Forecaster({"a": nn.Identity(), "b": nn.Tanh()}, group="inner")
    outer = Forecaster({"nest": nn.Sequential(nn.Linear(2, 2), inner), "rest": nn.Identity()}, group="outer")
    assert list(forecaster_groups(outer)) == ["outer", "inner"]
    with recording_mixture_grads(groups := forecaster_groups(outer), per_sample=True):
        outer(torch.ones(3, 2)).sum().backward()
        for group in groups.values():
            assert mixture_gradients(group, alive_EK=torch.ones(1, 2, dtype=torch.bool)).shape == (1, 3, 1, 2)
    outer.remove("nest")
    assert list(forecaster_groups(outer)) == ["outer"]


def test_the_mixture_moves_with_the_model_but_is_not_saved_with_it(model: Model) -> None:
    assert all(member.mixture_K.dtype == torch.float64 for member in forecaster_groups(model)["stage"])
    assert not [name for name in model.state_dict() if "mixture" in name]


def test_a_forecaster_prints_what_it_chooses_between() -> None:
    assert "group='g', index=0, names=plain, wide, bent" in repr(Forecaster(experts(), group="g"))
    assert "Forecaster(\n  names=plain, wide, bent" in repr(Forecaster(experts()))


def test_a_forecaster_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^forecaster 'g'\[2\] has no experts; give it at least one$"):
        Forecaster({}, group="g", index=2)
    with pytest.raises(ValueError, match=r"^a forecaster's index must not be negative; got -1 in group 'g'$"):
        Forecaster(experts(), group="g", index=-1)
    for name in ("a.b", "", 3):
        with pytest.raises(ValueError, match=f"must be non-empty and without a dot; got {name!r}"):
            Forecaster({name: nn.Identity()})  # type: ignore[dict-item]
    with pytest.raises(
        ValueError, match=r"^an index is a forecaster's place in its group; got 1 without a group"
    ):
        Forecaster(experts(), index=1)
    for index in (1.5, True, "1", np.array([1, 2]), torch.tensor(1.5)):
        with pytest.raises(
            ValueError, match=r"^a forecaster's index must be a whole number; got .* in group 'g'$"
        ):
            Forecaster(experts(), group="g", index=index)  # type: ignore[arg-type]
    assert Forecaster(experts(), group="g", index=np.int64(1)).index == 1  # type: ignore[arg-type]
    for group in ("", 3):
        with pytest.raises(ValueError, match="group must be a name"):
            Forecaster(experts(), group=group)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"a": None, "b": nn.Identity()}, "expert 'a' is a NoneType; it must be a module"),
        ({"a": nn.Identity, "b": nn.Identity()}, "expert 'a' is the class Identity; it must be a module"),
        ({"a": torch.relu}, "expert 'a' is a builtin_function_or_method; it must be a module"),
        ([nn.Identity(), nn.Tanh()], "experts must be modules by name.*; got a list"),
        ((nn.Identity(),), "experts must be modules by name.*; got a tuple"),
        (nn.ModuleList([nn.Identity()]), "experts must be modules by name.*; got a ModuleList"),
        (None, "experts must be modules by name.*; got a NoneType"),
    ],
    ids=range(7),
)
def test_experts_that_are_no_modules_by_name_are_refused(given: object, line: str) -> None:
    with pytest.raises(ValueError, match=f"^forecaster 'g'\\[0\\]: {line}"):
        Forecaster(given, group="g")  # type: ignore[arg-type]


def test_a_module_dict_is_experts_too() -> None:
    assert Forecaster(nn.ModuleDict({"a": nn.Tanh(), "b": nn.ReLU()})).names == ("a", "b")  # type: ignore[arg-type]


class Gives(nn.Module):
    """What a function makes of its input."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> object:
        return self.function(inputs)


MISFITS: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "smaller": (lambda x: x.mean(dim=1, keepdim=True), r"\(4, 1\) of float32"),
    "longer": (lambda x: torch.cat([x, x], dim=1), r"\(4, 6\) of float32"),
    "without a dimension": (lambda x: x[:, 0], r"\(4,\) of float32"),
    "of one sample": (lambda x: x[:1], r"\(1, 3\) of float32"),
    "a number": (lambda x: x.sum(), r"\(\) of float32"),
    "a tuple": (lambda x: (x, x), "a tuple"),
    "a list": (lambda x: [x], "a list"),
    "a dict": (lambda x: {"x": x}, "a dict"),
    "nothing": (lambda x: None, "a NoneType"),
    "integers": (lambda x: x.long(), r"\(4, 3\) of int64"),
    "truths": (lambda x: x > 0, r"\(4, 3\) of bool"),
    "complex": (lambda x: x.to(torch.complex64), r"\(4, 3\) of complex64"),
    "elsewhere": (lambda x: x.to("meta"), r"\(4, 3\) of float32"),
}


@pytest.mark.parametrize("kind", MISFITS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("per_sample", [None, True, False])
def test_outputs_that_do_not_fit_are_refused_naming_forecaster_expert_and_shapes(
    kind: str, first: bool, per_sample: bool | None
) -> None:
    function, shown = MISFITS[kind]
    pair: dict[str, nn.Module] = {"odd": Gives(function), "id": nn.Identity()}
    model = nn.Sequential(Forecaster(pair if first else dict(reversed(pair.items()))))
    groups = forecaster_groups(model)
    with (
        recording_mixture_grads(groups, per_sample=bool(per_sample))
        if per_sample is not None
        else nullcontext(),
        pytest.raises(ValueError, match=r"^forecaster '0'\[0\]: the output of expert '(odd|id)' is ") as told,
    ):
        model(torch.rand(4, 3))
    assert re.search(shown, str(told.value))
    assert "odd" in str(told.value)


def test_an_expert_that_gives_no_samples_first_is_refused_where_they_are_told_apart() -> None:
    model = nn.Sequential(Forecaster({"a": Gives(lambda x: x.T), "b": Gives(lambda x: 2 * x.T)}))
    assert model(torch.rand(4, 3)).shape == (3, 4)
    with (
        recording_mixture_grads(forecaster_groups(model), per_sample=True),
        pytest.raises(ValueError, match=r"is \(3, 4\) of float32; its first dimension must be the 4 samples"),
    ):
        model(torch.rand(4, 3))


WRITERS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "first of some": lambda: nn.Sequential(nn.Identity(), nn.SiLU(inplace=True), nn.Tanh()),
    "function": lambda: Gives(lambda x: F.dropout(x, 0.5, inplace=True)),
    "operator": lambda: Gives(lambda x: x.mul_(2)),
    "of a view": lambda: Gives(lambda x: (x[:, :2].zero_(), x)[1]),
    "of a transposed view": lambda: Gives(lambda x: x.T.add_(1).T),
    "behind autograd": lambda: Gives(lambda x: (x.detach().zero_(), x)[1]),
    "by index": lambda: Gives(lambda x: (x.__setitem__((slice(None), 0), 0.0), x)[1]),
    "nested": lambda: Forecaster({"a": nn.ReLU(inplace=True), "b": nn.Identity()}),
    "out": lambda: Gives(lambda x: torch.relu_(x)),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("learning", [True, False])
def test_an_expert_that_changes_its_input_is_refused_by_name(kind: str, place: int, learning: bool) -> None:
    pair: list[tuple[str, nn.Module]] = [("id", nn.Identity()), ("tanh", nn.Tanh())]
    pair.insert(place, ("writer", WRITERS[kind]()))
    model = nn.Sequential(nn.Linear(3, 3), Forecaster(dict(pair), group="g"))
    named = "'a'" if kind == "nested" else "'writer'"
    with (
        torch.set_grad_enabled(learning),
        pytest.raises(ValueError, match=f"expert {named} changes its input in pl"),
    ):
        model(torch.rand(4, 3))
    with (
        recording_mixture_grads(forecaster_groups(model), per_sample=True),
        pytest.raises(ValueError, match="in place"),
    ):
        model(torch.rand(4, 3))
    if kind != "behind autograd":  # torch itself keeps a leaf from being written into
        with pytest.raises(ValueError, match=f"expert {named} changes its input in place"):
            model[1](torch.rand(4, 3, requires_grad=True))


def test_an_expert_may_write_into_what_is_its_own() -> None:
    inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    model = Forecaster({"a": inner, "b": nn.Identity()})
    inputs = torch.rand(4, 3)
    torch.testing.assert_close(model(inputs), (inner(inputs) + inputs) / 2)
    with torch.inference_mode():
        torch.testing.assert_close(model(inputs), (inner(inputs) + inputs) / 2)


@pytest.mark.parametrize("path", [BatchedGpuNodes(NodeSchedules()), CpuNodes()], ids=["grouped", "native"])
@pytest.mark.parametrize("last", [nn.Tanh, partial(nn.BatchNorm2d, 3)], ids=["plain", "norm"])
def test_the_fast_ways_refuse_it_too(path: NodeKernel, last: Callable[[], nn.Module]) -> None:
    if isinstance(path, CpuNodes) and not supported(torch.rand(2, 3, 4, 4)):
        pytest.skip("no kernels here")
    writer = nn.Sequential(nn.Hardswish(inplace=True), last())
    member = Forecaster({"writer": writer, "id": nn.Identity()}, group="g")
    with pytest.raises(ValueError, match=r"^forecaster 'g'\[0\]: expert 'writer' changes its input in place"):
        path([member], [torch.rand(2, 3, 4, 4)])


def test_a_compiled_pass_gives_every_expert_the_input_as_it_was() -> None:
    class Compiling(Forecaster):
        """Takes the way of a compiled pass."""

        def _call_expert(self, expert: nn.Module, inputs: Tensor) -> Tensor:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch.compiler, "is_compiling", lambda: True)
                return super()._call_expert(expert, inputs)

    inputs = torch.randn(4, 3)
    model = Compiling({"relu": nn.ReLU(inplace=True), "id": nn.Identity()})
    torch.testing.assert_close(model(inputs.clone()), (inputs.relu() + inputs) / 2)
    model.remove("id")  # the input is still read by others, such as a residual
    model.set_mixture(torch.ones(1))
    before = inputs.clone()
    torch.testing.assert_close(model(inputs), inputs.relu())
    assert torch.equal(inputs, before)


def test_in_inference_mode_every_expert_gets_the_input_as_it_was() -> None:
    model = Forecaster({"relu": nn.ReLU(inplace=True), "id": nn.Identity()})
    with torch.inference_mode():
        inputs = torch.randn(4, 3)
        torch.testing.assert_close(model(inputs.clone()), (inputs.relu() + inputs) / 2)


def test_a_group_is_not_called_like_the_place_of_another_choice() -> None:
    model = nn.ModuleDict({"kernel": Forecaster(experts()), "other": Forecaster(experts(), group="kernel")})
    with pytest.raises(
        ValueError, match=r"^the group 'kernel' of 1 forecasters has the name of the place of one"
    ):
        forecaster_groups(model)


def test_a_forecaster_at_two_places_is_one_choice() -> None:
    shared = Forecaster(experts())
    groups = forecaster_groups(nn.Sequential(shared, nn.Tanh(), shared))
    assert list(groups) == ["0"]
    assert list(groups["0"]) == [shared]


def test_forecasters_of_a_group_that_see_different_numbers_of_samples_are_refused_where_these_count() -> None:
    model = nn.Sequential(
        Forecaster({"a": nn.Identity(), "b": nn.Tanh()}, group="g"),
        nn.Unflatten(0, (2, 2)),
        Forecaster({"a": nn.Identity(), "b": nn.Tanh()}, group="g", index=1),
    )
    groups = forecaster_groups(model)
    with recording_mixture_grads(groups, per_sample=True):
        model(torch.rand(4, 3)).sum().backward()
        with pytest.raises(ValueError, match=r"^forecasters of group 'g' were called with 2 and 4 samples"):
            mixture_gradients(groups["g"], alive_EK=torch.ones(2, 2, dtype=torch.bool))


def test_what_a_forecaster_does_not_have_cannot_be_removed() -> None:
    forecaster = Forecaster({"a": nn.Identity(), "b": nn.Tanh()}, group="g", index=1)
    with pytest.raises(ValueError, match=r"^forecaster 'g'\[1\] has no expert 'c'; it has a, b$"):
        forecaster.remove("c")
    forecaster.remove("a")
    with pytest.raises(ValueError, match=r"^'b' is the last expert of forecaster 'g'\[1\]$"):
        forecaster.remove("b")
    with pytest.raises(ValueError, match=r"^forecaster 'g'\[1\] has 1 experts; got \(2,\) mixture weights$"):
        forecaster.set_mixture(torch.ones(2))


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ([], "ModuleList holds no Forecaster; put one where the choice is open"),
        ([(NAMES, 1)], r"group 'g' has the indices \[1\]; number its forecasters 0, 1, 2"),
        ([(NAMES, 0), (NAMES, 2)], r"group 'g' has the indices \[0, 2\]"),
        ([(NAMES, 0), (NAMES, 0), (NAMES, 1)], "group 'g' has 2 replicas at index 0 but 1 at index 1"),
        (
            [(("a", "b"), 0), (("a", "c"), 1)],
            "group 'g' chooses between a, b at index 0 but between a, c at index 1",
        ),
        (
            [(("a", "b"), 0), (("b", "a"), 0)],
            "group 'g' chooses between a, b at index 0 but between b, a at index 0",
        ),
    ],
    ids=range(6),
)
def test_forecasters_that_make_no_group_are_refused(
    members: list[tuple[tuple[str, ...], int]], line: str
) -> None:
    model = nn.ModuleList(
        Forecaster({name: nn.Identity() for name in names}, group="g", index=index)
        for names, index in members
    )
    with pytest.raises(ValueError, match=f"^{line}"):
        forecaster_groups(model)


def test_a_forecaster_that_sees_other_samples_in_the_same_pass_is_refused_for_sample_feedback() -> None:
    forecaster = Forecaster({"a": nn.Linear(2, 2), "b": nn.Identity()})
    groups = forecaster_groups(forecaster)
    with recording_mixture_grads(groups, per_sample=True):
        forecaster(torch.ones(3, 2))
        forecaster(torch.ones(3, 2))
        with pytest.raises(
            ValueError, match=r"called with 3 and then with 4 samples in one pass.*feedback='batch'"
        ):
            forecaster(torch.ones(4, 2))
    with recording_mixture_grads(groups, per_sample=False):
        forecaster(torch.ones(3, 2))
        forecaster(torch.ones(4, 2))


def test_replicas_share_their_mixture_weights_until_one_is_given_its_own(model: Model) -> None:
    group = forecaster_groups(model)["stage"]
    (first, second), (other, _) = group.replicas_ER
    for member in group.replicas_ER[1]:
        member.remove("wide")
    u_EK = torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.0, 0.1]], dtype=torch.float64)
    set_group_mixtures(group, u_EK, alive_EK=torch.tensor([[True, True, True], [True, False, True]]))
    assert first.mixture_K.data_ptr() == second.mixture_K.data_ptr()
    assert first.mixture_K.tolist() == [0.2, 0.5, 0.3]
    assert other.mixture_K.tolist() == [0.9, 0.1]
    first.set_mixture(torch.tensor([1.0, 0.0, 0.0]))
    assert first.mixture_K.tolist() == [1.0, 0.0, 0.0]
    assert second.mixture_K.tolist() == [0.2, 0.5, 0.3]
    assert other.mixture_K.tolist() == [0.9, 0.1]


def test_of_weights_that_choose_one_expert_only_that_is_computed(model: Model) -> None:
    group = forecaster_groups(model)["stage"]
    chosen_EK = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    alive_EK = torch.tensor([[True, False, True], [True, True, True]])
    for member in group.replicas_ER[0]:
        member.remove("wide")
    set_group_mixtures(group, chosen_EK, alive_EK=alive_EK, one_hot=True)
    inputs = torch.randn(2, 3, dtype=torch.float64)
    for replicas_R, place in zip(group.replicas_ER, (1, 1), strict=True):
        for member in replicas_R:
            torch.testing.assert_close(member(inputs), member.experts[place](inputs))
