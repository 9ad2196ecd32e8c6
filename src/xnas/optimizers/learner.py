"""The base of the rules that learn the weights of a group's experts from gradients. Knows nothing of networks.

E: forecasters of a group; K: experts of each; F: feedbacks of a round. All tensors are float64 and on the CPU, whatever
the network is on: they are a few hundred numbers, and some devices have no float64.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from xnas.experts.update import mixture

LEDGER = "ledger_"
"""Prefix of the names of tensors that record the past and decide nothing."""


class Learner(ABC):
    """Turns gradients of the loss by mixture weights into the next mixture weights, for one group."""

    @property
    @abstractmethod
    def log_v_EK(self) -> Tensor:
        """The weights as logarithms, up to a number for each forecaster: what discretisation ranks by."""

    @property
    @abstractmethod
    def alive_EK(self) -> Tensor:
        """Mask of the experts that are still in the search: bool."""

    @property
    def mixture_EK(self) -> Tensor:
        """u: rows sum to one, wiped experts have exactly zero (equation 1)."""
        return mixture(self.log_v_EK, self.alive_EK)

    one_hot: ClassVar[bool] = False
    """True if `weights_EK` choose one expert of every forecaster: only that one is computed."""

    @property
    def leaves_experts_out(self) -> bool:
        """True if there will be passes that leave experts out."""
        return self.one_hot

    @property
    def weights_EK(self) -> Tensor:
        """The weights with which the next pass goes through the network: u, unless the rule samples."""
        return self.mixture_EK

    @property
    @abstractmethod
    def num_feedbacks(self) -> int:
        """t, the feedbacks received so far."""

    @abstractmethod
    def update(self, gradients_FEK: Tensor) -> None:
        """Learn from F feedbacks measured at `weights_EK`. Gradients of wiped experts are zero and mean nothing."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return everything needed to resume, as named tensors."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state`, which `check_state` has accepted."""


GENERATOR = "generator"
"""The name of the tensor that holds the state of a learner's random generator."""


class WeightLearner(Learner):
    """A rule that keeps one log-weight for each expert, and nothing else but t. It removes no expert."""

    def __init__(self, log_v_EK: Tensor) -> None:
        self._log_v_EK = log_v_EK
        self._num_feedbacks = 0

    @property
    def log_v_EK(self) -> Tensor:
        """The log-weights."""
        return self._log_v_EK

    @property
    def alive_EK(self) -> Tensor:
        """Mask of the experts alive: all."""
        return torch.ones_like(self._log_v_EK, dtype=torch.bool)

    @property
    def num_feedbacks(self) -> int:
        """t"""
        return self._num_feedbacks

    def state_dict(self) -> dict[str, Tensor]:
        """The log-weights, and t."""
        return {"log_v_EK": self._log_v_EK, "num_feedbacks": torch.tensor(self._num_feedbacks)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state`."""
        self._log_v_EK = state["log_v_EK"].to(self._log_v_EK).clone()
        self._num_feedbacks = int(state["num_feedbacks"])


class SamplingLearner(Learner):
    """A rule that draws new weights for every pass through the network."""

    @abstractmethod
    def resample(self) -> None:
        """Draw the `weights_EK` of the next pass."""


def check_state(own: Mapping[str, Tensor], state: Mapping[str, Tensor], *, alive_EK: Tensor) -> None:
    """Raise ValueError unless a learner with the state `own` and survivors `alive_EK` can resume from `state`.

    It is raised for other names or shapes, numbers that are not finite, an expert that would come back, or a forecaster
    without experts.
    """
    if missing := sorted(own.keys() - state.keys()):
        raise ValueError(f"the state has no {missing[0]!r}; it belongs to another search")
    if unknown := sorted(state.keys() - own.keys()):
        raise ValueError(f"the state holds {unknown[0]!r}, which this search knows nothing of")
    for name, value in own.items():
        given = state[name]
        if given.shape != value.shape:
            raise ValueError(f"{name!r} has shape {tuple(value.shape)}; the state's is {tuple(given.shape)}")
        if given.is_floating_point() and not given.isfinite().all():
            raise ValueError(f"the state's {name!r} is not all finite")
    if GENERATOR in own:
        try:
            torch.Generator().set_state(state[GENERATOR].cpu())
        except (RuntimeError, TypeError):
            raise ValueError(f"the state's {GENERATOR!r} is no state of a random generator") from None
    if "alive_EK" in own:
        given_EK = state["alive_EK"].bool().to(alive_EK.device)
        if not given_EK.any(dim=-1).all():
            raise ValueError("in the state a forecaster has no expert alive")
        if (given_EK & ~alive_EK).any():
            raise ValueError("an expert was wiped out here but is alive in the state; build the model again")
