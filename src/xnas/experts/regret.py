"""The regret ledger: how far the mixture stays behind its best expert, and theorem 1's bound on that (section 3.1).

E: forecasters of a group; K: experts of each, N of them; F: feedbacks measured at the same weights.
t: feedbacks so far; L: bound on |R|; eta: step size; gamma_t: the aggregated wipeout factor, the product over all
updates of Gamma = (weight of the experts before the wipeout) / (weight of its survivors), which is at least 1.

The regret is linearised: sums of the clipped rewards R, where section 3.1 sums losses. For convex losses, and where no
reward is clipped, it is at least as large as the regret of the losses. A wiped expert gets no
rewards, so the regret is against the survivors; with zeta = 1 the best expert in hindsight is one of them (lemma 1).

Theorem 1 takes an update after every feedback. F feedbacks at the same weights make one update of size up to eta F L,
and what Hoeffding's lemma then gives for it is eta L^2 F^2 / 2: F times theorem 1's share. Both bounds are kept here.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xnas.experts.scale import RewardScale
from xnas.experts.state import ExpertRule, ExpertState
from xnas.experts.step_size import check_positive
from xnas.experts.update import clip_rewards


def regret_bound(
    num_experts: int,
    *,
    step_size: float,
    reward_bound: float,
    squared_feedbacks: int,
    log_gamma: float = 0.0,
) -> float:
    """The bound on the regret, (eta L^2 / 2) sum F^2 + (ln N - ln gamma) / eta, in units of reward.

    With an update after each of t feedbacks `squared_feedbacks`, the sum of F^2 over all updates, is t, and this is
    theorem 1 (equation 3). A lone expert is its own mixture: its regret and its bound are zero.
    Raises ValueError for fewer than one expert and, with more, a step size or reward bound that is not positive.
    """
    if num_experts < 1:
        raise ValueError(f"num_experts must be at least 1; got {num_experts}")
    if num_experts == 1:
        return 0.0
    check_positive("reward_bound", reward_bound)
    if not step_size > 0:
        raise ValueError(f"step_size must be positive for the bound to exist; got {step_size}")
    return (
        step_size * reward_bound**2 * squared_feedbacks / 2 + (math.log(num_experts) - log_gamma) / step_size
    )


@dataclass(frozen=True, kw_only=True)
class RegretSummary:
    """Regret, bounds and reward statistics, float64, shape (E,) each. Rewards are in units of the loss."""

    regret_E: Tensor
    """Linearised, of clipped rewards, against the best survivor."""
    theorem_E: Tensor
    """Theorem 1's bound, as equation 3 has it: t feedbacks, each followed by an update."""
    bound_E: Tensor
    """The bound that holds for the updates as they were made, several feedbacks at once."""
    bound_without_wipeout_E: Tensor
    """`bound_E` without the wipeout's term, ln gamma = 0."""
    log_gamma_E: Tensor
    clip_rate_E: Tensor
    """Share of the rewards that were clipped."""
    reward_size_E: Tensor
    """Mean of |R| before clipping."""

    @property
    def gap_E(self) -> Tensor:
        """Bound minus regret."""
        return self.bound_E - self.regret_E

    @property
    def holds_E(self) -> Tensor:
        """Mask of the forecasters whose regret is within its bound, up to rounding: bool."""
        return self.regret_E <= self.bound_E + 1e-9 * self.bound_E.abs().clamp_min(1)


