"""Timing in turn: what disturbs one measurement disturbs its neighbour too, so that ratios hold."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of each repetition."""

    seconds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """In seconds."""
        return statistics.mean(self.seconds)

    def __str__(self) -> str:
        spread = statistics.stdev(self.seconds)
        return f"{1e3 * self.mean:8.1f} +- {1e3 * spread:.1f} ms, worst {1e3 * max(self.seconds):.1f}"


def in_turn(tasks: dict[str, Callable[[], object]], *, n: int) -> dict[str, Timing]:
    """Each task's time over `n` rounds, in which every task runs once; one round before them does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(n + 1):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
