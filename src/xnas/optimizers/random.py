"""The control: architectures drawn uniformly at random, in the place of a search.

Every expert's log-weight is drawn once from a Gumbel distribution, so that after the discretisation that all optimizers
share each edge's expert and each node's edges are uniform. Nothing is learned: a search needs no rounds for it. Where
rounds are made all the same, the mixture stays uniform.

E: forecasters of a group; K: experts of each; F: feedbacks of a round.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from xnas.optimizers.learner import Learner
from xnas.optimizers.rival_optimizer import Recipe, RivalOptimizer


class RandomLearner(Learner):
    """Learns nothing; its weights for the genotype are noise."""

    def __init__(self, num_forecasters: int, num_experts: int, *, generator: torch.Generator) -> None:
        uniform_EK = torch.rand((num_forecasters, num_experts), dtype=torch.float64, generator=generator)
        self._log_v_EK = -(-uniform_EK.clamp_min(1e-300).log()).log()
        self._num_feedbacks = 0

    @property
    def log_v_EK(self) -> Tensor:
        """The noise."""
        return self._log_v_EK

    @property
    def alive_EK(self) -> Tensor:
        """All."""
        return torch.ones_like(self._log_v_EK, dtype=torch.bool)

    @property
    def weights_EK(self) -> Tensor:
        """Uniform."""
        return torch.full_like(self._log_v_EK, 1 / self._log_v_EK.shape[-1])

    @property
    def num_feedbacks(self) -> int:
        """t"""
        return self._num_feedbacks

    def update(self, gradients_FEK: Tensor) -> None:
        """Only counts."""
        self._num_feedbacks += len(gradients_FEK)

    def state_dict(self) -> dict[str, Tensor]:
        """The noise, and t."""
        return {"log_v_EK": self._log_v_EK, "num_feedbacks": torch.tensor(self._num_feedbacks)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        self._log_v_EK = state["log_v_EK"].to(self._log_v_EK).clone()
        self._num_feedbacks = int(state["num_feedbacks"])


class RandomChoice(RivalOptimizer):
    """Uniform random architectures; the same seed gives the same one."""

    name = "random"
    words = "drawn uniformly at random"
    learns = False
    step_size = 0.0
    weight_decay = None

    @staticmethod
    def build_learner(recipe: Recipe) -> RandomLearner:
        """Draws at once."""
        return RandomLearner(recipe.num_forecasters, recipe.num_experts, generator=recipe.generator)
