"""Peak memory of a run, and errors for want of memory."""

import ctypes
import logging
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

log = logging.getLogger(__name__)

STEPS = 5
"""Steps after which the peak is logged; or at the end of an epoch, if that is sooner."""

MORE = 1.05
"""Factor by which another kind of steps must exceed the last logged peak to be logged too."""


class MemoryNotice:
    """Logs the peak memory once for each kind of steps (warm-up, search).

    Logs nothing where the system does not tell what a process holds.
    """

    def __init__(self, device: torch.device, *, remedies: str) -> None:
        self.device, self.remedies = device, remedies
        self._before = peak_memory(device)
        self._kind = ""
        self._steps = 0
        self._said = 0

    def after_step(self, kind: str, *, epoch_ends: bool) -> None:
        """Count a step of this kind (a noun in the plural), and log the peak if it is time to."""
        if kind != self._kind:
            self._kind, self._steps = kind, 0
        elif self._steps == 0:  # logged already
            return
        self._steps += 1
        if self._steps < STEPS and not epoch_ends:
            return
        peak = peak_memory(self.device)
        if peak > MORE * self._said:
            log.info(self._line(peak))
            self._said = peak
        self._steps = 0

    def _line(self, peak: int) -> str:
        steps = f"{self._steps} {self._kind if self._steps > 1 else self._kind.removesuffix('s')}"
        taken = f" (+{_size(peak - self._before)})" if peak > self._before else ""
        return f"peak memory {_size(peak)} after {steps}{taken}; {self.remedies} would lower it"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"


SIGNS_OF_NO_MEMORY = (
    "DefaultCPUAllocator",
    "MPS backend out of memory",
    "could not create a primitive",  # oneDNN, when there is no room for the code that it generates
    "std::bad_alloc",
)


def take_memory_early() -> None:
    """Make libraries allocate now, while there is memory, what they allocate late and cannot do without.

    numpy's BLAS takes a buffer at its first product of matrices, which is in a picture of the report, keeps it from
    then on, and where there is none it ends the process on the spot. torch imports its compiler for the first
    optimizer; where that breaks off half-way, some name is missing and nothing says why.
    """
    np.ones((3, 3)) @ np.ones((3, 3))
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak of `peak_memory`, where the system can: on CUDA devices and on Linux.

    glibc keeps what earlier work has freed, and it would be counted: it is given back first.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError, AttributeError):  # no glibc
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError), open("/proc/self/clear_refs", "w") as switch:
            switch.write("5")


def peak_memory(device: torch.device) -> int:
    """Return the peak bytes that this process has held, of the device or of the machine; 0 if unknown."""
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
    """Return whether an operation failed for want of memory. On the CPU torch has no error type for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and any(sign in said for sign in SIGNS_OF_NO_MEMORY)
