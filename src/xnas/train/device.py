"""Devices, threads, random generators and determinism: everything else asks this file."""

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from xnas.io.errors import CannotWrite, OutOfMemory
from xnas.kernels import build as kernels
from xnas.train.distributed import process_group

log = logging.getLogger(__name__)

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


LAST_BITS_DIFFER = "results may differ in the last bits from those of a run that stayed on one machine"


def pick_device(name: str) -> torch.device:
    """Return the device of that name, or for "auto" the fastest one. Raises ValueError if it is not there.

    Of several ranks each takes a CUDA device of its own: the one with its local rank.
    """
    own = process_group().local_rank
    if name == "auto":
        name = _available()[0]
    if name == "cuda" and own is not None:
        name = f"cuda:{own}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:1 or mps") from error
    available = _available()
    if device.type not in available:
        raise ValueError(f"device {name!r} is not there; this machine has {', '.join(available)}")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} is not there; this machine has {torch.cuda.device_count()} CUDA device(s)"
        )
    return device


def use_threads(count: int | None) -> None:
    """Set the number of CPU threads; None leaves torch's choice, one for each core."""
    if count is not None:
        torch.set_num_threads(count)


def prepare_kernels(device: torch.device, *, check: Callable[[], object] = lambda: None) -> None:
    """Compile or load the kernels for processors; a warning tells if there are none.

    `check` is called repeatedly meanwhile, and may raise. A compiler that was killed, or had no memory or disk, is
    tried again and then raises OutOfMemory, CannotWrite or ValueError: torch's own operations would give other last
    bits than the kernels of the next start.
    """
    if device.type != "cpu":
        return

    try:
        kernels.prepare(check=check)
    except kernels.CompilerFailed as error:
        check()
        kinds: dict[str, type[Exception]] = {"memory": OutOfMemory, "disk": CannotWrite}
        raise kinds.get(error.kind, ValueError)(
            f"kernels for this processor could not be compiled: {error}; mend that and try again, or compute with "
            "torch's own operations, about half as fast, by CXX=none"
        ) from error
    if reason := kernels.missing():
        log.warning(
            f"no kernels for this processor ({reason}); torch's own operations serve, about half as fast"
        )


def what_computes(device: torch.device) -> str | None:
    """Name the kernels in use by their SHA-256, or torch's operations; None on other devices than processors."""
    if device.type != "cpu":
        return None
    sha256 = kernels.version()
    return "none, torch's own operations" if sha256 is None else f"sha256 {sha256[:16]}"


def busy_cores(seconds: float = 0.25) -> float:
    """Count the cores that other work keeps busy while this process waits; 0 on other systems than Linux."""
    before = _core_times()
    time.sleep(seconds)
    after = _core_times()
    if before is None or after is None or after[1] <= before[1]:
        return 0.0
    idle, total = after[0] - before[0], after[1] - before[1]
    return (os.cpu_count() or 1) * (1 - idle / total)


def _core_times() -> tuple[int, int] | None:
    """Return (idle, total) time of all cores, in clock ticks."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()
    except OSError:
        return None
    ticks = [int(word) for word in words[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def make_repeatable(seed: int) -> None:
    """Seed torch and make its operations deterministic, so that a run repeats bit for bit."""
    # cuBLAS reads this when it starts; without it torch refuses deterministic matrix products.
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It would fill every new tensor too, which only shows bugs of kernels; a search spends a tenth of its time on it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)


@dataclass(frozen=True, kw_only=True)
class _ProcessState:
    """The process-wide settings that `make_repeatable` changes, and the default dtype."""

    random: Mapping[str, torch.Tensor]
    cuda_random: list[torch.Tensor] | None
    """None where CUDA has not been used yet: then its generators start with `seed`."""
    seed: int
    deterministic: bool
    warn_only: bool
    fill: bool
    dtype: torch.dtype
    cublas: str | None
    warning_filters: list[Any]

    @classmethod
    def now(cls) -> "_ProcessState":
        mps = torch.device("mps" if torch.backends.mps.is_available() else "cpu")
        return cls(
            random=random_states(mps),
            cuda_random=torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,  # type: ignore[no-untyped-call]
            seed=torch.initial_seed(),
            deterministic=torch.are_deterministic_algorithms_enabled(),
            warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
            fill=torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
            dtype=torch.get_default_dtype(),
            cublas=os.environ.get(_CUBLAS),
            warning_filters=list(warnings.filters),
        )

    def restore(self) -> None:
        set_random_states(self.random, device=torch.device("mps" if "mps" in self.random else "cpu"))
        if self.cuda_random is not None:
            torch.cuda.set_rng_state_all(self.cuda_random)
        else:
            torch.cuda.manual_seed_all(self.seed)  # waits until CUDA is used
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = self.fill  # type: ignore[attr-defined]
        torch.set_default_dtype(self.dtype)
        if self.cublas is None:
            os.environ.pop(_CUBLAS, None)
        if list(warnings.filters) != self.warning_filters:  # packages that torch imports late add some
            cast("list[Any]", warnings.filters)[:] = self.warning_filters


_keeping = threading.Lock()
_keepers = 0
_kept: _ProcessState | None = None


@contextmanager
def keeping_process_state() -> Iterator[None]:
    """Give torch the settings that runs need, and restore the caller's at the end.

    That is: random generators, deterministic algorithms, threads, default dtype and device, gradients, autocast, and
    warning filters. Several threads of one process may be within it at once; the last restores what they share.
    """
    global _keepers, _kept
    with _keeping:
        if _keepers == 0:
            _kept = _ProcessState.now()
        _keepers += 1
    threads = torch.get_num_threads()
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            for kind in ("cpu", "cuda", "mps"):
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            torch.set_default_dtype(torch.float32)
            yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        with _keeping:
            _keepers -= 1
            if _keepers == 0 and _kept is not None:
                _kept.restore()
                _kept = None


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the context of a forward pass in that precision: float32, or bfloat16 where torch deems it safe.

    Raises ValueError if the device does not support it.
    """
    if precision == "float32":
        return nullcontext()
    try:
        mixed: AbstractContextManager[None] = torch.autocast(device.type, dtype=getattr(torch, precision))
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the device {device} does not compute in {precision}: {said}; use float32"
        ) from error
    return mixed


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the states of torch's random generators, on the CPU and on `device`: uint8."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(states: Mapping[str, torch.Tensor], *, device: torch.device) -> None:
    """Set the generators to `random_states`; a device without a state keeps its own. Raises RuntimeError if invalid."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def total_memory(device: torch.device) -> int | None:
    """Return the bytes of memory of a CUDA device, or else of the machine; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _available() -> list[str]:
    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.insert(0, "mps")
    if torch.cuda.is_available():
        found.insert(0, "cuda")
    return found
