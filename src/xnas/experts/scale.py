"""Rewards in units of their own size: neither their bound L nor the length of the search has to be known.

Algorithm 1 takes L and T as given, and eta* = sqrt(2 ln N / T) / L falls with both. Too small an L clips what tells
experts apart, too large a one keeps their weights uniform, as a long search keeps them at its start; and how large
rewards are is known only once the search runs. Besides, the regret is made of squares: what counts is not the largest
reward, which one batch decides, but their mean square.

Here every forecaster is a game of its own, and one feedback is all that a round tells it, summed. With H_t, half of the
range of its rewards in round t,

    V_t = H_1^2 + ... + H_t^2,        ln v_i = (eta / sqrt(V_t)) (R_i(1) + ... + R_i(t)).

Nothing is clipped. A lead counts by how many standard deviations of what chance would give it has, at any time of the
search. The weights are the same whatever the unit of the loss, and whatever all experts' rewards share. Steps of this
kind are those of AdaGrad and of scale-free follow-the-regularised-leader (Orabona and Pal 2018, Scale-free online
learning, section 4).

The bound. Steps only fall, so exponential weights have a regret of at most ln N over the last step plus what every
round's mixture falls short of its exponential mean, which by Hoeffding's lemma is at most (step) H_t^2 / 2, and never
more than the range:

    regret_T <= sqrt(V_T) ln N / eta + sum_t min(eta H_t^2 / (2 sqrt(V_(t-1))), 2 H_t).

Where the size of rewards is steady this is close to sqrt(V_T) (ln N / eta + eta), least for eta = sqrt(ln N): then it
is 2 sqrt(V_T ln N), sqrt(2) times theorem 1's for an L and a T that are known. (The potential (1 / step) ln((1 / N)
sum_i exp(step sum R_i)) falls with the step by the inequality of power means, and experts that were wiped out only
lower it. What wipeout gains, ln gamma / step, is left out.)

Wipeout takes the largest H so far for L: lemma 1 holds as long as no larger one comes.

E: forecasters of a group; K: experts of each, N of them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def centred(rewards_EK: Tensor, alive_EK: Tensor) -> Tensor:
    """Rewards less the middle of the largest and the smallest among experts alive; zero for the wiped."""
    largest_E1 = rewards_EK.masked_fill(~alive_EK, -torch.inf).amax(dim=-1, keepdim=True)
    smallest_E1 = rewards_EK.masked_fill(~alive_EK, torch.inf).amin(dim=-1, keepdim=True)
    return torch.where(alive_EK, rewards_EK - (largest_E1 + smallest_E1) / 2, 0.0)


def anytime_step_size(num_experts: int) -> float:
    """eta = sqrt(ln N), in units of 1 / sqrt(V_t). Raises ValueError for fewer than one expert."""
    if num_experts < 1:
        raise ValueError(f"num_experts must be at least 1; got {num_experts}")
    return math.sqrt(math.log(num_experts))


@dataclass(frozen=True, kw_only=True)
class RewardScale:
    """Sizes of the rewards of E forecasters so far: float64, shape (E,) each."""

    squares_E: Tensor
    """V_t, in units of the loss, squared."""
    largest_E: Tensor
    """The largest H so far, in units of the loss."""
    shortfall_E: Tensor
    """The most by which all rounds' mixtures fell short of their exponential means: the sum in the bound."""

    @classmethod
    def initial(cls, num_forecasters: int) -> "RewardScale":
        """Return the scale before any reward."""
        zeros = [torch.zeros(num_forecasters, dtype=torch.float64) for _ in range(3)]
        return cls(squares_E=zeros[0], largest_E=zeros[1], shortfall_E=zeros[2])

    def after(self, centred_EK: Tensor, *, step_size: float) -> "RewardScale":
        """The scale after a round of centred rewards."""
        half_E = centred_EK.abs().amax(dim=-1)
        squares_E = self.squares_E + half_E**2
        # Before the first reward all steps give the same weights, so that its own size serves.
        steps_E = step_size / _root(torch.where(self.squares_E > 0, self.squares_E, squares_E))
        return RewardScale(
            squares_E=squares_E,
            largest_E=torch.maximum(self.largest_E, half_E),
            shortfall_E=self.shortfall_E + torch.minimum(steps_E * half_E**2 / 2, 2 * half_E),
        )

    @property
    def unit_E(self) -> Tensor:
        """sqrt(V_t); 1 where all rewards were zero."""
        return _root(self.squares_E)

    def bound(self, num_experts: int, *, step_size: float) -> Tensor:
        """The bound on the regret so far, in units of sqrt(V_t), shape (E,). A lone expert's is zero."""
        if num_experts == 1:
            return torch.zeros_like(self.squares_E)
        return math.log(num_experts) / step_size + self.shortfall_E / self.unit_E


def _root(squares_E: Tensor) -> Tensor:
    return torch.where(squares_E > 0, squares_E, 1.0).sqrt()
