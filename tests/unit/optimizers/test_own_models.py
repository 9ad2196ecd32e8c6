"""Models of an engineer's own: what they share, skip, nest and get wrong.

Every rule of learning is tried; none may learn from what cannot be learned from.
"""

import copy
import itertools
import math
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.optimizers.base import ArchitectureOptimizer
from xnas.optimizers.registry import METHODS, baseline
from xnas.optimizers.xnas import XNAS
from xnas.space.forecaster import Forecaster

from ...helpers.small_models import Twins, batch, losses

ROUNDS, BATCH = 12, 8


def optimizer_of(name: str, model: nn.Module, sgd: torch.optim.SGD) -> ArchitectureOptimizer:
    if name == "xnas":
        return XNAS(model, rounds=ROUNDS, batch_size=BATCH, weight_optimizer=sgd)
    if name == "paper":
        return XNAS(
            model,
            rounds=ROUNDS,
            batch_size=BATCH,
            feedback="sample",
            reward_bound=1.0,
            weight_optimizer=sgd,
        )
    return baseline(name)(
        model, rounds=ROUNDS, step_size=None if name == "random" else 0.1, weight_optimizer=sgd
    )


def sgd_of(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)


def everything(optimizer: ArchitectureOptimizer, model: nn.Module) -> dict[str, bytes]:
    """All that a measurement must leave as it was when it is refused."""
    kept = {f"model.{name}": value for name, value in model.state_dict().items()}
    kept |= {f"experts.{name}": value for name, value in optimizer.state_dict().items()}
    kept |= {
        f"gradient.{name}": weight.grad
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }
    kept |= {
        f"mixture.{name}.{i}": member.mixture_K
        for name, group in optimizer.groups.items()
        for i, member in enumerate(group)
    }
    told = {name: value.detach().numpy().tobytes() for name, value in kept.items()}
    return told | {"gathered": str(optimizer._gradients).encode()}


def wipe(optimizer: ArchitectureOptimizer, group: str, expert: str) -> None:
    """Have an expert leave, whatever the rule thinks of it."""
    learner = optimizer.learners[group]
    alive_EK = learner.alive_EK.clone()
    alive_EK[:, optimizer.names(group).index(expert)] = False
    state = learner.state_dict() | {"alive_EK": alive_EK}
    learner.load_state_dict(state)
    optimizer._apply_to_model()


# What an expert shares stays.


class Hidden(nn.Module):
    """Uses a module that it does not register."""

    def __init__(self, hold: object) -> None:
        super().__init__()
        self.hold = hold

    def forward(self, inputs: Tensor) -> Tensor:
        hold: Any = self.hold
        if isinstance(hold, dict | list | tuple):
            hold = next(iter(hold.values())) if isinstance(hold, dict) else hold[0]
        if isinstance(hold, SimpleNamespace):
            hold = hold.inner
        if isinstance(hold, nn.Parameter):
            return inputs @ hold.T
        outputs: Tensor = hold(inputs)
        return outputs


def shared_ways(conv: nn.Linear) -> dict[str, nn.Module]:
    """Modules that use a module's weights."""
    tied = nn.Linear(4, 4)
    tied.weight = conv.weight

    def closure(inputs: Tensor) -> Tensor:
        return F.linear(inputs, conv.weight, conv.bias)

    return {
        "itself": conv,
        "inside": nn.Sequential(conv, nn.ReLU()),
        "in a dict": nn.Sequential(nn.ModuleDict({"c": conv})["c"], nn.Tanh()),
        "tied": tied,
        "in a list": Hidden([conv]),
        "in a tuple": Hidden((conv.weight,)),
        "by name": Hidden({"c": conv}),
        "in a closure": Hidden(closure),
        "by a partial": Hidden(partial(F.linear, weight=conv.weight)),
        "by a method": Hidden(conv.forward),
        "in an object": Hidden(SimpleNamespace(inner=conv)),
    }


