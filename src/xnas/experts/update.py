"""The exponentiated-gradient update of the expert weights (algorithm 1, lines 8-10) and their mixture (equation 1).

E: forecasters of a group; K: experts of each; F: feedbacks measured at the same weights.
v: unnormalised weights, kept as log v; u = v / sum(v): mixture weights; R: rewards; L: bound on |R|; eta: step size.
"""

import torch
from torch import Tensor


def mixture(log_v_EK: Tensor, alive_EK: Tensor) -> Tensor:
    """u: the weights of the experts alive, each row summing to one; exactly zero for the wiped (equation 1)."""
    return log_v_EK.masked_fill(~alive_EK, -torch.inf).softmax(dim=-1)


def clip_rewards(rewards: Tensor, *, reward_bound: float) -> Tensor:
    """Rewards limited to [-L, L], one by one (line 9)."""
    return rewards.clamp(-reward_bound, reward_bound)


def eg_update(
    log_v_EK: Tensor,
    rewards_FEK: Tensor,
    *,
    step_size: float,
    reward_bound: float,
    unit_E1: float | Tensor = 1.0,
) -> Tensor:
    """log v after F feedbacks: v <- v * exp(eta R) for each of them, R clipped to [-L, L] (lines 8-10).

    Every feedback is clipped before they are summed: one outlying sample moves an expert by eta L at most. Without a
    reward bound L is infinite and rewards count in units of their own size (scale.py).
    """
    clipped_FEK = clip_rewards(rewards_FEK.to(log_v_EK.dtype), reward_bound=reward_bound)
    return log_v_EK + step_size * clipped_FEK.sum(dim=0) / unit_E1
