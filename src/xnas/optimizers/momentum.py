"""Softmax descent by SGD with momentum: alpha moves by a running sum of its gradients.

XNAS has no place for momentum (section 3.2.2); this is what it does to a softmax. Nothing is published for it: 0.9 is
the usual momentum, and the learning rate of 0.1 is chosen here, because under a steady gradient alpha moves by
rate / (1 - 0.9) a round, as fast as plain descent at its rate of 1.
"""

import torch

from xnas.optimizers.baseline import BaselineOptimizer, LearnerSpec
from xnas.optimizers.softmax import SoftmaxLearner

MOMENTUM = 0.9


class SoftmaxMomentum(BaselineOptimizer):
    """Gradient descent with softmax and momentum."""

    name = "momentum"
    words = "gradient descent with softmax, momentum 0.9"
    step_size = 0.1

    @staticmethod
    def build_learner(recipe: LearnerSpec) -> SoftmaxLearner:
        """Starts uniform."""
        return SoftmaxLearner(
            recipe.num_forecasters,
            recipe.num_experts,
            descent=lambda parameters: torch.optim.SGD(
                parameters, lr=recipe.step_size, momentum=MOMENTUM, weight_decay=recipe.weight_decay
            ),
        )
