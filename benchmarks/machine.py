"""What this machine can do at best: how fast it copies memory, and how fast it multiplies matrices, in float32.

A copy of n bytes reads n and writes n, and counts as 2 n. Large arrays are much larger than the last cache; small ones
stay in the cache of a core. The rate of multiply-adds is that of square matrices that fit into the last cache.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.figure import Figure
from benchmarks.options import Options
from benchmarks.timing import Timing, in_turn

SIDE, SMALL_SIDE = 1024, 64
"""Of the matrices."""
COPY, CACHE, PRODUCT = "copy of large arrays", "copy in the cache", "matrix product"
UNITS = {COPY: "GB/s", CACHE: "GB/s", PRODUCT: "G multiply-adds/s"}


@dataclass(frozen=True)
class Probe:
    """Something that does nothing but use the machine."""

    task: Callable[[], None]
    work: int
    """Bytes or multiply-adds of the task."""

    def rates(self, timing: Timing) -> tuple[float, ...]:
        """Work per second, of each repetition."""
        return tuple(self.work / seconds for seconds in timing.wall)


def measure(options: Options) -> list[Figure]:
    """With one thread, and with as many as torch uses."""
    used = torch.get_num_threads()
    figures = []
    try:
        for threads in sorted({1, used}):
            torch.set_num_threads(threads)
            found = probes(small=options.small)
            timings = in_turn({name: probe.task for name, probe in found.items()}, n=options.repeats(10))
            label = "1 thread" if threads == 1 else f"{threads} threads"
            figures += [
                rate_figure(f"{name}, {label}", probe.rates(timings[name]), unit=UNITS[name])
                for name, probe in found.items()
            ]
    finally:
        torch.set_num_threads(used)
    return figures


def rate_figure(name: str, rates: tuple[float, ...], *, unit: str) -> Figure:
    """Rates per second, in billions."""
    return Figure(name=name, values=tuple(rate / 1e9 for rate in rates), unit=unit, better="more")


def probes(*, small: bool) -> dict[str, Probe]:
    """What tells the rates with torch's present number of threads, each in some tenths of a second."""
    side, copies, cached, products = (SMALL_SIDE, 1, 1, 1) if small else (SIDE, 8, 1000, 8)
    left, right, product = torch.rand(side, side), torch.rand(side, side), torch.empty(side, side)

    def multiply() -> None:
        for _ in range(products):
            torch.mm(left, right, out=product)

    beyond = 2**20 if small else max(2**28, 8 * last_cache())
    # torch splits a copy between its threads into no less than 128 KiB for each.
    in_cache = torch.get_num_threads() * 2**18
    return {
        COPY: Probe(_copying(beyond, times=copies), 2 * beyond * copies),
        CACHE: Probe(_copying(in_cache, times=cached), 2 * in_cache * cached),
        PRODUCT: Probe(multiply, side**3 * products),
    }


def _copying(num_bytes: int, *, times: int) -> Callable[[], None]:
    given, taken = torch.ones(num_bytes // 4), torch.ones(num_bytes // 4)

    def copy() -> None:
        for _ in range(times):
            taken.copy_(given)

    return copy


def last_cache() -> int:
    """Bytes of the largest cache that the system tells of; 32 MiB where it tells of none."""
    found = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    sizes = [path.read_text().strip() for path in found]
    return max((int(size[:-1]) * {"K": 2**10, "M": 2**20}[size[-1]] for size in sizes), default=2**25)
