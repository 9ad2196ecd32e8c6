"""Ctrl-C and termination: the step that is running ends, the state is saved, the program exits with 128 + n."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from xnas.io.errors import Interrupted

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)
)
"""Batch systems send SIGUSR1 ahead of the end of an allocation, terminals SIGHUP when they are closed."""


class StopRequest:
    """Remembers a signal until the running step has ended."""

    def __init__(self) -> None:
        self.number: int | None = None

    def check(self) -> None:
        """Raise Interrupted if a signal has come. Called between steps, when everything is consistent."""
        if self.number is not None:
            raise Interrupted(self.number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within it a first signal waits for the end of the step; a second one acts at once.

    Only Python's main thread receives signals: in another one the request stays empty.
    """
    stop_request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop_request
        return

    def remember(number: int, frame: FrameType | None) -> None:
        del frame
        stop_request.number = number
        for name, handler in previous.items():
            signal.signal(name, handler)

    # Signals that are ignored from outside, as nohup does, stay ignored.
    caught = [name for name in SIGNALS if signal.getsignal(name) != signal.SIG_IGN]
    previous = {name: signal.signal(name, remember) for name in caught}
    try:
        yield stop_request
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
