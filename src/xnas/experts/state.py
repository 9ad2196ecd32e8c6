"""The state of a group's experts, and the rule that moves it on (algorithm 1, lines 7-14).

E: forecasters of a group; K: experts of each; F: feedbacks of one round.
t: feedbacks received so far; T: the horizon.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xnas.experts.scale import RewardScale, centred
from xnas.experts.step_size import check_positive
from xnas.experts.update import eg_update, mixture
from xnas.experts.wipeout import survivors


@dataclass(frozen=True, kw_only=True)
class ExpertRule:
    """Constants of algorithm 1. T, t and eta count in the same unit, the feedback."""

    step_size: float
    """eta, in nats of log v per unit of reward."""
    reward_bound: float = 1.0
    """L: every reward is clipped to [-L, L] (line 9)."""
    horizon: int
    """T, in feedbacks."""
    zeta: float | None = 1.0
    """Relaxation of the wipeout threshold, in (0, 1]; below 1 the regret bound no longer holds (section 3.2.1).
    None: nobody is ever wiped out."""

    def __post_init__(self) -> None:
        if not 0 <= self.step_size < float("inf"):  # zero is a lone expert's
            raise ValueError(f"step_size must be finite and not negative; got {self.step_size}")
        check_positive("reward_bound", self.reward_bound)
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1 feedback; got {self.horizon}")
        if self.zeta is not None and not 0 < self.zeta <= 1:
            raise ValueError(f"zeta must lie in (0, 1]; got {self.zeta}")


@dataclass(frozen=True, kw_only=True)
class ExpertState:
    """Weights and survivors of E forecasters with K experts each."""

    log_v_EK: Tensor
    """float64, whatever the network's type. A wiped expert keeps the distance to the leader it was wiped with."""
    alive_EK: Tensor
    """bool"""
    num_feedbacks: int = 0
    """t"""

    @classmethod
    def initial(cls, num_forecasters: int, num_experts: int) -> "ExpertState":
        """Return the state with all experts alive and equal, v = 1 (line 2)."""
        shape = (num_forecasters, num_experts)
        return cls(
            log_v_EK=torch.zeros(shape, dtype=torch.float64),
            alive_EK=torch.ones(shape, dtype=torch.bool),
        )

    @property
    def mixture_EK(self) -> Tensor:
        """u, float64: rows sum to one, wiped experts have exactly zero (equation 1)."""
        return mixture(self.log_v_EK, self.alive_EK)


def update_experts(state: ExpertState, rewards_FEK: Tensor, *, rule: ExpertRule) -> ExpertState:
    """The state after F more feedbacks: exponentiated-gradient step, then wipeout (lines 7-14).

    Rewards of wiped experts are ignored.
    """
    log_v_EK = eg_update(
        state.log_v_EK, rewards_FEK, step_size=rule.step_size, reward_bound=rule.reward_bound
    )
    return _apply_wipeout(
        state, log_v_EK, feedbacks=len(rewards_FEK), reward_bound=rule.reward_bound, rule=rule
    )


def update_experts_scaled(
    state: ExpertState, scale: RewardScale, rewards_EK: Tensor, *, rule: ExpertRule
) -> tuple[ExpertState, RewardScale]:
    """State and scale after a round whose rewards count in units of their own size (scale.py).

    Of the rule eta, T and zeta hold, in these units and in rounds; there is nothing to clip.
    """
    rewards_EK = centred(rewards_EK.double(), state.alive_EK)
    after = scale.after(rewards_EK, step_size=rule.step_size)
    shrink_E1 = (scale.unit_E / after.unit_E)[:, None]
    before = replace(state, log_v_EK=state.log_v_EK * shrink_E1)
    log_v_EK = eg_update(
        before.log_v_EK,
        rewards_EK[None],
        step_size=rule.step_size,
        reward_bound=torch.inf,
        unit_E1=after.unit_E[:, None],
    )
    largest_E1 = (after.largest_E / after.unit_E)[:, None]
    return _apply_wipeout(before, log_v_EK, feedbacks=1, reward_bound=largest_E1, rule=rule), after


def _apply_wipeout(
    before: ExpertState, log_v_EK: Tensor, *, feedbacks: int, reward_bound: float | Tensor, rule: ExpertRule
) -> ExpertState:
    """The state with new log-weights of the living, after the wipeout."""
    # Later rewards say nothing about an expert that is gone. Only differences of log v mean anything, so it
    # keeps its distance to the leader: left where it was, it would seem to gain whenever all rewards are negative.
    shift_E1 = _lead(log_v_EK, before.alive_EK) - _lead(before.log_v_EK, before.alive_EK)
    log_v_EK = torch.where(before.alive_EK, log_v_EK, before.log_v_EK + shift_E1)
    num_feedbacks = before.num_feedbacks + feedbacks
    alive_EK = before.alive_EK
    if rule.zeta is not None:
        alive_EK = survivors(
            log_v_EK,
            alive_EK,
            step_size=rule.step_size,
            reward_bound=reward_bound,
            num_feedbacks=num_feedbacks,
            feedbacks_left=rule.horizon - num_feedbacks,
            zeta=rule.zeta,
        )
    return ExpertState(log_v_EK=log_v_EK, alive_EK=alive_EK, num_feedbacks=num_feedbacks)


def _lead(log_v_EK: Tensor, alive_EK: Tensor) -> Tensor:
    return log_v_EK.masked_fill(~alive_EK, -torch.inf).amax(dim=-1, keepdim=True)
