"""The ranks that train one network: collective operations, and how all end together.

Every rank runs the same command (torchrun starts them). Rank 0 alone reads and writes the run folder, logs and reports;
what it reads all need, so `from_main` gives it to all. Tensors go through torch.distributed, which this file and its
neighbours alone know; what JSON can say goes through the store where the ranks met, which has no timeout: there a rank
waits for the others as long as they are alive (train/heartbeat.py).
"""

import hashlib
import json
import math
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.nn.parallel import DistributedDataParallel

from xnas.config.schema import DistributedConfig
from xnas.io.errors import (
    CannotWrite,
    Interrupted,
    NonFinite,
    OutOfMemory,
    RankLost,
    RanksDiffer,
    exit_code,
)
from xnas.optimizers.processes import all_reduce_flat
from xnas.train.heartbeat import Heartbeat
from xnas.train.launch import Launch
from xnas.train.rendezvous import find_store, wait_for

Result = TypeVar("Result")
Module = TypeVar("Module", bound=nn.Module)

SIGNS_OF_LOSS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset", "Broken pipe", "Timed out")


class SingleProcess:
    """The only rank: collective operations return what they are given. `ProcessGroup` is of several ranks."""

    rank = 0
    size = 1
    local_rank: int | None = None
    """Among the ranks of this machine; None where one process may take any device."""
    local_world_size = 1
    """Ranks among which the cores of this machine are divided."""
    restarts = False
    """Whether the launcher starts all ranks again when one has died."""

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which alone writes files, logs and reports."""
        return self.rank == 0

    def check_batch(self, name: str, size: int) -> None:
        """Raise ValueError if a batch of the setting `name` cannot be divided among the ranks."""
        if size % self.size:
            raise ValueError(
                f"{name} {size} does not divide over {self.size} processes; use a multiple of {self.size}, such as "
                f"{self.size * math.ceil(size / self.size)}"
            )

    def check(self, settings: DistributedConfig, device: torch.device) -> None:
        """Raise ValueError for settings with which ranks cannot work together on such devices."""

    def init_process_group(self, settings: DistributedConfig, device: torch.device) -> None:
        """Connect all ranks for tensors, once."""

    def convert_sync_batchnorm(self, module: Module) -> Module:
        """Return the module with norms that take their statistics of the images of all ranks."""
        return module

    def all_reduce_mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all ranks."""

    def all_reduce_sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its sum over all ranks."""

    def all_gather(self, tensor: Tensor, *, dim: int = 0) -> Tensor:
        """Return the tensors of all ranks, of equal shapes, joined along `dim` in the order of ranks."""
        del dim
        return tensor

    def all_reduce_max(self, *values: int) -> list[int]:
        """Return the largest that any rank gives, for each value."""
        return list(values)

    def all_true(self, flag: Tensor) -> bool:
        """Return whether a flag is set on every rank."""
        return bool(flag)

    def assert_equal_across_ranks(self, facts: bytes, *, what: str) -> None:
        """Raise RanksDiffer, naming the ranks, unless all give the same."""

    def broadcast_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what rank 0 gives, on every rank."""
        return dict(tensors)

    def all_gather_object(self, value: Any) -> list[Any]:
        """Return what every rank gives, in JSON's types, by rank."""
        return [value]

    def from_main(self, compute: Callable[[], Result]) -> Result:
        """Return on every rank what `compute` returns on rank 0, in JSON's types; what it raises, every rank raises."""
        return compute()

    def raised_everywhere(self, error: Exception) -> bool:
        """Return whether every rank has raised an error, so that all may continue after it."""
        del error
        return True

    def diagnose_loss(self, error: BaseException) -> Exception | None:
        """Return the error that names the lost rank and the reason, if that is what an error says."""
        del error
        return None