WAYS = tuple(shared_ways(nn.Linear(4, 4)))
PLACES = ("expert", "body", "forecaster")


@pytest.mark.parametrize(("way", "where"), list(itertools.product(WAYS, PLACES)))
def test_what_something_still_uses_stays_in_the_weight_optimizer_as_it_was(way: str, where: str) -> None:
    torch.manual_seed(0)
    conv = nn.Linear(4, 4)
    other = shared_ways(conv)[way]
    first: dict[str, nn.Module] = {"shared": conv, "own": nn.Linear(4, 4), "id": nn.Identity()}
    second: dict[str, nn.Module] = {"x": nn.Tanh(), "y": nn.Linear(4, 4)}
    body: nn.Module = nn.Identity()
    match where:
        case "expert":
            first["user"] = other
        case "forecaster":
            second["user"] = other
        case _:
            body = other
    model = nn.Sequential(Forecaster(first), Forecaster(second), body, nn.Linear(4, 3)).double()
    sgd = sgd_of(model)
    for seed in range(2):
        sgd.zero_grad()
        losses(model, seed=seed).mean().backward()
        sgd.step()
    experts = optimizer_of("xnas", model, sgd)
    before = copy.deepcopy(sgd.state_dict())
    wipe(experts, "0", "shared")
    wipe(experts, "0", "own")
    moved = {id(weight) for group in sgd.param_groups for weight in group["params"]}
    assert id(conv.weight) in moved
    assert conv.weight in sgd.state
    assert len(moved) == len(before["param_groups"][0]["params"]) - 2 - (
        way in ("tied", "in a tuple", "by a partial")
    )
    old = conv.weight.detach().clone()
    sgd.zero_grad()
    losses(model).mean().backward()
    sgd.step()
    assert not torch.equal(conv.weight, old)


def test_what_nothing_uses_leaves_with_its_momentum() -> None:
    model = nn.Sequential(Forecaster({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)})).double()
    sgd = sgd_of(model)
    losses(model).mean().backward()
    sgd.step()
    gone = list(model[0].experts["a"].parameters())  # type: ignore[union-attr, operator, index]
    wipe(optimizer_of("xnas", model, sgd), "0", "a")
    assert not {id(w) for w in gone} & {id(w) for g in sgd.param_groups for w in g["params"]}
    assert not any(weight in sgd.state for weight in gone)


# What is not finite is refused.


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_refused_and_nothing_has_changed(name: str, bad: float) -> None:
    model = Twins()
    sgd = sgd_of(model)
    optimizer = optimizer_of(name, model, sgd)
    before = everything(optimizer, model)

    def spoilt(sample: int) -> Tensor:
        factors_B = torch.ones(BATCH, dtype=torch.float64)
        factors_B[sample:] = bad
        return losses(model) * factors_B

    for sample in (0, 5):
        with pytest.raises(
            ValueError, match=rf"^the loss of sample {sample} is (nan|inf|-inf); nothing was l"
        ):
            optimizer.measure(lambda: spoilt(sample), training=lambda: losses(model))  # noqa: B023
        assert everything(optimizer, model) == before
    with pytest.raises(ValueError, match="no gradients gathered"):
        optimizer.step()
    if name == "darts-2nd":
        with pytest.raises(ValueError, match=r"^the loss of sample 3 is "):
            optimizer.measure(lambda: losses(model), training=lambda: spoilt(3))
        assert everything(optimizer, model) == before
    # It goes on as one that never met it.
    plain = Twins()
    other = optimizer_of(name, plain, sgd_of(plain))
    for one, net in ((optimizer, model), (other, plain)):
        one.measure(lambda: losses(net), training=lambda: losses(net))  # noqa: B023
        one.step()
    assert everything(optimizer, model) == everything(other, plain)


