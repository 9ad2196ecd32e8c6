"""Timing in turn: what disturbs one measurement disturbs its neighbour too, so that ratios hold.

Where other work shares the machine, wall time also counts the waiting; processor time, of all threads and of the system
on their behalf, does not. Instructions would say more, but virtual machines often have no counter for them, and
valgrind, which counts without one, knows no AVX-512.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.figure import Better, Figure


@dataclass(frozen=True)
class Timing:
    """Seconds of each repetition."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def __add__(self, other: "Timing") -> "Timing":
        """One after the other."""
        return Timing(_each(float.__add__, self.wall, other.wall), _each(float.__add__, self.cpu, other.cpu))

    def over(self, other: "Timing") -> "Timing":
        """The ratios to what was measured beside it."""
        return Timing(
            _each(float.__truediv__, self.wall, other.wall), _each(float.__truediv__, self.cpu, other.cpu)
        )


def _each(
    operation: Callable[[float, float], float], left: tuple[float, ...], right: tuple[float, ...]
) -> tuple[float, ...]:
    return tuple(operation(a, b) for a, b in zip(left, right, strict=True))


def in_turn(tasks: Mapping[str, Callable[[], object]], *, n: int, warm_up: int = 1) -> dict[str, Timing]:
    """Each task's time over `n` rounds, in which every task runs once; `warm_up` rounds before them do not count."""
    wall: dict[str, list[float]] = {name: [] for name in tasks}
    cpu: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(-warm_up, n):
        for name, task in tasks.items():
            started, worked = time.perf_counter(), time.process_time()
            task()
            ended, stopped = time.perf_counter(), time.process_time()
            if number >= 0:
                wall[name].append(ended - started)
                # The system counts in steps, so that a task of no length may have no time.
                cpu[name].append(max(stopped - worked, 1e-9))
    return {name: Timing(tuple(wall[name]), tuple(cpu[name])) for name in tasks}


def time_ratio(
    name: str, unit: str, above: Timing, below: Timing, *, better: Better, target: float | None = None
) -> Figure:
    """The ratio of two times; the target is for that by the clock."""
    ratio = above.over(below)
    return Figure(name=name, values=ratio.wall, processor=ratio.cpu, unit=unit, better=better, target=target)


def milliseconds(name: str, timing: Timing) -> Figure:
    """A time."""
    wall, cpu = (tuple(1e3 * value for value in values) for values in (timing.wall, timing.cpu))
    return Figure(name=name, values=wall, processor=cpu, unit="ms", better="less")
