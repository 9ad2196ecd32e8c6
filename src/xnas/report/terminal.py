"""What long work shows: a live panel on a terminal, plain lines elsewhere."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from xnas.io.text import printable
from xnas.optimizers.group_info import GroupInfo
from xnas.report.health_panel import health_lines
from xnas.runs.callbacks import LogCallback, PhaseInfo, summary
from xnas.runs.history import Epoch, GroupWeights, SearchEpoch

log = logging.getLogger(__name__)


class TerminalHandler(logging.Handler):
    """Prints what is logged, warnings marked as such; a name in it does nothing to the terminal."""

    def __init__(self, console: Console, *, reword: Callable[[str], str]) -> None:
        super().__init__()
        self.console, self.reword = console, reword

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line, above the live panel if there is one. Errors of the stream reach the caller."""
        mark = "warning: " if record.levelno >= logging.WARNING else ""
        line = printable(self.reword(f"{mark}{record.getMessage()}"), lines=True)
        self.console.print(line, markup=False, emoji=False, soft_wrap=True)


@contextmanager
def log_to_terminal(reword: Callable[[str], str] = str) -> Iterator[None]:
    """Print what xnas logs to the current standard output, even if that is redirected later."""
    logger = logging.getLogger("xnas")
    handler = TerminalHandler(Console(highlight=False, file=sys.stdout), reword=reword)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing within it: what is done there is done again, or by another rank, and logged then."""
    logger = logging.getLogger("xnas")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def console() -> Console | None:
    """Return where lines are printed; None where nothing is, as in a library."""
    handlers = logging.getLogger("xnas").handlers
    return next((handler.console for handler in handlers if isinstance(handler, TerminalHandler)), None)


def open_display(*, headed_by: Callable[[], str] | None = None) -> "Display":
    """Return a live display, headed by what `headed_by` returns, on a terminal, else a plain one."""
    there = console()
    return LiveDisplay(there, headed_by=headed_by) if there is not None and there.is_terminal else Display()


class Display(LogCallback):
    """Plain lines: one for each epoch."""

    def watch(self, text: Callable[[], str]) -> None:
        """Show what changes all the time, where that can be shown."""
        del text


class LiveDisplay(Display):
    """A panel that is redrawn in place: progress, time left, the strongest expert of every edge, and the health."""

    def __init__(self, console: Console, *, headed_by: Callable[[], str] | None = None) -> None:
        super().__init__()
        self.console = console
        self.headed_by = headed_by
        self.live: Live | None = None
        self.last: SearchEpoch | None = None

    def start(self, phase: PhaseInfo) -> None:
        """Open the panel."""
        self.phase, self.last = phase, None
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )
        total = phase.epochs * phase.steps_per_epoch
        self.task = self.progress.add_task(phase.name, total=total, completed=phase.steps_done, values="")
        self.live = Live(self._panel(), console=self.console, refresh_per_second=4)
        self.live.start()

    def step_done(self, *, epoch: int, step_in_epoch: int, values: Mapping[str, float]) -> None:
        """Move the bar on."""
        said = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        self.progress.update(
            self.task,
            completed=(epoch - 1) * self.phase.steps_per_epoch + step_in_epoch,
            values=f"epoch {epoch}/{self.phase.epochs}  {said}",
        )

    def epoch_done(self, epoch: Epoch) -> None:
        """Renew what is known by the epoch."""
        self.last = epoch if isinstance(epoch, SearchEpoch) else None
        if self.live is not None:
            self.live.update(self._panel())
        log.info(f"{self.phase.name} {summary(epoch, self.phase.epochs)}")

    def watch(self, text: Callable[[], str]) -> None:
        """Show what `text` says then, in a panel of its own."""
        if self.live is None:
            self.live = Live(
                _Renewed(text), console=self.console, refresh_per_second=2, redirect_stdout=False
            )
            self.live.start()

    def finish(self) -> None:
        """Close the panel, leaving the terminal as it was."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _panel(self) -> Group:
        parts: list[Any] = [_Renewed(self.headed_by)] if self.headed_by else []
        parts.append(self.progress)
        if self.last is not None and self.last.groups:
            parts.append(_leaders(self.last.groups, self.phase.groups))
            parts += health_lines(self.last, self.phase)
        return Group(*parts)


class _Renewed:
    """Text that is asked for whenever it is drawn."""

    def __init__(self, line: Callable[[], str]) -> None:
        self.line = line

    def __rich__(self) -> Text:
        return Text(printable(self.line(), lines=True))


def _leaders(groups: Mapping[str, GroupWeights], known: Mapping[str, GroupInfo]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in groups:
        table.add_column(name, no_wrap=True)
    lines = []
    for name, group in groups.items():
        edges, experts = known[name].edges, known[name].experts
        column = []
        for edge, weights, alive in zip(edges, group.u_EK, group.alive_EK, strict=True):
            best = max(range(len(weights)), key=weights.__getitem__)
            column.append(Text(f"{edge}  {experts[best]:<13} u = {weights[best]:.2f}  {sum(alive)} alive"))
        lines.append(column)
    for cells in zip(*lines, strict=True):
        table.add_row(*cells)
    return table
