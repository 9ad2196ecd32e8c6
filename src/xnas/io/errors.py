"""Errors that end a run, and their exit codes. Imports nothing heavy, so that the command line knows them at once."""

import errno
import signal


class Interrupted(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class NonFinite(ValueError):
    """A loss, gradient or reward is not a finite number. Nothing was updated by it."""


class OutOfMemory(Exception):
    """The device or the machine has no more memory. The state in memory is lost, the last checkpoint is not."""


class RanksDiffer(ValueError):
    """Processes that train one network together no longer agree on it. Nothing of it was saved."""


class RankLost(Exception):
    """Another rank of the run is gone, or ended with `exit_code`. What was done since the last checkpoint is lost."""

    def __init__(self, message: str, *, exit_code: int = 5) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class CannotWrite(ValueError):
    """The disk does not take a file: it is full, read-only or gone. What was there before is as it was."""


def exit_code(error: Exception) -> int:
    """Return the code with which the program ends after an error."""
    if isinstance(error, OutOfMemory):
        return 3
    if isinstance(error, RankLost):
        return error.exit_code
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return 3
    return 4 if isinstance(error, CannotWrite | OSError) else 2
