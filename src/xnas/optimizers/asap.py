"""ASAP: a softmax whose temperature falls, and experts that leave when their weight falls below a threshold.

Asaf Noy, Niv Nayman, Tal Ridnik, Nadav Zamir, Sivan Doveh, Itamar Friedman, Raja Giryes, Lihi Zelnik-Manor: ASAP:
Architecture Search, Anneal and Prune, AISTATS 2020 (arXiv 1904.04123): u = softmax(alpha / T) over the experts alive,
T = T_0 beta^epoch. While T is above a grace temperature alpha rests and the network weights warm up; then alpha learns,
and an expert with u below a threshold is pruned for good.

Published, as UniNAS, a public reimplementation, has it: T_0 = 1.6, beta = 0.95, grace temperature 1, threshold 0.4 / N
for N experts. Chosen here: a search of any length goes through the temperatures of 50 epochs, from 1.6 to 0.123, by the
round; N counts the experts at the start; pruning comes after every update; Adam and its settings are those of DARTS,
and alpha starts uniform.

At 3e-4 a round alpha needs about a thousand rounds before anything is pruned: short searches end with all experts, or
need a larger step size.

E: forecasters of a group; K: experts of each; F: feedbacks of a round; t: feedbacks received, T: a temperature.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from xnas.experts.update import mixture
from xnas.optimizers.baseline import BaselineOptimizer, LearnerSpec
from xnas.optimizers.darts import adam
from xnas.optimizers.softmax import Descent, SoftmaxLearner, softmax_gradient

HOT, DECAY, EPOCHS = 1.6, 0.95, 50
GRACE = 1.0
THRESHOLD = 0.4


class AsapLearner(SoftmaxLearner):
    """E annealed softmaxes over the experts that are left."""

    def __init__(self, num_forecasters: int, num_experts: int, *, descent: Descent, rounds: int) -> None:
        super().__init__(num_forecasters, num_experts, descent=descent)
        self.rounds = rounds
        self._alive_EK = torch.ones_like(self.alpha_EK, dtype=torch.bool)

    @property
    def temperature(self) -> float:
        """T of the round to come."""
        return HOT * float(DECAY ** (EPOCHS * min(self.num_feedbacks / self.rounds, 1.0)))

    @property
    def log_v_EK(self) -> Tensor:
        """alpha / T; a pruned expert keeps in alpha its distance to the leader."""
        return self.alpha_EK / self.temperature

    @property
    def alive_EK(self) -> Tensor:
        """Mask of the experts that were not pruned."""
        return self._alive_EK

    @property
    def leaves_experts_out(self) -> bool:
        """Experts are pruned."""
        return True

    def alpha_gradient(self, gradients_EK: Tensor) -> Tensor:
        """dloss/dalpha through the softmax at T; zero for the pruned."""
        return softmax_gradient(gradients_EK, self.mixture_EK) / self.temperature

    def update(self, gradients_FEK: Tensor) -> None:
        """Take a step of alpha and prune at the next temperature; only count during the grace period."""
        if self.temperature >= GRACE:
            self._num_feedbacks += len(gradients_FEK)
            return
        before_EK = self.alpha_EK.clone()
        super().update(gradients_FEK)
        # Weight decay and momentum would move the pruned too, and they could overtake those that are left.
        shift_E1 = self._lead(self.alpha_EK) - self._lead(before_EK)
        self.alpha_EK.copy_(torch.where(self._alive_EK, self.alpha_EK, before_EK + shift_E1))
        u_EK = mixture(self.log_v_EK, self._alive_EK)
        self._alive_EK = self._alive_EK & (u_EK >= THRESHOLD / self.alpha_EK.shape[-1])

    def _lead(self, alpha_EK: Tensor) -> Tensor:
        return alpha_EK.masked_fill(~self._alive_EK, -torch.inf).amax(dim=-1, keepdim=True)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of softmax descent, and the survivors."""
        return {**super().state_dict(), "alive_EK": self._alive_EK}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state`."""
        super().load_state_dict(state)
        self._alive_EK = state["alive_EK"].bool().clone()


class Asap(BaselineOptimizer):
    """ASAP (Noy et al. 2020): a softmax that is annealed, and experts that are pruned by a threshold."""

    name = "asap"
    description = "ASAP, temperature from 1.6 to 0.123, pruned below 0.4 / N, Adam with betas 0.5 and 0.999"
    step_size = 3e-4
    weight_decay = 1e-3

    @staticmethod
    def build_learner(spec: LearnerSpec) -> AsapLearner:
        """Return a learner that starts uniform."""
        return AsapLearner(
            spec.num_forecasters,
            spec.num_experts,
            descent=lambda parameters: adam(spec, parameters),
            rounds=spec.rounds,
        )
