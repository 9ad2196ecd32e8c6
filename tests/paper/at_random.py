"""Settings of games at random, and what came of all games together."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import hypothesis
from hypothesis import strategies as st
from torch import Tensor

from xnas.experts.state import ExpertRule
from xnas.experts.step_size import optimal_step_size

from .games import Played, theorem_1


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the games of one batch share."""

    experts: int
    horizon: int
    bound: float
    eta_factor: float
    """eta / eta*"""
    seed: int

    def rule(self, *, zeta: float | None) -> ExpertRule:
        best = optimal_step_size(self.experts, horizon=self.horizon, reward_bound=self.bound)
        return ExpertRule(
            step_size=self.eta_factor * best, reward_bound=self.bound, horizon=self.horizon, zeta=zeta
        )


def some_settings(*, full: bool) -> st.SearchStrategy[Setting]:
    """N from 2 to 32, eta from eta*/100 to 100 eta*, T up to 2,000, or 300 where time is short."""
    longest = 2000 if full else 300
    return st.builds(
        Setting,
        experts=st.integers(2, 32),
        horizon=st.one_of(st.integers(1, 40), st.integers(1, longest), st.just(longest)),
        bound=st.integers(-4, 4).map(lambda power: 2.0**power),
        eta_factor=st.one_of(st.sampled_from([0.01, 1.0, 100.0]), st.floats(-2, 2).map(lambda x: 10**x)),
        seed=st.integers(0, 2**32 - 1),
    )


def for_some(count: int) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Hypothesis's settings: the same `count` examples every time, nothing kept on disk, and no search for smaller
    failures, which would play thousands of games more.
    """
    return hypothesis.settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
    )


class Tally:
    """How many games there were, how close they came, and whether anything happened in them."""

    def __init__(self) -> None:
        self.games = self.with_wipeout = 0
        self.largest_share = self.largest_gamma_share = 0.0
        self.least_room = math.inf

    def add(self, played: Played, *, regret_E: Tensor | None = None) -> None:
        """Games at their end, and their regret, if it is not that of the rewards."""
        self.games += len(played.totals_EK)
        self.with_wipeout += int((~played.state.alive_EK).any(dim=-1).sum())
        self.least_room = min(self.least_room, float(played.least_room_E.min()))
        log_gamma_E = played.ledger.log_gamma_E
        bound_E = theorem_1(played.rule, played.num_experts, played.state.num_feedbacks, log_gamma_E)
        self.largest_share = max(
            self.largest_share, float(((played.regret_E if regret_E is None else regret_E) / bound_E).max())
        )
        gamma_share = float(log_gamma_E.max()) / math.log(played.num_experts)
        self.largest_gamma_share = max(self.largest_gamma_share, gamma_share)

    def __str__(self) -> str:
        return (
            f"{self.games:,} games, {self.with_wipeout:,} with a wipeout, regret up to {self.largest_share:.3f} of "
            f"equation 3, room under the bound at least {self.least_room:.2g} L, "
            f"ln gamma up to {self.largest_gamma_share:.3f} ln N"
        )