@dataclass(frozen=True, kw_only=True)
class RegretLedger:
    """Cumulative rewards, wipeout factors and counts: as large after a million feedbacks as after one."""

    rewards_EK: Tensor
    """Cumulative clipped rewards of every expert, as long as it lived: float64."""
    mixture_rewards_E: Tensor
    """Cumulative rewards of the mixture, sum_i u_i R_i of the clipped R: float64."""
    log_gamma_E: Tensor
    """ln of the aggregated wipeout factor: float64."""
    reward_sizes_EK: Tensor
    """Sum of |R| before clipping: float64."""
    clipped_EK: Tensor
    """Rewards that were clipped: int64."""
    num_rewards_EK: Tensor
    """Rewards received: int64."""
    num_feedbacks: int = 0
    """t"""
    squared_feedbacks: int = 0
    """Sum of F^2 over all updates."""

    @classmethod
    def initial(cls, num_forecasters: int, num_experts: int) -> "RegretLedger":
        """Return the ledger of a search without feedback."""
        shape = (num_forecasters, num_experts)
        return cls(
            rewards_EK=torch.zeros(shape, dtype=torch.float64),
            mixture_rewards_E=torch.zeros(num_forecasters, dtype=torch.float64),
            log_gamma_E=torch.zeros(num_forecasters, dtype=torch.float64),
            reward_sizes_EK=torch.zeros(shape, dtype=torch.float64),
            clipped_EK=torch.zeros(shape, dtype=torch.int64),
            num_rewards_EK=torch.zeros(shape, dtype=torch.int64),
        )

    def record(
        self, rewards_FEK: Tensor, *, before: ExpertState, after: ExpertState, reward_bound: float
    ) -> "RegretLedger":
        """The ledger after an update from state `before` to state `after` by F feedbacks."""
        alive_EK = before.alive_EK
        rewards_FEK = torch.where(alive_EK, rewards_FEK.double(), 0.0)
        clipped_EK = clip_rewards(rewards_FEK, reward_bound=reward_bound).sum(dim=0)
        sizes_FEK = rewards_FEK.abs()
        num_feedbacks = len(rewards_FEK)
        return RegretLedger(
            rewards_EK=self.rewards_EK + clipped_EK,
            mixture_rewards_E=self.mixture_rewards_E + (before.mixture_EK * clipped_EK).sum(dim=-1),
            log_gamma_E=self.log_gamma_E + log_wipeout_factor(before, after),
            reward_sizes_EK=self.reward_sizes_EK + sizes_FEK.sum(dim=0),
            clipped_EK=self.clipped_EK + (sizes_FEK > reward_bound).sum(dim=0),
            num_rewards_EK=self.num_rewards_EK + num_feedbacks * alive_EK,
            num_feedbacks=self.num_feedbacks + num_feedbacks,
            squared_feedbacks=self.squared_feedbacks + num_feedbacks**2,
        )

    def regret(
        self, alive_EK: Tensor, *, rule: ExpertRule, scale: RewardScale | None = None
    ) -> RegretSummary:
        """Regret and bounds so far, of the experts that `alive_EK` says are left and the rule that they learn by.

        With a scale all is in units of it, and all bounds are the one that holds then (scale.py).
        """
        if scale is not None:
            bound_E = scale.bound(alive_EK.shape[-1], step_size=rule.step_size)
            plain = self._in_units(scale.unit_E).regret(alive_EK, rule=rule)
            return replace(plain, bound_E=bound_E, theorem_E=bound_E, bound_without_wipeout_E=bound_E)
        best_E = self.rewards_EK.masked_fill(~alive_EK, -torch.inf).amax(dim=-1)
        num_rewards_E = self.num_rewards_EK.sum(dim=-1).clamp_min(1)

        def bounds_E(squared_feedbacks: int, log_gamma_E: Tensor) -> Tensor:
            return torch.tensor(
                [
                    regret_bound(
                        alive_EK.shape[-1],
                        step_size=rule.step_size,
                        reward_bound=rule.reward_bound,
                        squared_feedbacks=squared_feedbacks,
                        log_gamma=log_gamma,
                    )
                    for log_gamma in log_gamma_E.tolist()
                ],
                dtype=torch.float64,
            )

        return RegretSummary(
            regret_E=best_E - self.mixture_rewards_E,
            theorem_E=bounds_E(self.num_feedbacks, self.log_gamma_E),
            bound_E=bounds_E(self.squared_feedbacks, self.log_gamma_E),
            bound_without_wipeout_E=bounds_E(self.squared_feedbacks, torch.zeros_like(self.log_gamma_E)),
            log_gamma_E=self.log_gamma_E,
            clip_rate_E=self.clipped_EK.sum(dim=-1) / num_rewards_E,
            reward_size_E=self.reward_sizes_EK.sum(dim=-1) / num_rewards_E,
        )

    def _in_units(self, unit_E: Tensor) -> "RegretLedger":
        return replace(
            self,
            rewards_EK=self.rewards_EK / unit_E[:, None],
            mixture_rewards_E=self.mixture_rewards_E / unit_E,
            reward_sizes_EK=self.reward_sizes_EK / unit_E[:, None],
        )


def log_wipeout_factor(before: ExpertState, after: ExpertState) -> Tensor:
    """ln Gamma of an update: the weight of all experts alive before it over the weight of its survivors, shape (E,).

    Lemma 2, sharper, and for every zeta: everyone wiped out weighs less than every survivor, so the wiped weigh less on
    average, and Gamma_t <= |I_(t-1)| / |I_t|, equal only if nobody went. The product telescopes: gamma_T <= N / |I_T|,
    equal only if nobody ever went. So 1 <= gamma_T < N, for N > 1; for a lone expert gamma_T = 1 = N.
    """
    # From the leader down, who is alive before and after: ln v itself may be thousands, and so much coarser.
    lead_E1 = after.log_v_EK.masked_fill(~after.alive_EK, -torch.inf).amax(dim=-1, keepdim=True)

    def log_weight_E(alive_EK: Tensor) -> Tensor:
        return (after.log_v_EK - lead_E1).masked_fill(~alive_EK, -torch.inf).logsumexp(dim=-1)

    return log_weight_E(before.alive_EK) - log_weight_E(after.alive_EK)
