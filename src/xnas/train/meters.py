"""Running means of loss and accuracy over an epoch."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from xnas.train.distributed import process_group

LOSS, SAMPLES, CORRECT = "loss", "samples", "correct"
"""Names of the sums in checkpoints."""


class LossAccuracyMeter:
    """Running mean of loss and accuracy over the samples of an epoch."""

    def __init__(self, device: torch.device) -> None:
        # Sums on the device: nothing waits for it before the mean is asked for.
        self._sums = {
            LOSS: torch.zeros((), device=device),
            SAMPLES: torch.zeros((), device=device),
            CORRECT: torch.zeros(1, dtype=torch.int64, device=device),
        }

    def add(self, losses: Tensor, logits_BD: Tensor, labels_B: Tensor) -> None:
        """Count a batch: its mean loss or its samples' losses."""
        samples = len(labels_B)
        self._sums[LOSS] += losses.mean().float() * samples
        self._sums[SAMPLES] += samples
        self._sums[CORRECT] += (logits_BD.argmax(dim=1) == labels_B).sum()

    def all_reduce(self) -> None:
        """Sum over all ranks on the main one, and reset the others."""
        if process_group().size > 1:
            process_group().all_reduce_sum_(self._sums.values())
            if not process_group().is_main:
                self.reset()

    def reset(self) -> None:
        """Set all sums to zero."""
        for total in self._sums.values():
            total.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """The sums so far."""
        return {name: total.clone() for name, total in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state_dict`. Raises KeyError or RuntimeError if it is none."""
        for name, total in self._sums.items():
            total.copy_(state[name])
        if not process_group().is_main:
            self.reset()

    @property
    def loss(self) -> float:
        """Mean over samples; nan without any."""
        return self._mean(LOSS)

    @property
    def accuracy(self) -> float:
        """Share of samples classified correctly; nan without any."""
        return self._mean(CORRECT)

    def _mean(self, name: str) -> float:
        samples = self._sums[SAMPLES].item()
        return self._sums[name].item() / samples if samples else math.nan
