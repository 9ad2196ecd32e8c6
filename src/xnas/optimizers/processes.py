"""The processes of torch.distributed in a user's own program, each with its part of every batch.

A trainer that divides batches itself gives an architecture optimizer its `ranks`. Where none does, and there is a
process group, rewards are those of all its processes: each gathers what all have measured, in the order of ranks, and
computes the same from it, bit for bit. What one cannot measure, all refuse.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup as ProcessGroup

from xnas.io.text import printable

Result = TypeVar("Result")

WORDS = 400
"""Bytes of an error message that are sent to the other ranks."""


class BatchRanks:
    """The processes of a group; None is the default one."""

    def __init__(self, group: ProcessGroup | None) -> None:
        self._group = group
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)
        # A group that knows the CPU takes small numbers from there, and no device has to be known.
        on_cpu = "cpu:" in dist.get_backend_config(group)
        self._device = torch.device("cpu" if on_cpu else "cuda")

    @classmethod
    def found(cls, group: ProcessGroup | None) -> "BatchRanks | None":
        """Return the ranks that share batches now; None if this process is alone, or not in the group."""
        if not (dist.is_available() and dist.is_initialized()):
            return None
        return cls(group) if dist.get_rank(group) >= 0 and dist.get_world_size(group) > 1 else None

    def all_reduce_mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all processes."""
        all_reduce_flat(tensors, lambda total: total.div_(self.size), group=self._group)

    def all_gather(self, tensor: Tensor, *, dim: int) -> Tensor:
        """The parts of all processes, of equal shapes, joined along `dim` in the order of ranks."""
        own = tensor.detach().to(self._device).contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own, group=self._group)
        return torch.cat(parts, dim=dim)

    def all_gather_ints(self, *values: int) -> list[list[int]]:
        """Return the values of every rank."""
        gathered: list[list[int]] = self.all_gather(torch.tensor([values], dtype=torch.int64), dim=0).tolist()
        return gathered

    def all_or_none(self, compute: Callable[[], Result]) -> Result:
        """Return `compute()`, if it succeeds on all ranks.

        Where one fails, it raises its error and the others ValueError with its message, so that nobody waits.
        """
        error: Exception | None = None
        try:
            result = compute()
        except Exception as failure:
            error = failure
        failed = [rank for rank, (bad,) in enumerate(self.all_gather_ints(error is not None)) if bad]
        if not failed:
            return result
        words = b"" if error is None else _words(error)
        gathered = self.all_gather(torch.tensor([list(words.ljust(WORDS))], dtype=torch.uint8), dim=0)
        if error is not None:
            raise error
        first = bytes(gathered[failed[0]].tolist()).decode(errors="ignore").strip()
        raise ValueError(
            f"nothing was learned from this measurement, because rank {failed[0]} could not make it: {printable(first)}"
        )


def all_reduce_flat(
    tensors: Iterable[Tensor], finish: Callable[[Tensor], object], *, group: ProcessGroup | None = None
) -> None:
    """Replace every tensor by its sum over all processes, as `finish` changes it in place: of one type at once."""
    by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        by_kind.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    with torch.no_grad():
        for alike in by_kind.values():
            flat = torch.cat([tensor.detach().flatten() for tensor in alike])
            dist.all_reduce(flat, group=group)
            finish(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in alike])
            for tensor, part in zip(alike, parts, strict=True):
                tensor.copy_(part.view_as(tensor))


def _words(error: Exception) -> bytes:
    """Return an error's type and message in at most WORDS bytes. Never raises: other ranks wait for it."""
    try:
        said = f"{type(error).__name__}: {error}"
    except Exception:
        said = type(error).__name__
    return said.encode(errors="backslashreplace")[:WORDS]
