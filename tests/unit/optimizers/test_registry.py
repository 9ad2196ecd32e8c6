"""Every optimizer repeats by its seed, goes on from its state bit for bit, and says what is wrong."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xnas.optimizers.base import ArchitectureOptimizer
from xnas.optimizers.registry import BASELINES, METHODS, baseline
from xnas.optimizers.xnas import XNAS
from xnas.space.forecaster import Forecaster

from ...helpers.small_models import Twins, losses, one_round

ROUNDS = 12


class Run:
    """A model, its weight optimizer, and what learns its architecture."""

    def __init__(self, name: str, *, seed: int = 0, fast: bool = True, **settings: Any) -> None:
        self.model = Twins()
        self.sgd = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        if fast and name not in ("random", "xnas", "paper"):
            settings.setdefault("step_size", 0.5)  # so that a dozen rounds decide something, and ASAP prunes
        self.optimizer: ArchitectureOptimizer
        if name in ("xnas", "paper"):
            self.optimizer = XNAS(
                self.model,
                rounds=ROUNDS,
                batch_size=8,
                weight_optimizer=self.sgd,
                reward_bound=None if name == "xnas" else 0.05,
                **settings,
                feedback="batch" if name == "xnas" else "sample",
            )
        else:
            self.optimizer = baseline(name)(
                self.model, rounds=ROUNDS, seed=seed, weight_optimizer=self.sgd, **settings
            )

    def round(self, number: int) -> list[str]:
        self.sgd.zero_grad()
        losses(self.model, seed=number).mean().backward()
        self.sgd.step()
        return one_round(self.optimizer, self.model, seed=100 + number)

    def state(self) -> dict[str, bytes]:
        tensors = {
            **{f"network.{name}": value for name, value in self.model.state_dict().items()},
            **{f"experts.{name}": value for name, value in self.optimizer.state_dict().items()},
            **{
                f"mixture.{name}.{i}": member.mixture_K
                for name, group in self.optimizer.groups.items()
                for i, member in enumerate(group)
            },
        }
        return {name: value.detach().numpy().tobytes() for name, value in tensors.items()}


def test_every_optimizer_has_a_name_that_a_search_knows() -> None:
    assert tuple(METHODS) == ("xnas", "paper", *BASELINES)
    with pytest.raises(
        ValueError, match=r"^unknown method 'gdsa'; did you mean 'gdas'\? Known: gd, momentum"
    ):
        baseline("gdsa")


@pytest.mark.parametrize("name", METHODS)
def test_one_that_goes_on_from_a_state_ends_as_one_that_never_stopped(name: str) -> None:
    whole = Run(name)
    left = [expert for number in range(ROUNDS) for expert in whole.round(number)]
    assert bool(left) == (name in ("xnas", "paper", "asap"))
    for stop in (0, 1, 5, ROUNDS - 1):
        first = Run(name)
        gone = [expert for number in range(stop) for expert in first.round(number)]
        later = Run(name, seed=99)  # whatever it has drawn so far is forgotten
        later.optimizer.load_state_dict(first.optimizer.state_dict())
        later.model.load_state_dict(first.model.state_dict())
        for mine, other in zip(later.model.parameters(), first.model.parameters(), strict=True):
            if other in first.sgd.state:
                later.sgd.state[mine] = {
                    key: value.clone() if isinstance(value, torch.Tensor) else value
                    for key, value in first.sgd.state[other].items()
                }
        assert later.state() == first.state()
        gone += [expert for number in range(stop, ROUNDS) for expert in later.round(number)]
        assert later.state() == whole.state()
        assert gone == left


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_run(name: str) -> None:
    first, second = Run(name, seed=3), Run(name, seed=3)
    for number in range(3):
        first.round(number)
        second.round(number)
    assert first.state() == second.state()


@pytest.mark.parametrize("name", METHODS)
def test_weights_are_a_mixture_that_only_the_living_have_a_share_in(name: str) -> None:
    run = Run(name)
    for number in range(ROUNDS):
        run.round(number)
        for group in run.optimizer.groups:
            learner = run.optimizer.learners[group]
            for u_EK in (learner.mixture_EK, learner.weights_EK):
                assert u_EK.dtype == torch.float64
                torch.testing.assert_close(u_EK.sum(dim=-1), torch.ones(len(u_EK)).double())
                assert (u_EK >= 0).all()
                assert not u_EK[~learner.alive_EK].any()
            assert learner.log_v_EK.argmax(dim=-1).tolist() == learner.mixture_EK.argmax(dim=-1).tolist()
            feedbacks = (16 if group == "twins" else 8) if name == "paper" else 1
            assert learner.num_feedbacks == (number + 1) * feedbacks


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "random"])
@pytest.mark.parametrize("good_first", [True, False])
def test_a_rival_finds_the_expert_that_fits(name: str, good_first: bool) -> None:
    torch.manual_seed(0)
    good, bad = nn.Linear(4, 3).double(), nn.Linear(4, 3).double()
    inputs = torch.randn(512, 4, dtype=torch.float64)
    labels = good(inputs).argmax(dim=1)
    experts = {"good": good, "bad": bad}
    model = Forecaster(experts if good_first else dict(reversed(experts.items()))).double()
    sgd = torch.optim.SGD(model.parameters(), lr=0.01)
    optimizer = baseline(name)(model, rounds=64, step_size=0.1, weight_optimizer=sgd)
    for ids in torch.arange(512).split(8):

        def forecast(ids: torch.Tensor = ids) -> torch.Tensor:
            return F.cross_entropy(model(inputs[ids]), labels[ids], reduction="none")

        optimizer.measure(forecast, training=forecast)
        optimizer.step()
    assert optimizer.best("default") == ("good",)


@pytest.mark.parametrize("name", BASELINES)
def test_settings_out_of_range_are_answered_in_one_line(name: str) -> None:
    kind = baseline(name)
    model = Twins()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"^rounds must be at least 1; got 0$"):
        kind(model, rounds=0, weight_optimizer=sgd)
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^step_size must be positive and finite; got "):
            kind(model, rounds=1, step_size=bad, weight_optimizer=sgd)
        with pytest.raises(ValueError, match=r"weight_decay must not be negative; got|has no weight decay"):
            kind(model, rounds=1, weight_decay=bad, weight_optimizer=sgd)
    with pytest.raises(ValueError, match="Linear holds no Forecaster"):
        kind(torch.nn.Linear(1, 1), rounds=1, weight_optimizer=sgd)


def test_settings_say_what_a_rule_is_fixed_by() -> None:
    assert str(Run("darts", fast=False).optimizer.settings["twins"]) == (
        "twins: 1 forecasters, N = 3 experts, 2 replicas, feedback per batch, T = 12 feedbacks, eta = 0.0003, DARTS, "
        "first order, Adam with betas 0.5 and 0.999, weight decay 0.001"
    )
    assert str(Run("random").optimizer.settings["head"]) == (
        "head: 1 forecasters, N = 2 experts, 1 replicas, drawn uniformly at random"
    )
