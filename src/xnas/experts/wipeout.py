"""The wipeout of experts that can no longer take the lead (algorithm 1, lines 12-13; section 3.2.1 for zeta).

E: forecasters of a group; K: experts of each. v: weights, kept as log v; eta: step size; L: bound on |R|;
t: feedbacks received; T - t: feedbacks still to come; zeta: relaxation of the threshold.
"""

import torch
from torch import Tensor


def survivors(
    log_v_EK: Tensor,
    alive_EK: Tensor,
    *,
    step_size: float,
    reward_bound: float | Tensor,
    num_feedbacks: int,
    feedbacks_left: int,
    zeta: float = 1.0,
) -> Tensor:
    """Mask of the experts that stay alive, at most 2 eta L (T - t) zeta below their forecaster's leader, in log v.

    With zeta = 1 an expert below that line loses even if it earned L and the leader -L ever after (lemma 1).
    Past the horizon nothing is to come, and only the leaders stay. In doubt, because float64 rounds, experts stay.
    """
    best_E1 = log_v_EK.masked_fill(~alive_EK, -torch.inf).amax(dim=-1, keepdim=True)
    # Compared as logarithms: at the paper's settings 2 eta L T is 11,170,
    # and exp(-11,170) is zero even in float64.
    line_E1 = best_E1 - 2 * step_size * reward_bound * max(feedbacks_left, 0) * zeta
    return alive_EK & (log_v_EK >= line_E1 - _rounding(num_feedbacks, step_size * reward_bound))


def _rounding(num_feedbacks: int, largest_step: float | Tensor) -> float | Tensor:
    """Bound on how far rounding may have moved an expert against the line, in nats.

    log v is a sum of up to t numbers of size eta L, and every addition is off by up to 2^-53 eta L t. Without this an
    expert exactly on the line could go that would have been the best by the horizon, or as good as the best.
    In units of eta L it is 9e-10 after 2,000 feedbacks and 0.01 at the paper's 7,500,000.
    """
    return 2.0**-52 * largest_step * (num_feedbacks + 3) ** 2
