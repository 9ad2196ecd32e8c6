"""The wipeout of experts that can no longer take the lead (algorithm 1, lines 12-13; section 3.2.1 for zeta).

E: forecasters of a group; K: experts of each. v: weights, kept as log v; eta: step size; L: bound on |R|;
T - t: feedbacks still to come; zeta: relaxation of the threshold.
"""

import torch
from torch import Tensor


def survivors(
    log_v_EK: Tensor,
    alive_EK: Tensor,
    *,
    step_size: float,
    reward_bound: float,
    feedbacks_left: int,
    zeta: float = 1.0,
) -> Tensor:
    """Which experts stay alive: those less than 2 eta L (T - t) zeta below their forecaster's leader, in log v.

    With zeta = 1 an expert below that line loses even if it earned L and the leader -L ever after (lemma 1).
    Past the horizon nothing is to come, and only the leaders stay.
    """
    best_E1 = log_v_EK.masked_fill(~alive_EK, -torch.inf).amax(dim=-1, keepdim=True)
    # Compared as logarithms: at the paper's settings 2 eta L T is 11,170,
    # and exp(-11,170) is zero even in float64.
    return alive_EK & (log_v_EK >= best_E1 - 2 * step_size * reward_bound * max(feedbacks_left, 0) * zeta)
