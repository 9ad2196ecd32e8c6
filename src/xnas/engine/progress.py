"""What long work tells whoever watches it: the command line shows it, tests and libraries may ignore it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class GroupLabels(NamedTuple):
    """What the indices and the experts of a group are called."""

    edges: tuple[str, ...]
    experts: tuple[str, ...]


class Progress(Protocol):
    """Receives the course of a run. Every method returns at once."""

    def say(self, line: str) -> None:
        """A line worth keeping."""
        ...

    def start(
        self,
        phase: str,
        *,
        epochs: int,
        rounds: int,
        done: int = 0,
        labels: Mapping[str, GroupLabels] | None = None,
    ) -> None:
        """A phase begins: so many epochs of so many rounds each, of which `done` rounds were done by a process before.

        `labels` are those of the groups that it searches.
        """
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

    def start(
        self,
        phase: str,
        *,
        epochs: int,
        rounds: int,
        done: int = 0,
        labels: Mapping[str, GroupLabels] | None = None,
    ) -> None:
        """Ignored."""

    def round_done(self, *, epoch: int, round_in_epoch: int, values: Mapping[str, float]) -> None:
        """Ignored."""

    def epoch_done(self, row: Mapping[str, Any]) -> None:
        """Ignored."""

    def finish(self) -> None:
        """Ignored."""
