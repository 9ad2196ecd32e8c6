"""The base of all baselines: one feedback a round, published settings by default, randomness by seed.

A baseline's file says which rule it learns by, from which paper, and which of its numbers are published.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from xnas.optimizers.base import ArchitectureOptimizer
from xnas.optimizers.group_info import GroupInfo
from xnas.optimizers.learner import Learner
from xnas.optimizers.processes import ProcessGroup
from xnas.space.forecaster import ForecasterGroup


@dataclass(frozen=True, kw_only=True)
class LearnerSpec:
    """The arguments of one group's learner."""

    num_forecasters: int
    num_experts: int
    rounds: int
    """T: updates that the search will make."""
    step_size: float
    weight_decay: float
    generator: torch.Generator
    """The group's own randomness."""


class BaselineOptimizer(ArchitectureOptimizer):
    """Learns every group's mixture weights by the rule of `build_learner`.

    `rounds` says how many steps the search will make, `seed` decides all that is drawn. None takes the published
    learning rate or weight decay of the architecture weights. `weight_optimizer` is that of the other parameters,
    `process_group` the processes that share batches.

    A feedback is the mean loss of all that a step measures, and replicas add their gradients: they share one weight.
    Nothing is clipped.
    Raises ValueError for settings out of range, or a model without forecasters.
    """

    name: ClassVar[str]
    """The name in `search.method`."""
    description: ClassVar[str]
    """The rule in a few words."""
    step_size: ClassVar[float]
    """The learning rate, if none is given."""
    weight_decay: ClassVar[float | None] = 0.0
    """The weight decay, if none is given; None: the rule has no place for one."""

    def __init__(
        self,
        model: nn.Module,
        *,
        rounds: int,
        seed: int = 0,
        step_size: float | None = None,
        weight_decay: float | None = None,
        weight_optimizer: torch.optim.Optimizer | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        rate = self.step_size if step_size is None else step_size
        decay = self._decay(weight_decay)
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1; got {rounds}")
        if not (0 < rate < math.inf or (rate == 0 and not self.learns)):
            raise ValueError(f"step_size must be positive and finite; got {rate}")
        seeds = torch.Generator().manual_seed(seed)

        def build(group: ForecasterGroup) -> tuple[GroupInfo, Learner]:
            own = int(torch.randint(2**62, (), generator=seeds))
            spec = LearnerSpec(
                num_forecasters=group.num_forecasters,
                num_experts=group.num_experts,
                rounds=rounds,
                step_size=rate,
                weight_decay=decay,
                generator=torch.Generator().manual_seed(own),
            )
            settings = GroupInfo(
                name=group.name,
                method=self.name,
                edges=tuple(map(str, range(group.num_forecasters))),
                experts=group.experts,
                replicas=group.num_replicas,
                feedback="batch",
                horizon=rounds if self.learns else 0,
                step_size=rate,
                description=self.description
                if self.weight_decay is None
                else f"{self.description}, weight decay {decay:g}",
            )
            return settings, self.build_learner(spec)

        super().__init__(
            model,
            build=build,
            feedback="batch",
            weight_optimizer=weight_optimizer,
            process_group=process_group,
        )

    @staticmethod
    @abstractmethod
    def build_learner(spec: LearnerSpec) -> Learner:
        """The learner of a group."""

    def _decay(self, given: float | None) -> float:
        if self.weight_decay is None:
            if given is not None:
                raise ValueError(f"{self.name} has no weight decay; leave it out")
            return 0.0
        decay = self.weight_decay if given is None else given
        if not 0 <= decay < math.inf:
            raise ValueError(f"weight_decay must not be negative; got {decay}")
        return decay
