"""Peak memory of a run, and the line that tells it."""

import ctypes
import logging
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

log = logging.getLogger(__name__)

ROUNDS = 5
"""After so many it is said; or at the end of an epoch, where that comes sooner."""


MORE = 1.05
"""It is said again where steps that do more than those before have a peak so many times as high."""


class MemoryNotice:
    """Watches the peak from now on, and speaks once for each kind of steps: a warm-up's, and those with rewards.

    Where the system does not tell what a process holds, nothing is said.
    """

    def __init__(self, device: torch.device, *, remedies: str) -> None:
        self.device, self.remedies = device, remedies
        self._before = peak_memory(device)
        self._kind = ""
        self._steps = 0
        self._said = 0

    def after_step(self, kind: str, *, epoch_ends: bool) -> None:
        """Count a step of this kind, a word in the plural, and speak if it is time to."""
        if kind != self._kind:
            self._kind, self._steps = kind, 0
        elif self._steps == 0:  # of these it has spoken
            return
        self._steps += 1
        if self._steps < ROUNDS and not epoch_ends:
            return
        peak = peak_memory(self.device)
        if peak > MORE * self._said:
            log.info(self._line(peak))
            self._said = peak
        self._steps = 0

    def _line(self, peak: int) -> str:
        steps = f"{self._steps} {self._kind if self._steps > 1 else self._kind.removesuffix('s')}"
        taken = f", {_size(peak - self._before)} of it taken by them" if peak > self._before else ""
        return f"memory: {_size(peak)} at most in {steps}{taken}; {self.remedies} would lower it"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"


SIGNS_OF_NO_MEMORY = (
    "DefaultCPUAllocator",
    "MPS backend out of memory",
    "could not create a primitive",  # oneDNN, when there is no room for the code that it generates
    "std::bad_alloc",
)


def take_memory_early() -> None:
    """Have libraries take now, while there is memory, what they take late and cannot do without.

    numpy's BLAS takes a buffer at its first product of matrices, which is in a picture of the report, keeps it from
    then on, and where there is none it ends the process on the spot. torch imports its compiler for the first
    optimizer; where that breaks off half-way, some name is missing and nothing says why.
    """
    np.ones((3, 3)) @ np.ones((3, 3))
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def forget_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` count from now on, where the system can: on CUDA devices and on Linux.

    There, what earlier work has freed goes back to the system first; glibc keeps it otherwise, and it would be counted.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError, AttributeError):  # no glibc
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError), open("/proc/self/clear_refs", "w") as switch:
            switch.write("5")


def peak_memory(device: torch.device) -> int:
    """Bytes that this process has held at most: of the device, or of the machine if that is a CPU; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    if sys.platform == "linux":
        # Not from getrusage, which begins with what the process held that started this one.
        with suppress(OSError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux counts in KiB


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an operation failed for want of memory. On the CPU torch has no error of its own for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and any(sign in said for sign in SIGNS_OF_NO_MEMORY)
