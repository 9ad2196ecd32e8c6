"""GAEA: exponentiated gradient on the simplex, without wipeout and without clipping.

Liam Li, Mikhail Khodak, Maria-Florina Balcan, Ameet Talwalkar: Geometry-Aware Gradient Algorithms for Neural
Architecture Search, ICLR 2021, section 3: mirror descent by entropy, theta <- theta * exp(-eta dloss/dtheta), then
normalised on every edge. The mixture weights are theta itself: like XNAS's, they need no gradient through a softmax.

Published, in the settings that the authors released for the spaces of DARTS, PC-DARTS and NAS-Bench-201: eta = 0.1, no
weight decay, a uniform start. Their weight decay is a coefficient of the divergence from uniform, sum_i theta_i
log(N theta_i); so it is here, and its exponentiated-gradient step multiplies log theta by 1 - eta decay. Their code
keeps theta from falling below 1e-5, which nothing needs here: weights are kept as logarithms.

E: forecasters of a group; K: experts of each; F: feedbacks of a round.
"""

import torch
from torch import Tensor

from xnas.optimizers.baseline import BaselineOptimizer, LearnerSpec
from xnas.optimizers.learner import WeightLearner


class GaeaLearner(WeightLearner):
    """Exponentiated gradient for E simplices of K experts: u is theta."""

    def __init__(
        self, num_forecasters: int, num_experts: int, *, step_size: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(torch.zeros((num_forecasters, num_experts), dtype=torch.float64))
        self.step_size, self.weight_decay = step_size, weight_decay

    def update(self, gradients_FEK: Tensor) -> None:
        """theta <- theta * exp(-eta dloss/dtheta); feedbacks at the same weights are summed."""
        kept = 1 - self.step_size * self.weight_decay
        self._log_v_EK = kept * self._log_v_EK - self.step_size * gradients_FEK.sum(dim=0)
        self._num_feedbacks += len(gradients_FEK)


class Gaea(BaselineOptimizer):
    """GAEA (Li et al. 2021): exponentiated gradient, without clipping and without wipeout."""

    name = "gaea"
    description = "GAEA, exponentiated gradient"
    step_size = 0.1

    @staticmethod
    def build_learner(spec: LearnerSpec) -> GaeaLearner:
        """Return a learner that starts uniform."""
        return GaeaLearner(
            spec.num_forecasters,
            spec.num_experts,
            step_size=spec.step_size,
            weight_decay=spec.weight_decay,
        )