class Root(nn.Module):
    """Its value is finite at zero; its gradient is not."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.abs().sqrt()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("gdas", "darts-2nd")])
def test_a_reward_that_is_not_finite_is_refused_naming_whose_it_is(name: str) -> None:
    model = nn.Sequential(Forecaster({"a": nn.Tanh(), "b": nn.Identity()}), Root())
    optimizer = optimizer_of(name, model, sgd_of(nn.Linear(1, 1)))
    inputs = torch.ones(BATCH, 4, dtype=torch.float64)
    inputs[6:] = 0  # where the gradient of the root is infinite, times an output of zero
    with pytest.raises(
        ValueError, match=r"^the reward of expert 'a' of forecaster '0'\[0\].* is nan; "
    ) as told:
        optimizer.measure(lambda: model(inputs).sum(dim=1))
    assert ("for sample 6" in str(told.value)) == (optimizer.feedback == "sample")
    assert not any(optimizer._gradients.values())


def test_an_input_that_is_not_finite_leaves_the_norms_as_they_were() -> None:
    model = nn.Sequential(
        nn.BatchNorm1d(4), Forecaster({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}), nn.BatchNorm1d(3)
    ).double()
    optimizer = optimizer_of("xnas", model, sgd_of(model))
    inputs, labels = batch()
    inputs[2, 1] = math.nan
    before = everything(optimizer, model)
    with pytest.raises(ValueError, match="the loss of sample 0 is nan"):  # the norm has spread it
        optimizer.measure(lambda: F.cross_entropy(model(inputs), labels, reduction="none"))
    assert everything(optimizer, model) == before


@pytest.mark.parametrize("name", ["xnas", "paper", "gd"])
def test_both_kinds_of_gradients_are_left_alone_by_what_is_refused(name: str) -> None:
    model = Twins()
    optimizer = optimizer_of(name, model, sgd_of(model))
    optimizer.measure(lambda: losses(model), with_weight_grads=True)
    once = {key: weight.grad.clone() for key, weight in model.named_parameters() if weight.grad is not None}
    before = everything(optimizer, model)
    with pytest.raises(ValueError, match="the loss of sample 0 is nan"):
        optimizer.measure(lambda: losses(model) * math.nan, with_weight_grads=True)
    assert everything(optimizer, model) == before
    optimizer.zero_grad()
    optimizer.measure(
        lambda: losses(model), with_weight_grads=True
    )  # adds to what they have, as backward does
    for key, weight in model.named_parameters():
        if key in once:
            torch.testing.assert_close(weight.grad, 2 * once[key])


@pytest.mark.parametrize("name", ["snas", "gdas", "xnas"])
def test_an_exception_of_the_closure_is_raised_and_leaves_all_as_it_was(name: str) -> None:
    model = Twins()
    optimizer = optimizer_of(name, model, sgd_of(model))
    before = everything(optimizer, model)

    def broken() -> Tensor:
        losses(model)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        optimizer.measure(broken)
    assert everything(optimizer, model) == before
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(
    ("returned", "line"),
    [
        (None, "got a NoneType"),
        (1.0, "got a float"),
        ("both", "got a tuple"),
        ("mean", r"got shape \(\)"),
        ("table", r"got shape \(8, 1\)"),
        ("whole", "got int64"),
        ("empty", "got none"),
    ],
)
def test_what_is_no_loss_for_each_sample_is_refused_in_one_line(returned: object, line: str) -> None:
    model = Twins()
    optimizer = optimizer_of("gaea", model, sgd_of(model))

    def closure() -> Any:
        given = losses(model)
        kinds = {
            "both": (given, given),
            "mean": given.mean(),
            "table": given[:, None],
            "whole": given.long(),
            "empty": given[:0],
        }
        return kinds.get(returned, returned) if isinstance(returned, str) else returned

    with pytest.raises(ValueError, match=f"^the closure must return one loss for each sample.*{line}$"):
        optimizer.measure(closure)


@pytest.mark.parametrize("how", ["no_grad", "outside", "detached", "another model"])
def test_a_closure_from_which_nothing_can_be_learned_is_refused(how: str) -> None:
    model, other = Twins(), Twins()
    optimizer = optimizer_of("paper", model, sgd_of(model))
    outside = losses(model)

    def closure() -> Tensor:
        if how == "no_grad":
            with torch.no_grad():
                return losses(model)
        if how == "detached":
            return losses(model).detach()
        return outside if how == "outside" else losses(other)

    with pytest.raises(ValueError, match="the losses do not depend on the forecasters; run the model inside"):
        optimizer.measure(closure)
    assert all(weight.grad is None for weight in model.parameters())


# A choice within a choice, and passes that do not reach all.


class Nested(nn.Module):
    """An outer choice, of which one expert holds an inner one; or two, in a list."""

    def __init__(self, *, inner_group: str | None = "inner", twice: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)

        def inner(index: int) -> Forecaster:
            experts: dict[str, nn.Module] = {"a": nn.Linear(4, 4), "b": nn.Tanh()}
            return Forecaster(experts, group=inner_group, index=index if inner_group else 0)

        parts = [inner(index) for index in range(1 + twice)]
        self.outer = Forecaster(
            {"nest": nn.Sequential(nn.Linear(4, 4), *parts), "rest": nn.Linear(4, 4), "id": nn.Identity()},
            group="outer",
        )
        self.head = nn.Linear(4, 3)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.outer(inputs))
        return outputs


def rounds_of(optimizer: ArchitectureOptimizer, model: nn.Module, sgd: torch.optim.SGD) -> Iterator[int]:
    for seed in range(ROUNDS):
        sgd.zero_grad()
        losses(model, seed=seed).mean().backward()
        sgd.step()
        optimizer.measure(lambda: losses(model, seed=50 + seed), training=lambda: losses(model, seed=seed))  # noqa: B023
        optimizer.step()
        yield seed


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("inner", ["inner", None])
def test_every_rule_goes_through_a_choice_within_a_choice(name: str, inner: str | None) -> None:
    model = Nested(inner_group=inner, twice=True)
    sgd = sgd_of(model)
    optimizer = optimizer_of(name, model, sgd)
    assert list(optimizer.groups) == (
        ["outer", "inner"] if inner else ["outer", "outer.experts.nest.1", "outer.experts.nest.2"]
    )
    for _ in rounds_of(optimizer, model, sgd):
        for group, members in optimizer.groups.items():
            assert set(members) & set(model.modules())
            assert optimizer.learners[group].alive_EK.any(dim=-1).all()
            assert optimizer.best(group)


@pytest.mark.parametrize("name", ["xnas", "paper", "asap"])
def test_a_group_that_left_with_an_expert_is_gone_and_a_later_process_knows(name: str) -> None:
    model = Nested()
    sgd = sgd_of(model)
    optimizer = optimizer_of(name, model, sgd)
    rounds = rounds_of(optimizer, model, sgd)
    next(rounds)
    wipe(optimizer, "outer", "nest")
    assert list(optimizer.groups) == ["outer"]
    before = optimizer.learners["inner"].num_feedbacks
    for _ in rounds:
        assert optimizer.learners["inner"].num_feedbacks == before

    later = Nested()
    resumed = optimizer_of(name, later, sgd_of(later))
    resumed.load_state_dict(optimizer.state_dict())
    assert list(resumed.groups) == ["outer"]
    assert later.outer.names == model.outer.names
    later.load_state_dict(model.state_dict())
    sgd.zero_grad()
    for one, net in ((optimizer, model), (resumed, later)):
        one.measure(lambda: losses(net))  # noqa: B023
        one.step()
    assert optimizer.state_dict().keys() == resumed.state_dict().keys()
    assert everything(optimizer, model) == everything(resumed, later)


def test_of_a_group_a_part_may_leave() -> None:
    class Two(nn.Module):
        """An inner choice inside an expert, and its replica outside."""

        def __init__(self) -> None:
            super().__init__()

            def inner() -> Forecaster:
                return Forecaster({"a": nn.Linear(4, 4), "b": nn.Tanh()}, group="inner")

            self.outer = Forecaster({"nest": inner(), "id": nn.Identity()}, group="outer")
            self.inner = inner()
            self.head = nn.Linear(4, 3)
            self.double()

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.head(self.inner(self.outer(inputs)))
            return outputs

    model = Two()
    sgd = sgd_of(model)
    optimizer = optimizer_of("paper", model, sgd)
    wipe(optimizer, "outer", "nest")
    assert list(optimizer.groups) == ["outer", "inner"]
    for _ in rounds_of(optimizer, model, sgd):
        pass
    assert len(model.inner.names) == 1  # decided at the horizon


class Skipping(nn.Module):
    """Stochastic depth: a pass may leave out either block, or both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(Forecaster({"a": nn.Linear(4, 4), "b": nn.Tanh()}) for _ in range(2))
        self.head = nn.Linear(4, 3)
        self.kept = (True, True)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.stem(inputs)
        for block, kept in zip(self.blocks, self.kept, strict=True):
            if kept:
                features = features + block(features)
        outputs: Tensor = self.head(features)
        return outputs


