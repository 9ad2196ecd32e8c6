"""Who plays: XNAS, and softmax descent by plain gradient, with momentum, and by Adam with the settings of DARTS.

Everyone plays every game at a whole range of step sizes, so that nobody loses by a badly chosen one.

E: games; K: experts; T: horizon in rounds.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from xnas.experts.state import ExpertRule
from xnas.experts.step_size import check_positive, optimal_step_size
from xnas.optimizers.learner import Learner
from xnas.optimizers.softmax import SoftmaxLearner
from xnas.optimizers.xnas import XNASLearner
from xnas.report.figures.style import GROUPS
from xnas.theory.demonstration import Numbers

log = logging.getLogger(__name__)

Name = Literal["xnas", "gd", "momentum", "adam"]

MOMENTUM = 0.9
ADAM_BETAS = (0.5, 0.999)
"""Of DARTS, in its search of architectures (Liu, Simonyan, Yang, 2019)."""
DARTS_RATE, DARTS_ROUNDS = 3e-4, 19_500
"""Learning rate of DARTS, and its updates on CIFAR-10: 50 epochs of 390 batches."""
DARTS_DECAY = 1e-3


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A rule of learning, the step sizes that it is tried with, and how it is drawn."""

    name: Name
    label: str
    colour: str
    marker: str
    multiples: tuple[float, ...] = ()
    """Step sizes, as multiples of eta*."""
    rates: tuple[float, ...] = ()
    """Step sizes as they are."""

    def step_sizes(self, *, experts: int, rounds: int) -> tuple[float, ...]:
        """All that it is tried with in games of this size, ascending."""
        eta = optimal_step_size(experts, horizon=rounds)
        return (*(eta * multiple for multiple in self.multiples), *self.rates)


CONTENDERS = (
    Contender(
        name="xnas", label="XNAS", colour=GROUPS[0], marker="o", multiples=(1 / 4, 1 / 2, 1, 2, 4, 16)
    ),
    Contender(
        name="gd", label="softmax, gradient descent", colour=GROUPS[1], marker="s",
        multiples=(1 / 4, 1, 2, 4, 8, 16, 64),
    ),
    Contender(
        name="momentum", label=f"softmax, momentum {MOMENTUM}", colour=GROUPS[4], marker="^",
        multiples=(1 / 16, 1 / 4, 1 / 2, 1, 2, 8),
    ),
    Contender(
        name="adam", label="softmax, Adam, betas of DARTS", colour=GROUPS[3], marker="D",
        rates=(DARTS_RATE, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0),
    ),
)  # fmt: skip


def contender(name: str) -> Contender:
    """The contender of that name."""
    return next(each for each in CONTENDERS if each.name == name)


def build_learner(
    name: Name,
    *,
    games: int,
    experts: int,
    rounds: int,
    step_size: float,
    zeta: float | None = 1.0,
    log_v0_EK: Tensor | None = None,
) -> Learner:
    """A learner of so many games, which start at the weights v_0, all equal if None is given.

    Raises ValueError for a step size that is not positive, or a zeta out of (0, 1].
    """
    check_positive("step_size", step_size)
    if name == "xnas":
        rule = ExpertRule(step_size=step_size, horizon=rounds, zeta=zeta)
        learner = XNASLearner(games, experts, rule=rule)
        learner.ledger = None  # the game keeps its own sums, of wiped experts too
        if log_v0_EK is not None:
            learner.state = replace(learner.state, log_v_EK=log_v0_EK.clone())
        return learner
    softmax = SoftmaxLearner(games, experts, descent=lambda params: _descent(name, params, step_size))
    if log_v0_EK is not None:
        softmax.alpha_EK.copy_(log_v0_EK)
    return softmax


def _descent(name: Name, parameters: list[Tensor], rate: float) -> torch.optim.Optimizer:
    match name:
        case "gd":
            return torch.optim.SGD(parameters, lr=rate)
        case "momentum":
            return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM)
        case _:
            return torch.optim.Adam(parameters, lr=rate, betas=ADAM_BETAS)


def tournament(
    contenders: Sequence[Contender],
    *,
    games: int,
    experts: int,
    rounds: int,
    log_v0_EK: Tensor | None = None,
) -> Iterator[tuple[Contender, float, Learner]]:
    """Every contender with each of its step sizes, ready to play."""
    for each in contenders:
        step_sizes = each.step_sizes(experts=experts, rounds=rounds)
        log.info(f"{each.label}: {len(step_sizes)} step sizes, {games:,} games of {rounds:,} rounds each")
        for step_size in step_sizes:
            learner = build_learner(
                each.name,
                games=games,
                experts=experts,
                rounds=rounds,
                step_size=step_size,
                log_v0_EK=log_v0_EK,
            )
            yield each, step_size, learner


def step_words(played: Numbers) -> str:
    """The step size of a learner's game in words: as a multiple of eta*, Adam's as it is."""
    if played["learner"] == "adam":
        return f"rate {played['step_size']:g}"
    return "η*" if played["steps_of_eta"] == 1 else f"{played['steps_of_eta']:g} η*"


def tried(numbers: Numbers, learner: str) -> list[Numbers]:
    """What a learner did at every step size."""
    return [item for item in numbers["played"] if item["learner"] == learner]


def at_eta(numbers: Numbers, learner: Name) -> Numbers:
    """What a learner did at the step size nearest to eta*: for all but Adam that is eta* itself."""
    return min(tried(numbers, learner), key=lambda item: abs(item["steps_of_eta"] - 1))
