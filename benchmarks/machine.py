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
from benchmarks.timing import in_turn

LARGE_SIDE, SMALL_SIDE = 1024, 64
"""Of the matrices."""


@dataclass(frozen=True)
class Rates:
    """Of all threads together; one value for each repetition."""

    copied: tuple[float, ...]
    """Bytes per second, of large arrays."""
    copied_in_cache: tuple[float, ...]
    """Bytes per second, of small ones."""
    multiplied: tuple[float, ...]
    """Multiply-adds per second."""


def measure(options: Options) -> list[Figure]:
    """With one thread, and with as many as torch uses."""
    used = torch.get_num_threads()
    figures = []
    for threads in sorted({1, used}):
        torch.set_num_threads(threads)
        found = rates(n=options.repeats(10), small=options.small)
        label = "1 thread" if threads == 1 else f"{threads} threads"
        figures += [
            Figure(name=f"{what}, {label}", values=tuple(v / 1e9 for v in values), unit=unit, better="more")
            for what, values, unit in (
                ("copy of large arrays", found.copied, "GB/s"),
                ("copy in the cache", found.copied_in_cache, "GB/s"),
                ("matrix product", found.multiplied, "G multiply-adds/s"),
            )
        ]
    torch.set_num_threads(used)
    return figures


def rates(*, n: int, small: bool = False) -> Rates:
    """The rates with torch's present number of threads."""
    side = SMALL_SIDE if small else LARGE_SIDE
    left, right = torch.rand(side, side), torch.rand(side, side)
    product = torch.empty(side, side)
    # torch splits a copy between its threads into no less than 128 KiB for each.
    in_cache, times = torch.get_num_threads() * 2**18, 1 if small else 1000
    beyond = 2**20 if small else max(2**28, 8 * last_cache())
    tasks = {
        "copied": _copies(beyond, times=1),
        "copied_in_cache": _copies(in_cache, times=times),
        "multiplied": lambda: torch.mm(left, right, out=product),
    }
    work = {"copied": 2 * beyond, "copied_in_cache": 2 * in_cache * times, "multiplied": side**3}
    timings = in_turn(tasks, n=n)
    return Rates(
        **{name: tuple(work[name] / seconds for seconds in timing.wall) for name, timing in timings.items()}
    )


def _copies(num_bytes: int, *, times: int) -> Callable[[], None]:
    given, taken = torch.ones(num_bytes // 4), torch.ones(num_bytes // 4)

    def copy() -> None:
        for _ in range(times):
            taken.copy_(given)

    return copy


def last_cache() -> int:
    """Bytes of the largest cache that the system tells of; 32 MiB where it tells of none."""
    found = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    sizes = [
        int(text[:-1]) * {"K": 2**10, "M": 2**20}[text[-1]]
        for path in found
        if (text := path.read_text().strip())
    ]
    return max(sizes, default=2**25)