@pytest.mark.parametrize("name", METHODS)
def test_a_group_that_a_pass_does_not_reach_has_no_feedback_in_that_round(name: str) -> None:
    model = Skipping()
    optimizer = optimizer_of(name, model, sgd_of(model))
    unit = BATCH if name == "paper" else 1
    expected = [0, 0]
    for seed, kept in enumerate([(False, False), (True, False), (False, True), (True, True), (False, False)]):
        model.kept = kept
        before = {group: optimizer.log_weights(group).clone() for group in optimizer.groups}
        optimizer.measure(
            lambda: losses(model, seed=seed),  # noqa: B023
            training=lambda: losses(model, seed=9 + seed),  # noqa: B023
        )
        assert [len(optimizer.gradients(group)) > 0 for group in optimizer.groups] == list(kept)
        optimizer.step()
        for i, group in enumerate(optimizer.groups):
            expected[i] += unit * kept[i]
            assert optimizer.learners[group].num_feedbacks == expected[i]
            if not kept[i]:
                assert torch.equal(optimizer.log_weights(group), before[group])


# What a feedback is, and how many there are.


@pytest.mark.parametrize("name", [name for name in METHODS if name != "darts-2nd"])
def test_a_batch_measured_in_parts_is_one_batch(name: str) -> None:
    whole, parts = Twins(), Twins()
    one, several = optimizer_of(name, whole, sgd_of(whole)), optimizer_of(name, parts, sgd_of(parts))
    inputs, labels = batch()
    for _ in range(3):
        one.measure(lambda: F.cross_entropy(whole(inputs), labels, reduction="none"))
        one.step()
        for ids in (slice(0, 3), slice(3, 4), slice(4, 8)):
            several.measure(lambda: F.cross_entropy(parts(inputs[ids]), labels[ids], reduction="none"))  # noqa: B023
        several.step()
    for group in one.groups:
        assert one.learners[group].num_feedbacks == several.learners[group].num_feedbacks
        torch.testing.assert_close(one.log_weights(group), several.log_weights(group))


