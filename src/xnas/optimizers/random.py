"""The control: architectures drawn uniformly at random, in the place of a search.

Every expert's log-weight is drawn once from a Gumbel distribution, so that after the discretisation that all optimizers
share each edge's expert and each node's edges are uniform. Nothing is learned: a search needs no rounds for it. Where
rounds are made all the same, the mixture stays uniform.

E: forecasters of a group; K: experts of each; F: feedbacks of a round.
"""

import torch
from torch import Tensor

from xnas.optimizers.baseline import BaselineOptimizer, LearnerSpec
from xnas.optimizers.learner import WeightLearner


class RandomLearner(WeightLearner):
    """Learns nothing; its weights for the genotype are noise."""

    def __init__(self, num_forecasters: int, num_experts: int, *, generator: torch.Generator) -> None:
        uniform_EK = torch.rand((num_forecasters, num_experts), dtype=torch.float64, generator=generator)
        super().__init__(-(-uniform_EK.clamp_min(1e-300).log()).log())

    @property
    def weights_EK(self) -> Tensor:
        """Uniform."""
        return torch.full_like(self.log_v_EK, 1 / self.log_v_EK.shape[-1])

    def update(self, gradients_FEK: Tensor) -> None:
        """Count the feedbacks."""
        self._num_feedbacks += len(gradients_FEK)


class RandomChoice(BaselineOptimizer):
    """Uniform random architectures; the same seed gives the same one."""

    name = "random"
    description = "drawn uniformly at random"
    learns = False
    step_size = 0.0
    weight_decay = None

    @staticmethod
    def build_learner(spec: LearnerSpec) -> RandomLearner:
        """Return a learner that has drawn its architecture."""
        return RandomLearner(spec.num_forecasters, spec.num_experts, generator=spec.generator)
