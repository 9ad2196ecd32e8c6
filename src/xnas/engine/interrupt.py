"""Ctrl-C and termination: the round that is running ends, what was reached is kept, the program exits with 128 + n."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Interrupt:
    """Remembers a signal until the running round has ended."""

    def __init__(self) -> None:
        self.number: int | None = None

    def check(self) -> None:
        """Raises Interrupted if a signal has come. Called between rounds, when everything is consistent."""
        if self.number is not None:
            raise Interrupted(self.number)


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within it a first signal waits for the end of the round; a second one acts at once."""
    interrupt = Interrupt()

    def remember(number: int, frame: FrameType | None) -> None:
        del frame
        interrupt.number = number
        for name, handler in previous.items():
            signal.signal(name, handler)

    previous = {name: signal.signal(name, remember) for name in SIGNALS}
    try:
        yield interrupt
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