@pytest.mark.parametrize("feedback", ["sample", "replica", "batch"])
def test_a_wrong_batch_size_is_noticed_in_one_line(feedback: Any) -> None:
    def searching(batch_size: int) -> tuple[Twins, XNAS]:
        model = Twins()
        return model, XNAS(
            model, rounds=10, batch_size=batch_size, feedback=feedback, reward_bound=1.0, zeta=0.5
        )

    model, optimizer = searching(4)
    with pytest.raises(
        ValueError, match=r"^8 samples were measured since the last step, and batch_size is 4; "
    ):
        optimizer.measure(lambda: losses(model))
    assert not any(optimizer._gradients.values())
    model, optimizer = searching(16)
    optimizer.measure(lambda: losses(model))
    with pytest.raises(
        ValueError, match=r"^8 samples were measured since the last step, and batch_size is 16, "
    ):
        optimizer.step()
    optimizer.measure(lambda: losses(model, seed=1))  # the other half
    optimizer.step()
    assert optimizer.states["head"].num_feedbacks == (16 if feedback == "sample" else 1)
    optimizer.measure(
        lambda: losses(model)
    )  # an epoch's last batch may be smaller where T does not count samples
    if feedback == "sample":
        with pytest.raises(ValueError, match="by which T is counted"):
            optimizer.step()
    else:
        optimizer.step()
        assert optimizer.states["head"].num_feedbacks == 2


