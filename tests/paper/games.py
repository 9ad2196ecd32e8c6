"""Games of prediction with expert advice, many played at once by the product's own update, wipeout and ledger.

E: games, all by the same rule; K: experts of each, N of them; F: feedbacks at the same weights.
R: rewards; L: bound on |R|; eta: step size; t: feedbacks so far; T: horizon; gamma_t: aggregated wipeout factor.

Rewards are rounded to multiples of L / 2^40, and L is a power of two: their sums are exact in float64 up to T = 8,192,
so that the best expert in hindsight is known and a tie is a tie. All that rounds is the code under test.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xnas.experts.regret import RegretLedger, RegretSummary
from xnas.experts.state import ExpertRule, ExpertState, update_experts

QUANTUM = 2.0**-40
"""Rewards are multiples of it, in units of L."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What an opponent knows when it chooses the next rewards, of all its games."""

    t: int
    horizon: int
    totals_EK: Tensor
    """Sums of the rewards of all experts, the wiped ones too, in units of L: exact."""
    alive_EK: Tensor
    mixture_EK: Tensor
    """u"""

    def of(self, games: slice) -> "Moment":
        """The same of some of the games."""
        return Moment(
            t=self.t,
            horizon=self.horizon,
            totals_EK=self.totals_EK[games],
            alive_EK=self.alive_EK[games],
            mixture_EK=self.mixture_EK[games],
        )


Opponent = Callable[[Moment], Tensor]
"""Chooses the rewards of all experts, shape (E, K), in units of L; what is outside [-1, 1] will be clipped."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """E games at their end. Totals and regrets are in units of L."""

    rule: ExpertRule
    state: ExpertState
    ledger: RegretLedger
    totals_EK: Tensor
    """Of all experts, also of those that were wiped: what each would have earned."""
    mixture_total_E: Tensor
    best_was_lost_E: Tensor
    """Whether at any t an expert was gone that was the best so far, or as good as the best: bool."""
    least_room_E: Tensor
    """Smallest of theorem 1's bound minus the regret against all experts, over all t; with F > 1, of its F^2 form."""
    worst_gamma_E: Tensor
    """Largest over all t of ln(gamma_t |I_t| / N)."""

    @property
    def num_experts(self) -> int:
        """N"""
        return self.totals_EK.shape[-1]

    @property
    def regret_E(self) -> Tensor:
        """Against the best of all experts in hindsight."""
        return self.totals_EK.amax(dim=-1) - self.mixture_total_E

    @property
    def best_E(self) -> Tensor:
        """The best expert in hindsight."""
        return self.totals_EK.argmax(dim=-1)

    @property
    def regret(self) -> RegretSummary:
        """What the ledger says, in units of reward."""
        return self.ledger.regret(self.state.alive_EK, rule=self.rule)

    @property
    def rounding(self) -> float:
        """What float64 may add to a regret, in units of L.

        log v is a sum of t numbers, each addition off by up to 2^-53 eta L t: it is as if every reward had been off by
        2^-53 L t. A softmax of N numbers is off by a few N 2^-53, and counts L at every t. The bound itself rounds too.
        """
        t, n = self.state.num_feedbacks, self.num_experts
        eta = self.rule.step_size * self.rule.reward_bound
        return 2.0**-52 * (t * (t + 8 * n) + 4 * (eta * t + math.log(n) / eta))


def theorem_1(rule: ExpertRule, num_experts: int, t: int, log_gamma_E: Tensor) -> Tensor:
    """Equation 3 as printed, eta T L^2 / 2 + ln N / eta - ln gamma / eta, in units of L."""
    eta = rule.step_size * rule.reward_bound
    return eta * t / 2 + math.log(num_experts) / eta - log_gamma_E / eta


def play(opponent: Opponent, *, games: int, experts: int, rule: ExpertRule, feedbacks: int = 1) -> Played:
    """Play `games` games to the horizon, with `feedbacks` feedbacks at the same weights."""
    state = ExpertState.initial(games, experts)
    ledger = RegretLedger.initial(games, experts)
    totals_EK = torch.zeros(games, experts, dtype=torch.float64)
    mixture_total_E = torch.zeros(games, dtype=torch.float64)
    lost_E = torch.zeros(games, dtype=torch.bool)
    least_room_E = torch.full((games,), torch.inf, dtype=torch.float64)
    worst_gamma_E = torch.full((games,), -torch.inf, dtype=torch.float64)
    squared = 0
    while state.num_feedbacks < rule.horizon:
        mixture_EK = state.mixture_EK
        chosen = []
        for t in range(state.num_feedbacks, min(state.num_feedbacks + feedbacks, rule.horizon)):
            moment = Moment(
                t=t,
                horizon=rule.horizon,
                totals_EK=totals_EK,
                alive_EK=state.alive_EK,
                mixture_EK=mixture_EK,
            )
            rewards_EK = (opponent(moment) / QUANTUM).round() * QUANTUM
            chosen.append(rewards_EK * rule.reward_bound)
            totals_EK = totals_EK + rewards_EK.clamp(-1, 1)
            mixture_total_E = mixture_total_E + (mixture_EK * rewards_EK.clamp(-1, 1)).sum(dim=-1)
        rewards_FEK = torch.stack(chosen)
        before, state = state, update_experts(state, rewards_FEK, rule=rule)
        ledger = ledger.record(rewards_FEK, before=before, after=state, reward_bound=rule.reward_bound)
        squared += len(chosen) ** 2

        best_E1 = totals_EK.amax(dim=-1, keepdim=True)
        lost_E |= ((totals_EK == best_E1) & ~state.alive_EK).any(dim=-1)
        room_E = theorem_1(rule, experts, squared, ledger.log_gamma_E) - (best_E1[:, 0] - mixture_total_E)
        least_room_E = torch.minimum(least_room_E, room_E)
        share_E = state.alive_EK.sum(dim=-1).double() / experts
        worst_gamma_E = torch.maximum(worst_gamma_E, ledger.log_gamma_E + share_E.log())
    return Played(
        rule=rule,
        state=state,
        ledger=ledger,
        totals_EK=totals_EK,
        mixture_total_E=mixture_total_E,
        best_was_lost_E=lost_E,
        least_room_E=least_room_E,
        worst_gamma_E=worst_gamma_E,
    )
