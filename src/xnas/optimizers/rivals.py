"""Every architecture optimizer by its name, so that a search can be told which to use.

All see the same supernet, batches and discretisation. XNAS takes the settings that its theory knows; each rival is as
its own paper has it, with the mean loss of a batch as one feedback.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from xnas.optimizers.base import ArchitectureOptimizer
from xnas.optimizers.random import RandomChoice
from xnas.optimizers.softmax import SoftmaxDescent
from xnas.space.lookup import lookup
from xnas.space.vocabulary import OPTIMIZERS


class Rival(Protocol):
    """Makes an optimizer of `model` for a search of so many rounds; None leaves a setting as published."""

    def __call__(
        self,
        model: nn.Module,
        *,
        rounds: int,
        seed: int,
        step_size: float | None = None,
        weight_decay: float | None = None,
        weight_optimizer: torch.optim.Optimizer | None = None,
    ) -> ArchitectureOptimizer:
        """The optimizer. Raises ValueError for settings out of range, or a model without forecasters."""
        ...


RIVALS: Mapping[str, Rival] = {"gd": SoftmaxDescent, "random": RandomChoice}


def rival(name: str) -> Rival:
    """The rival of that name. Raises ValueError, with the nearest, for an unknown one."""
    return RIVALS[lookup("optimizer", name, OPTIMIZERS)]