def test_losses_that_are_not_those_of_the_samples_are_refused_where_samples_count() -> None:
    model = Twins()
    optimizer = optimizer_of("paper", model, sgd_of(model))
    with pytest.raises(
        ValueError, match=r"^the closure returned 6 losses, but group 'twins' was called with 8"
    ):
        optimizer.measure(lambda: losses(model)[:6])


# Groups.


def test_choices_without_a_group_are_made_apart_and_named_for_their_places() -> None:
    model = nn.Sequential(
        Forecaster({"a": nn.Linear(4, 4), "b": nn.Identity()}),
        nn.ModuleDict({"deep": Forecaster({"a": nn.Linear(4, 4), "b": nn.Identity()})})["deep"],
        nn.Linear(4, 3),
    ).double()
    optimizer = optimizer_of("xnas", model, sgd_of(model))
    assert list(optimizer.groups) == ["0", "1"]
    assert all(group.num_replicas == 1 for group in optimizer.groups.values())
    wipe(optimizer, "0", "a")
    assert [member.names for group in optimizer.groups.values() for member in group] == [("b",), ("a", "b")]
    fresh = nn.Sequential(*(copy.deepcopy(part) for part in model)).double()
    assert list(optimizer_of("xnas", fresh, sgd_of(fresh)).groups) == ["0", "1"]


def test_wrappers_of_compilers_and_processes_do_not_change_what_a_group_is_called() -> None:
    class Compiled(nn.Module):
        """As torch.compile holds a module."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._orig_mod = module

    model = nn.Module()
    model.part = Compiled(nn.Sequential(Forecaster({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)})))
    for wrapped in (model, Compiled(model), nn.DataParallel(model), Compiled(nn.DataParallel(model))):
        assert list(optimizer_of("gaea", wrapped, sgd_of(model)).groups) == ["part.0"]


@pytest.mark.parametrize("seed", range(3))
def test_what_was_pruned_is_loaded_by_the_names_of_experts(seed: int) -> None:
    model = Twins()
    optimizer = optimizer_of("xnas", model, sgd_of(model))
    wipe(optimizer, "twins", "abc"[seed])
    pruned = model.state_dict()
    torch.manual_seed(seed + 1)
    whole = Twins()
    for weight in whole.parameters():
        nn.init.normal_(weight)
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    missing, unexpected = whole.load_state_dict(pruned, strict=False)
    assert not unexpected
    assert all(f".experts.{'abc'[seed]}." in name for name in missing)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, before[name] if name in missing else pruned[name])


def test_lazy_modules_may_be_made_by_the_first_measurement() -> None:
    model = nn.Sequential(
        Forecaster({"a": nn.LazyLinear(4), "b": nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())}),
        nn.LazyLinear(3),
    ).double()
    optimizer = optimizer_of("paper", model, sgd_of(model))
    optimizer.measure(lambda: losses(model))
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    optimizer.step()


def test_losses_to_train_by_that_need_no_gradients_are_refused_by_rules_that_step_ahead() -> None:
    model = Twins()
    optimizer = optimizer_of("darts-2nd", model, sgd_of(model))
    before = everything(optimizer, model)
    for _ in range(2):
        with pytest.raises(ValueError, match="do not depend on the forecasters"):
            optimizer.measure(lambda: losses(model), training=lambda: losses(model).detach())
        assert everything(optimizer, model) == before