class _ClosureModule(nn.Module):
    """A function of modules as a module, for DistributedDataParallel to wrap."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, compute: Callable[[], Result]) -> Result:
        return compute()


class ProcessGroup(SingleProcess):
    """Several ranks, which met at a launcher's rendezvous."""

    def __init__(self, launch: Launch) -> None:
        self.rank, self.size, self.local_rank = launch.rank, launch.size, launch.local_rank
        self.local_world_size, self.restarts = launch.local_world_size, launch.restarts
        self._store = PrefixStore(f"{launch.job}, attempt {launch.attempt}", find_store(launch))
        self._heartbeat = Heartbeat(self._store, rank=self.rank, size=self.size)
        self._objects = 0
        self._raised_by_all: Exception | None = None
        self.traffic: Counter[str] = Counter()
        """Bytes that this rank has given to collective operations, by purpose, without gradients."""
        self._store.set(f"here/{self.rank}", "")
        others = range(1, self.size) if self.is_main else (0,)
        try:
            wait_for(launch, others, is_here=lambda rank: self._store.check([f"here/{rank}"]))
        except BaseException:
            self._heartbeat.stop()
            raise

    def check(self, settings: DistributedConfig, device: torch.device) -> None:
        """Raise ValueError for settings with which ranks cannot work together on such devices."""
        if device.type not in ("cpu", "cuda"):
            raise ValueError(
                f"{self.size} processes cannot train on {device} together; use --device cpu or cuda"
            )
        _backend(settings.backend, device)
        if settings.sync_norm and device.type != "cuda":
            raise ValueError(
                f"distributed.sync_norm needs CUDA devices, and this run is on {device}; leave it out"
            )

    def init_process_group(self, settings: DistributedConfig, device: torch.device) -> None:
        """Connect all ranks for tensors, once."""
        if dist.is_initialized():
            return
        backend = _backend(settings.backend, device)
        dist.init_process_group(
            f"cpu:gloo,cuda:{backend}" if backend != "gloo" else "gloo",
            store=PrefixStore("group", self._store),
            rank=self.rank,
            world_size=self.size,
            timeout=timedelta(seconds=settings.timeout),
        )

    def convert_sync_batchnorm(self, module: Module) -> Module:
        """Return the module with norms that take their statistics of the images of all ranks."""
        converted: Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return converted

    # What JSON says goes through the store. torch's own collectives of objects would pickle.

    def all_gather_object(self, value: Any) -> list[Any]:
        """Return what every rank gives, in JSON's types, by rank. Waits for all as long as they are alive."""
        self._objects += 1
        keys = {rank: f"object {self._objects}/{rank}" for rank in range(self.size)}
        self._heartbeat.set(keys[self.rank], json.dumps(value))
        self._heartbeat.wait(keys)
        return [json.loads(self._store.get(key)) for key in keys.values()]

    def from_main(self, compute: Callable[[], Result]) -> Result:
        """Return on every rank what `compute` returns on rank 0, in JSON's types; what it raises, every rank raises."""
        self._objects += 1
        key = f"object {self._objects}/0"
        if self.is_main:
            try:
                value = compute()
            except (ValueError, OutOfMemory, OSError, Interrupted) as error:
                code = error.exit_code if isinstance(error, Interrupted) else exit_code(error)
                self._raised_by_all = error
                self._heartbeat.set(key, json.dumps({"code": code, "error": str(error)}))
                raise
            self._heartbeat.set(key, json.dumps({"value": value}))
            return value
        self._heartbeat.wait({0: key})
        said = json.loads(self._store.get(key))
        if "error" not in said:
            value = said["value"]
            return value
        if said["code"] > 128:
            raise Interrupted(said["code"] - 128)
        kinds: dict[int, type[Exception]] = {3: OutOfMemory, 4: CannotWrite}
        self._raised_by_all = kinds.get(said["code"], ValueError)(said["error"])
        raise self._raised_by_all

    def raised_everywhere(self, error: Exception) -> bool:
        """Return whether every rank has raised an error, so that all may continue after it."""
        return error is self._raised_by_all or isinstance(error, NonFinite | RanksDiffer)

    # Tensors go through torch.distributed.

    def all_reduce_mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all processes."""
        self._reduce(tensors, "means", share=1 / self.size)

    def all_reduce_sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its sum over all processes."""
        self._reduce(tensors, "sums", share=1)

    def _reduce(self, tensors: Iterable[Tensor], purpose: str, *, share: float) -> None:
        def finish(total: Tensor) -> None:
            self._count(purpose, total)
            if total.is_floating_point():
                total.mul_(share)

        all_reduce_flat(tensors, finish)

    def all_gather(self, tensor: Tensor, *, dim: int = 0) -> Tensor:
        """Return the tensors of all ranks, of equal shapes, joined along `dim` in the order of ranks."""
        own = tensor.detach().contiguous()
        self._count("gathered", own)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts, dim=dim)

    def all_reduce_max(self, *values: int) -> list[int]:
        """Return the largest that any rank gives, for each value."""
        together = torch.tensor(values)
        self._count("agreement", together)
        dist.all_reduce(together, op=dist.ReduceOp.MAX)
        agreed: list[int] = together.tolist()
        return agreed

    def all_true(self, flag: Tensor) -> bool:
        """Return whether a flag is set on every rank."""
        return self.all_reduce_max(int(not flag)) == [0]

    def wrap_ddp(
        self, modules: Sequence[nn.Module], *, has_unused_parameters: bool
    ) -> Callable[[Callable[[], Result]], Result]:
        """Return what runs a function, a pass through `modules`, whose backward averages gradients over all ranks.

        `has_unused_parameters`: not every weight takes part in every pass. Norms keep the statistics of each rank's own
        images, unless they are synchronised.
        """
        with warnings.catch_warnings():
            # Torch from 2.14 on has another word for broadcast_buffers, which earlier ones do not know.
            warnings.simplefilter("ignore", FutureWarning)
            wrapper = DistributedDataParallel(
                _ClosureModule(modules),
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                find_unused_parameters=has_unused_parameters,
            )
        return lambda compute: wrapper(compute)

    def assert_equal_across_ranks(self, facts: bytes, *, what: str) -> None:
        """Raise RanksDiffer, naming those that differ from most others, unless all give the same."""
        own = torch.frombuffer(bytearray(hashlib.sha256(facts).digest()), dtype=torch.uint8)
        digests = [bytes(row.tolist()) for row in self.all_gather(own[None])]
        (common, _), *others = Counter(digests).most_common()
        if others:
            odd = [str(rank) for rank, digest in enumerate(digests) if digest != common]
            raise RanksDiffer(
                f"{what} differ between the {self.size} processes: rank{'s' if len(odd) > 1 else ''} {', '.join(odd)} "
                "went another way; nothing of it was saved"
            )

    def broadcast_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what rank 0 gives, on every rank; on the others on the CPU."""
        packed = b""
        if self.is_main:
            packed = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        (length,) = self.all_reduce_max(len(packed))
        content = torch.frombuffer(bytearray(packed or length), dtype=torch.uint8)
        dist.broadcast(content, src=0)
        return dict(tensors) if self.is_main else load(content.numpy().tobytes())

    def _count(self, purpose: str, tensor: Tensor) -> None:
        self.traffic[purpose] += tensor.numel() * tensor.element_size()

    def diagnose_loss(self, error: BaseException) -> Exception | None:
        """Return the error that names the lost rank and the reason, if that is what an error says."""
        if isinstance(error, RankLost):
            return error
        said = " ".join(str(error).split())
        if not isinstance(error, dist.DistError) and not (
            isinstance(error, RuntimeError) and any(sign in said for sign in SIGNS_OF_LOSS)
        ):
            return None
        return self._heartbeat.diagnose(said[:200])

    def report_failure(self, error: BaseException, exit_code: int, line: str) -> None:
        """Tell the other ranks why this one ends, and the user, unless another rank does."""
        if not isinstance(error, RankLost):
            self._heartbeat.report_failure(exit_code, line)
        if self.is_main:
            self._heartbeat.set("noticed")
        if self.is_main or not self._heartbeat.is_told():
            sys.stderr.write(f"xnas: {line}\n")

    def shutdown(self, *, failed: bool) -> None:
        """End together with the other ranks."""
        self._heartbeat.leave(failed=failed)
        if dist.is_initialized():
            dist.destroy_process_group()


def _backend(asked: str, device: torch.device) -> str:
    """The backend for tensors on that device. Raises ValueError for one that is not there."""
    backend = ("nccl" if device.type == "cuda" else "gloo") if asked == "auto" else asked
    if backend == "nccl" and (device.type != "cuda" or not dist.is_nccl_available()):
        why = (
            f"works on CUDA devices, and this run is on {device}"
            if dist.is_nccl_available()
            else "is not in this torch"
        )
        raise ValueError(f"distributed.backend nccl {why}; use gloo, or auto")
    if not dist.is_gloo_available():
        raise ValueError("distributed.backend gloo is not in this torch, and several processes need it")
    return backend


_group = SingleProcess()


def process_group() -> SingleProcess:
    """Return the ranks that this process belongs to."""
    return _group


def init_distributed(launch: Launch) -> ProcessGroup:
    """Meet the other ranks; from then on `process_group` returns them.

    Raises ValueError where there is no address to meet at, RankLost if the others do not come there.
    """
    global _group
    try:
        group = ProcessGroup(launch)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise RankLost(f"{launch.size} processes were launched, but they did not meet: {said}") from error
    # Of weights with one channel in each group, whose strides may be called either way.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    _group = group
    return group


def shutdown(*, failed: bool = False) -> None:
    """End together with the other ranks; this process is then the only one."""
    global _group
    group, _group = _group, SingleProcess()
    if isinstance(group, ProcessGroup):
        group.shutdown(failed=failed)


def run_rank(launch: Launch, main: Callable[[], int], *, guard: Callable[..., int]) -> int:
    """Run a command on this rank; returns the exit code, which is that of all ranks.

    `guard` runs it, and tells the errors that end it. Raises ValueError or RankLost if the ranks do not meet.
    """
    group, failed, lost = init_distributed(launch), False, False

    def fail(error: BaseException, code: int, line: str) -> None:
        nonlocal failed, lost
        failed, lost = True, isinstance(error, RankLost)
        group.report_failure(error, code, line)

    def work() -> int:
        # A rank that fails at the very end is noticed, and all end with the code of rank 0.
        return int(group.all_gather_object(main())[0])

    with ExitStack() as stack:
        if not group.is_main:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        try:
            code = guard(work, fail)
        except BaseException as error:  # a mistake of ours
            group.report_failure(error, 1, f"{type(error).__name__}: {error}")
            shutdown(failed=True)
            raise
        shutdown(failed=failed)
    if lost:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads of a broken connection may wait for ever
    return code
