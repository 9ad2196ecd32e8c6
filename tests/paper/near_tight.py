"""An opponent that makes the mixture lose nearly as much as theorem 1 allows.

First half the experts earn L and the others -L, then the other way round, again and again: nobody gains, but whoever
has just gained weighs more and loses next, so that the mixture pays L tanh(eta L), nearly eta L^2, every second time.
That is the bound's first term. Then one expert earns L and the others -L: until it has all the weight, the mixture
pays another ln N / eta. That is the second.

With blocks of F feedbacks at the same weights, the first part costs F L tanh(eta F L) every 2 F feedbacks.
"""

import math

import torch
from torch import Tensor

from xnas.experts.state import ExpertRule

from .games import Moment, Opponent


def nearly_tight(experts: int, *, rule: ExpertRule, feedbacks: int = 1, certainty: float = 3.0) -> Opponent:
    """For games of one rule. The second part ends `certainty` nats after the winner has half the weight."""
    eta = rule.step_size * rule.reward_bound
    last = math.ceil((math.log(experts - 1) + certainty) / (2 * eta))
    pairs = max(rule.horizon - last, 0) // (2 * feedbacks)
    odd_K = torch.arange(experts) % 2
    winner_K = 2.0 * (torch.arange(experts) == 0) - 1.0

    def rewards(now: Moment) -> Tensor:
        back_and_forth_K = 1.0 - 2.0 * ((odd_K + now.t // feedbacks) % 2)
        return (back_and_forth_K if now.t < pairs * 2 * feedbacks else winner_K).expand_as(now.totals_EK)

    return rewards
