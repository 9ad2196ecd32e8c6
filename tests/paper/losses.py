"""Games whose rewards come from convex losses of a mixture of vectors, p = sum_i u_i f_i, R_i = -grad loss(p) . f_i.

E: games; K: experts of each; D: dimensions of a prediction. Losses and rewards are in units of L, and no reward can
be larger than L.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .games import Moment
from .opponents import Table

DIMENSIONS = 3


@dataclass(frozen=True, kw_only=True)
class ConvexLoss:
    """A non-negative convex loss, a subgradient of it, and a norm: predictions and targets have one of at most 1."""

    value: Callable[[Tensor, Tensor], Tensor]
    """Of predictions (..., D) and targets (..., D): shape (...)."""
    gradient: Callable[[Tensor, Tensor], Tensor]
    """By predictions: shape (..., D)."""
    norm: float

    def within(self, vectors: Tensor) -> Tensor:
        """Vectors (..., D), shortened to the norm 1 where they are longer."""
        size = torch.linalg.vector_norm(vectors, ord=self.norm, dim=-1, keepdim=True)
        return vectors / size.clamp_min(1)


STEEPNESS = 6.0
"""Of the logistic loss: between certainty and error lie 6 units."""

LOSSES = {
    # |p - y| |f| is 2 at most, hence a quarter of the square and not a half.
    "squared": ConvexLoss(
        value=lambda p, y: (p - y).square().sum(dim=-1) / 4, gradient=lambda p, y: (p - y) / 2, norm=2
    ),
    "absolute": ConvexLoss(
        value=lambda p, y: (p - y).abs().sum(dim=-1), gradient=lambda p, y: (p - y).sign(), norm=1
    ),
    "logistic": ConvexLoss(
        value=lambda p, y: F.softplus(-STEEPNESS * (p * y).sum(dim=-1)) / STEEPNESS,
        gradient=lambda p, y: -y * torch.sigmoid(-STEEPNESS * (p * y).sum(dim=-1, keepdim=True)),
        norm=2,
    ),
}


class Predictions:
    """What the experts predict, f of shape (E, K, D), and the truth, y of shape (E, D).

    In a quarter of the games each they stay the same; are noisy; are learned, by some experts early and by some late;
    and the truth is always opposite to the mixture.
    """

    def __init__(self, table: Table, loss: ConvexLoss) -> None:
        self.table, self.loss = table, loss
        self.base_EKD = loss.within(self._normal(table.experts))
        self.truth_ED = loss.within(self._normal(1))[:, 0]
        self.late_EK1 = table.uniform_EK().abs().unsqueeze(2)
        self.habit_E = torch.arange(table.games) % 4

    def _normal(self, experts: int) -> Tensor:
        shape = (self.table.games, experts, DIMENSIONS)
        return torch.randn(shape, dtype=torch.float64, generator=self.table.generator)

    def at(self, now: Moment) -> tuple[Tensor, Tensor]:
        """f and y of this moment."""
        known_EK1 = ((now.t + 1) / now.horizon - self.late_EK1).clamp(0, 1)
        learned_EKD = self.base_EKD + known_EK1 * (self.truth_ED.unsqueeze(1) - self.base_EKD)
        noisy_EKD = self.loss.within(self.base_EKD + 0.5 * self._normal(self.table.experts))
        noisy_truth_ED = self.loss.within(self.truth_ED + 0.5 * self._normal(1)[:, 0])
        f_EKD = torch.where(
            (self.habit_E == 1)[:, None, None],
            noisy_EKD,
            torch.where((self.habit_E == 2)[:, None, None], learned_EKD, self.base_EKD),
        )
        p_ED = mixed(now.mixture_EK, f_EKD)
        opposite_ED = -p_ED / torch.linalg.vector_norm(
            p_ED, ord=self.loss.norm, dim=-1, keepdim=True
        ).clamp_min(1e-9)
        y_ED = torch.where(
            (self.habit_E == 1)[:, None],
            noisy_truth_ED,
            torch.where((self.habit_E == 3)[:, None], opposite_ED, self.truth_ED),
        )
        return f_EKD, y_ED


class LossGame:
    """An opponent that rewards experts by a loss's gradient at the mixture, and keeps the losses themselves."""

    def __init__(self, table: Table, loss: ConvexLoss) -> None:
        self.loss, self.predictions = loss, Predictions(table, loss)
        self.mixture_loss_E = torch.zeros(table.games, dtype=torch.float64)
        self.expert_losses_EK = torch.zeros(table.games, table.experts, dtype=torch.float64)

    def __call__(self, now: Moment) -> Tensor:
        f_EKD, y_ED = self.predictions.at(now)
        p_ED = mixed(now.mixture_EK, f_EKD)
        self.mixture_loss_E += self.loss.value(p_ED, y_ED)
        self.expert_losses_EK += self.loss.value(f_EKD, y_ED.unsqueeze(1))
        return rewards(self.loss, now.mixture_EK, f_EKD, y_ED)

    @property
    def regret_E(self) -> Tensor:
        """Of the losses (equation 2)."""
        return self.mixture_loss_E - self.expert_losses_EK.amin(dim=-1)


def mixed(mixture_EK: Tensor, f_EKD: Tensor) -> Tensor:
    """p = sum_i u_i f_i, shape (E, D) (equation 1)."""
    return (mixture_EK.unsqueeze(2) * f_EKD).sum(dim=1)


def rewards(loss: ConvexLoss, mixture_EK: Tensor, f_EKD: Tensor, y_ED: Tensor) -> Tensor:
    """R_i = -grad loss(p) . f_i, shape (E, K) (line 8)."""
    gradient_ED = loss.gradient(mixed(mixture_EK, f_EKD), y_ED)
    return -(gradient_ED.unsqueeze(1) * f_EKD).sum(dim=2)


def error_of_rounded_rewards(t: int) -> float:
    """How far the regret of losses may exceed that of rewards, in units of L.

    `play` rounds rewards to multiples of 2^-40, so that each is off by 2^-41 at most, and the mixture's as well. Losses
    are not rounded: their sums are float64 sums of t numbers not larger than 2.
    """
    return t * 2.0**-40 + t * t * 2.0**-51
