"""Callbacks of a run: what follows its progress."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from xnas.optimizers.group_info import GroupInfo
from xnas.runs.history import Epoch, SearchEpoch

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PhaseInfo:
    """What lies ahead."""

    name: str
    epochs: int
    steps_per_epoch: int
    steps_done: int = 0
    """By a process before."""
    groups: Mapping[str, GroupInfo] = field(default_factory=dict)
    """That it searches."""
    multiply_adds: int | None = None
    """Of a supernet with all its experts, for one image."""


class Callback(Protocol):
    """Follows the progress of a run. Every method returns at once."""

    def start(self, phase: PhaseInfo) -> None:
        """A phase begins."""
        ...

    def step_done(self, *, epoch: int, step_in_epoch: int, values: Mapping[str, float]) -> None:
        """A step has ended; `values` are running means over the epoch."""
        ...

    def epoch_done(self, epoch: Epoch) -> None:
        """An epoch has ended; metrics.jsonl has it too."""
        ...

    def finish(self) -> None:
        """The phase has ended or was interrupted."""
        ...


class NullCallback:
    """Ignores everything."""

    def start(self, phase: PhaseInfo) -> None:
        """Ignored."""

    def step_done(self, *, epoch: int, step_in_epoch: int, values: Mapping[str, float]) -> None:
        """Ignored."""

    def epoch_done(self, epoch: Epoch) -> None:
        """Ignored."""

    def finish(self) -> None:
        """Ignored."""


class LogCallback:
    """Logs a line for each epoch."""

    def __init__(self) -> None:
        self.phase = PhaseInfo(name="", epochs=0, steps_per_epoch=1)
        self.started = time.monotonic()

    def start(self, phase: PhaseInfo) -> None:
        """A phase begins."""
        self.phase, self.started = phase, time.monotonic()
        log.info(
            f"{phase.name}: {phase.epochs} epochs of {phase.steps_per_epoch} steps"
            if phase.epochs
            else f"{phase.name}: no steps, there is nothing to learn"
        )

    def step_done(self, *, epoch: int, step_in_epoch: int, values: Mapping[str, float]) -> None:
        """Plain lines come by the epoch."""

    def epoch_done(self, epoch: Epoch) -> None:
        """One line: losses, accuracies, experts alive, time."""
        elapsed = time.monotonic() - self.started
        phase = self.phase
        epochs_before = phase.steps_done / phase.steps_per_epoch
        left = elapsed / (epoch.epoch - epochs_before) * (phase.epochs - epoch.epoch)
        log.info(f"{phase.name} {summary(epoch, phase.epochs)}, {elapsed:.0f} s, {left:.0f} s left")

    def finish(self) -> None:
        """Nothing stays open."""


def summary(epoch: Epoch, epochs: int) -> str:
    """Return an epoch in one line."""
    said = f"epoch {epoch.epoch}/{epochs}: train loss {epoch.train_loss:.3f}, accuracy {epoch.train_accuracy:.1%}"
    if not isinstance(epoch, SearchEpoch):
        return said
    if epoch.val_loss is not None:
        said += f", validation loss {epoch.val_loss:.3f}, accuracy {epoch.val_accuracy:.1%}"
    for name, group in epoch.groups.items():
        said += f", {name} experts alive {sum(map(sum, group.alive_EK))}/{sum(map(len, group.alive_EK))}"
    return said
