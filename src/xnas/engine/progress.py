"""What long work tells whoever watches it: the command line shows it, tests and libraries may ignore it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from xnas.report.metrics import Group


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What lies ahead."""

    name: str
    epochs: int
    rounds_per_epoch: int
    rounds_done: int = 0
    """By a process before."""
    groups: Mapping[str, Group] = field(default_factory=dict)
    """That it searches."""
    multiply_adds: int | None = None
    """Of a supernet with all its experts, for one image."""


class Progress(Protocol):
    """Receives the course of a run. Every method returns at once."""

    def say(self, line: str) -> None:
        """A line worth keeping."""
        ...

    def start(self, phase: Phase) -> None:
        """A phase begins."""
        ...

    def round_done(self, *, epoch: int, round_in_epoch: int, values: Mapping[str, float]) -> None:
        """A round has ended; `values` are running means over the epoch."""
        ...

    def epoch_done(self, row: Mapping[str, Any]) -> None:
        """An epoch has ended, with the row written to metrics.jsonl."""
        ...

    def finish(self) -> None:
        """The phase has ended, or was broken off."""
        ...


class Silent:
    """Ignores everything."""

    def say(self, line: str) -> None:
        """Ignored."""

    def start(self, phase: Phase) -> None:
        """Ignored."""

    def round_done(self, *, epoch: int, round_in_epoch: int, values: Mapping[str, float]) -> None:
        """Ignored."""

    def epoch_done(self, row: Mapping[str, Any]) -> None:
        """Ignored."""

    def finish(self) -> None:
        """Ignored."""
