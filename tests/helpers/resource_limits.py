"""A reader under watch: it ends with a value or with one of our errors, soon, and without much memory."""

import faulthandler
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MOST_SECONDS = 1.0
"""Of processor time: neighbours on the machine do not count."""

MOST_BYTES = 200_000_000
"""Beyond twice the file."""

HANGS_AFTER = 30
"""Seconds by the clock, such as before a pipe that nobody writes to."""


class Hung(BaseException):
    """No reader catches it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a reader came to."""

    refusal: str | None
    """What its error says; None if it read the file."""
    seconds: float
    num_bytes: int
    """By which the largest memory of this process has grown."""


def watched(read: Callable[[], object], *, size: int = 0, most_seconds: float = MOST_SECONDS) -> Outcome:
    """Call a reader on a file of `size` bytes. Fails for errors that are not ours, for time, and for memory."""
    _forget_peak()
    before, started = _peak_bytes(), time.process_time()
    refusal = None
    with hanging_fails():
        try:
            read()
        except ValueError as error:
            refusal = str(error)
    outcome = Outcome(
        refusal=refusal, seconds=time.process_time() - started, num_bytes=_peak_bytes() - before
    )
    assert outcome.seconds < most_seconds, outcome
    assert outcome.num_bytes < 2 * size + MOST_BYTES, outcome
    return outcome


@contextmanager
def hanging_fails(seconds: float = HANGS_AFTER) -> Iterator[None]:
    """Within it what takes too long is broken off; a reader that lets no signal through ends the process."""

    def ring(number: int, frame: object) -> None:
        raise Hung(f"signal {number}: nothing after {seconds} s")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(2 * seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _forget_peak() -> None:
    """From here on the largest memory counts anew: what a test before has needed must hide nothing. Linux alone can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
