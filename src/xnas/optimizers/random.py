"""The control: architectures drawn uniformly at random, in the place of a search.

Every expert's log-weight is drawn once from a Gumbel distribution, so that after the discretisation that all optimizers
share each edge's expert and each node's edges are uniform. Nothing is learned, the mixture stays uniform.

E: forecasters of a group; K: experts of each; F: feedbacks of a round.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xnas.optimizers.base import ArchitectureOptimizer, rival_settings
from xnas.optimizers.learner import GroupSettings, Learner
from xnas.space.forecaster import ForecasterGroup


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


class RandomChoice(ArchitectureOptimizer):
    """Uniform random architectures. Raises ValueError for a model without forecasters."""

    def __init__(
        self,
        model: nn.Module,
        *,
        rounds: int,
        seed: int = 0,
        step_size: float | None = None,
        weight_decay: float | None = None,
        weight_optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        del step_size, weight_decay  # nothing is learned
        generator = torch.Generator().manual_seed(seed)

        def build(group: ForecasterGroup) -> tuple[GroupSettings, Learner]:
            settings = rival_settings(
                group, optimizer="random", rounds=rounds, step_size=0.0, words="drawn uniformly at random"
            )
            learner = RandomLearner(group.num_forecasters, group.num_experts, generator=generator)
            return settings, learner

        super().__init__(model, build=build, feedback="batch", weight_optimizer=weight_optimizer)
