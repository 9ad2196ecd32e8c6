"""The processes that train one network together: what they exchange, and how they stay and end together.

Rank 0 leads. It runs the verb as a process alone would, and it alone decides, writes and speaks; for every course it
gives the others an order, and they do the same steps, each with its part of every batch (train/serve.py). Orders and
answers go through a store of small texts, which waits for nobody; steps meet in collective operations of
torch.distributed, which this file alone knows.
"""

import hashlib
import json
import math
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.nn.parallel import DistributedDataParallel

from xnas.config.schema import DistributedConfig
from xnas.io.errors import RankLost, RanksDiffer
from xnas.train.launch import Launch
from xnas.train.rendezvous import MEETING_SECONDS, find_store, wait_for

Result = TypeVar("Result")
Module = TypeVar("Module", bound=nn.Module)
Order = dict[str, Any]
"""What JSON can say: `what` is to be done, and all that it takes."""

END = "end"
"""What is to be done when all is."""
BEAT = 0.5
"""Seconds between the signs of life of each process."""
PATIENCE = 8.0
"""Seconds in which processes that are still there have given one, after one was lost."""
POLL = 0.02
"""Seconds between looks into the store."""

SIGNS_OF_LOSS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset", "Broken pipe", "Timed out")


class SingleProcess:
    """A process alone: what it exchanges comes back as it was. `ProcessGroup` are many."""

    rank = 0
    size = 1
    local_rank: int | None = None
    """Among the processes of this machine; None where one process may take any device."""
    local_world_size = 1
    """Processes among which the cores that this one may use are divided."""
    restarts = False

    @property
    def is_main(self) -> bool:
        """Whether this process decides, writes and speaks."""
        return self.rank == 0

    def check_batch(self, name: str, size: int) -> None:
        """Raises ValueError if a batch of the setting `name` cannot be divided among the processes."""
        if size % self.size:
            raise ValueError(
                f"{name} {size} does not divide over {self.size} processes; use a multiple of {self.size}, such as "
                f"{self.size * math.ceil(size / self.size)}"
            )

    def check(self, settings: DistributedConfig, device: torch.device) -> None:
        """Raises ValueError for settings with which processes cannot work together on such devices."""

    def convert_sync_batchnorm(self, module: Module) -> Module:
        """The module with norms that take their statistics of the images of all processes."""
        return module

    def all_reduce_mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all processes."""

    def all_reduce_sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its sum over all processes."""

    def all_gather(self, tensor: Tensor, *, dim: int = 0) -> Tensor:
        """The parts that all processes have, of equal shapes, joined along `dim` in the order of ranks."""
        del dim
        return tensor

    def all_reduce_max(self, *values: int) -> list[int]:
        """The largest that any process gives, for each."""
        return list(values)

    def all_true(self, flag: Tensor) -> bool:
        """Whether a flag is set on every process."""
        return bool(flag)

    def assert_equal_across_ranks(self, facts: bytes, *, what: str) -> None:
        """Raises RanksDiffer, naming the processes, unless all give the same."""

    def order(self, order: Order, *, device: torch.device, settings: DistributedConfig) -> None:
        """Have the other processes do something, and wait until they are ready for it."""

    def broadcast_tensors(self, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """What the leading process gives, on every process."""
        assert tensors is not None
        return dict(tensors)

    def lost(self, error: BaseException) -> RankLost | None:
        """Which process was lost and why, if that is what an error says."""
        del error
        return None

    def leave(self) -> None:
        """Be gone from the others."""


class _ClosureModule(nn.Module):
    """A function of modules as a module, for DistributedDataParallel to wrap."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, compute: Callable[[], Result]) -> Result:
        return compute()


class ProcessGroup(SingleProcess):
    """Processes that found each other through a launcher's rendezvous."""

    def __init__(self, launch: Launch) -> None:
        self.rank, self.size, self.local_rank = launch.rank, launch.size, launch.local_rank
        self.local_world_size, self.restarts = launch.local_world_size, launch.restarts
        self._store = PrefixStore(f"{launch.job}, attempt {launch.attempt}", find_store(launch))
        self._orders = 0
        self._leaving = threading.Event()
        # Also while an operation waits for a process that is gone: who is there shows only in this way.
        threading.Thread(target=self._give_signs_of_life, daemon=True).start()
        self.traffic: Counter[str] = Counter()
        """Bytes that this process has given to collective operations, by what they are for; but for gradients."""
        self._store.set(f"here/{self.rank}", "")
        others = range(1, self.size) if self.is_main else (0,)
        try:
            wait_for(launch, others, is_here=lambda rank: self._store.check([f"here/{rank}"]))
        except BaseException:
            self.leave()
            raise

    def check(self, settings: DistributedConfig, device: torch.device) -> None:
        """Raises ValueError for settings with which processes cannot work together on such devices."""
        if device.type not in ("cpu", "cuda"):
            raise ValueError(
                f"{self.size} processes cannot train on {device} together; use --device cpu or cuda"
            )
        _backend(settings.backend, device)
        if settings.sync_norm and device.type != "cuda":
            raise ValueError(
                f"distributed.sync_norm needs CUDA devices, and this run is on {device}; leave it out"
            )

    def convert_sync_batchnorm(self, module: Module) -> Module:
        """The module with norms that take their statistics of the images of all processes."""
        converted: Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return converted

    # What JSON says goes through the store.

    def order(self, order: Order, *, device: torch.device, settings: DistributedConfig) -> None:
        """Give an order to all others, and connect with them. Raises RankLost, with the reason, if one cannot."""
        backend = _backend(settings.backend, device)
        self._put(order | {"backend": backend, "timeout": settings.timeout})
        for rank in range(1, self.size):
            self._hear(rank, patience=max(settings.timeout, PATIENCE))
        self.connect(backend, timeout=settings.timeout)

    def _put(self, order: Order) -> None:
        self._store.set(f"order/{self._orders}", json.dumps(order))
        self._orders += 1

    def _hear(self, rank: int, *, patience: float, deadline: float = math.inf) -> None:
        """Wait for an answer, and once there are signs of life as long as these go on: images may take long to load."""
        key = f"answer/{self._orders - 1}/{rank}"
        signs, alive = -1, time.monotonic()
        while not self._store.check([key]):
            now, before = time.monotonic(), signs
            if (signs := self._store.add(f"life/{rank}", 0)) != before:
                alive = now
            if now > min(alive + (patience if signs else MEETING_SECONDS), deadline):
                raise RankLost(
                    f"rank {rank} of {self.size} does not answer to an order: killed, or out of reach"
                )
            time.sleep(POLL)
        if reason := self._store.get(key).decode():
            raise RankLost(f"rank {rank} of {self.size} cannot take part: {reason}")

    def next_order(self) -> Order:
        """Wait for what the leading process wants. Raises RuntimeError if the store is gone."""
        key = f"order/{self._orders}"
        while not self._store.check([key]):
            time.sleep(POLL)
        self._orders += 1
        order: Order = json.loads(self._store.get(key))
        return order

    def answer(self, reason: str = "") -> None:
        """Tell the leading process that this one is ready, or why it cannot be."""
        self._store.set(f"answer/{self._orders - 1}/{self.rank}", reason)

    def end(self, code: int) -> None:
        """Send the others home with the exit code of all."""
        with suppress(RuntimeError):
            self._put({"what": END, "code": code})
            deadline = time.monotonic() + PATIENCE / 2
            with suppress(RankLost):
                for rank in range(1, self.size):
                    self._hear(rank, patience=PATIENCE, deadline=deadline)

    def ended(self) -> int | None:
        """The exit code of all, if the leading process has ended meanwhile."""
        with suppress(RuntimeError):
            key = f"order/{self._orders}"
            if self._store.check([key]):
                order = json.loads(self._store.get(key))
                return int(order["code"]) if order["what"] == END else None
        return None

    def connect(self, backend: str, *, timeout: float) -> None:
        """Be connected with all others, who do the same. The first connection stays. Raises ValueError if it fails."""
        if dist.is_initialized():
            return
        named = f"cpu:gloo,cuda:{backend}" if backend != "gloo" else "gloo"
        dist.init_process_group(
            named,
            store=PrefixStore("group", self._store),
            rank=self.rank,
            world_size=self.size,
            timeout=timedelta(seconds=timeout),
        )

    # What tensors say meets in collective operations.

    def all_reduce_mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all processes."""
        self._reduce(tensors, "means", share=1 / self.size)

    def all_reduce_sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its sum over all processes."""
        self._reduce(tensors, "sums", share=1)

    def _reduce(self, tensors: Iterable[Tensor], purpose: str, *, share: float) -> None:
        by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            by_kind.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for (dtype, _), alike in by_kind.items():
            flat = torch.cat([tensor.detach().flatten() for tensor in alike])
            self._count(purpose, flat)
            dist.all_reduce(flat)
            if dtype.is_floating_point:
                flat *= share
            parts = torch.split(flat, [tensor.numel() for tensor in alike])
            with torch.no_grad():
                for tensor, part in zip(alike, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))

    def all_gather(self, tensor: Tensor, *, dim: int = 0) -> Tensor:
        """The parts that all processes have, of equal shapes, joined along `dim` in the order of ranks."""
        own = tensor.detach().contiguous()
        self._count("gathered", own)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts, dim=dim)

    def all_reduce_max(self, *values: int) -> list[int]:
        """The largest that any process gives, for each."""
        together = torch.tensor(values)
        self._count("agreement", together)
        dist.all_reduce(together, op=dist.ReduceOp.MAX)
        agreed: list[int] = together.tolist()
        return agreed

    def all_true(self, flag: Tensor) -> bool:
        """Whether a flag is set on every process."""
        return self.all_reduce_max(int(not flag)) == [0]

    def wrap_ddp(
        self, modules: Sequence[nn.Module], *, has_unused_parameters: bool
    ) -> Callable[[Callable[[], Result]], Result]:
        """Runs a function, a pass through `modules`, so that the backward pass averages gradients over all processes.

        `has_unused_parameters`: not every weight takes part in every pass. Norms keep the statistics of each
        process's own images,        unless they are synchronised.
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
        """Raises RanksDiffer, naming those who differ from most others, unless all give the same."""
        own = torch.frombuffer(bytearray(hashlib.sha256(facts).digest()), dtype=torch.uint8)
        digests = [bytes(row.tolist()) for row in self.all_gather(own[None])]
        (common, _), *others = Counter(digests).most_common()
        if others:
            odd = [str(rank) for rank, digest in enumerate(digests) if digest != common]
            raise RanksDiffer(
                f"{what} differ between the {self.size} processes: rank{'s' if len(odd) > 1 else ''} {', '.join(odd)} "
                "went another way; nothing of it was saved"
            )

    def broadcast_tensors(self, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """What the leading process gives, on every process, on the CPU."""
        packed = b""
        if self.is_main:
            assert tensors is not None
            packed = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        (length,) = self.all_reduce_max(len(packed))
        content = torch.frombuffer(bytearray(packed) or bytearray(length), dtype=torch.uint8)
        dist.broadcast(content, src=0)
        return dict(tensors) if tensors is not None else load(content.numpy().tobytes())

    def _count(self, purpose: str, tensor: Tensor) -> None:
        self.traffic[purpose] += tensor.numel() * tensor.element_size()

    # Losing one.

    def confess(self, reason: str) -> None:
        """Leave word of why this process ends by itself."""
        with suppress(RuntimeError):
            self._store.set(f"reason/{self.rank}", reason)

    def lost(self, error: BaseException) -> RankLost | None:
        """Which process was lost and why, if that is what an error says: asks who is still there."""
        if isinstance(error, RankLost):
            return error
        said = " ".join(str(error).split())
        if not isinstance(error, dist.DistError) and not (
            isinstance(error, RuntimeError) and any(sign in said for sign in SIGNS_OF_LOSS)
        ):
            return None
        try:
            reasons, silent = self._roll_call()
        except RuntimeError:
            return RankLost(
                f"the process where all {self.size} met is gone, and with it the run: {said[:200]}"
            )
        words = [f"rank {rank} ended: {reason}" for rank, reason in reasons.items()]
        if silent:
            one = len(silent) == 1
            words.append(
                f"rank{'' if one else 's'} {', '.join(map(str, silent))} of {self.size} {'does' if one else 'do'} not "
                "answer: killed, or out of reach"
            )
        self.speaks = all(rank in silent for rank in range(self.rank))
        with suppress(RuntimeError):
            self._store.set(f"left/{self.rank}", said[:200])
        return RankLost("; ".join(words) or f"the connection between the processes broke: {said[:200]}")

    speaks = False
    """After a loss: whether this process is the first that is left, who says so."""

    def _give_signs_of_life(self) -> None:
        with suppress(RuntimeError):
            while not self._leaving.wait(BEAT):
                self._store.add(f"life/{self.rank}", 1)

    def _roll_call(self) -> tuple[dict[int, str], list[int]]:
        """Who has said why they ended, and who gives no sign of life."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        before = {rank: self._store.add(f"life/{rank}", 0) for rank in others}
        reasons: dict[int, str] = {}
        silent, deadline = list(others), time.monotonic() + PATIENCE
        while silent and time.monotonic() < deadline:
            for rank in list(silent):
                if self._store.check([f"reason/{rank}"]):
                    reasons[rank] = self._store.get(f"reason/{rank}").decode()
                elif (
                    not self._store.check([f"left/{rank}"])
                    and self._store.add(f"life/{rank}", 0) == before[rank]
                ):
                    continue
                silent.remove(rank)
            time.sleep(POLL)
        return reasons, silent

    def leave(self) -> None:
        """Give no more signs of life."""
        self._leaving.set()


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


_team = SingleProcess()


def process_group() -> SingleProcess:
    """The processes that this one belongs to."""
    return _team


def join(launch: Launch) -> ProcessGroup:
    """Meet the other processes; from then on `process_group` is them.

    Raises ValueError where there is no place to meet at, RankLost if the others do not come there.
    """
    global _team
    try:
        ranks = ProcessGroup(launch)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise RankLost(f"{launch.size} processes were launched, but they did not meet: {said}") from error
    # Of weights with one channel in each group, whose strides may be called either way.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    _team = ranks
    return ranks


def leave() -> None:
    """Be alone again."""
    global _team
    _team.leave()
    _team = SingleProcess()
    if dist.is_initialized():
        dist.destroy_process_group()
