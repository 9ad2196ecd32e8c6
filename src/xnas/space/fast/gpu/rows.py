"""Gathering of features and weights for grouped calls, and scattering of their gradients.

Gradients that meet at a source are added by one product with a matrix of zeros and ones, and the gradients of stacked
weights are handed out as views: autograd would launch something for each of them.

B: samples; S: sources of a bundle, one row of C channels each; C H W: channels, height, width; N: rows that are read.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xnas.space.fast.gpu.precision import as_they_are


class Read(NamedTuple):
    """The rows that a call reads of a bundle, after the ReLU if `active`."""

    rows: tuple[int, ...]
    active: bool


def spread(
    joined: Tensor, reads: Sequence[Read], *, num_rows: int, low: torch.dtype | None
) -> tuple[Tensor, ...]:
    """Return for each read its rows of (B, S x C, H, W), contiguous.

    With `low` what comes after the ReLU has that type: it goes into convolutions.
    """
    outputs: tuple[Tensor, ...] = _Spread.apply(tuple(reads), num_rows, low, joined)
    return outputs


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, reads: tuple[Read, ...], num_rows: int, low: torch.dtype | None, joined: Tensor
    ) -> tuple[Tensor, ...]:
        active = joined.relu().to(low or joined.dtype) if any(read.active for read in reads) else joined
        ready: dict[Read, Tensor] = {}
        for read in reads:
            if read not in ready:
                ready[read] = _picked(active if read.active else joined, read.rows, num_rows=num_rows)
        ctx.reads, ctx.num_rows, ctx.dtype = reads, num_rows, joined.dtype
        ctx.save_for_backward(active)
        ctx.set_materialize_grads(False)
        return tuple(ready[read].view_as(ready[read]) for read in reads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[None, None, None, Tensor | None]:
        (active,) = ctx.saved_tensors
        given = [(read, g) for read, g in zip(ctx.reads, gradients, strict=True) if g is not None]
        if not given:
            return None, None, None, None
        after, before = _sums(given, num_rows=ctx.num_rows)
        if after is not None:
            after = torch.ops.aten.threshold_backward(after, active.to(after.dtype), 0)
            before = after if before is None else before + after
        assert before is not None
        return None, None, None, before.to(ctx.dtype)


def _picked(joined: Tensor, rows: tuple[int, ...], *, num_rows: int) -> Tensor:
    if rows == tuple(range(num_rows)):
        return joined
    by_row = joined.view(len(joined), num_rows, -1, *joined.shape[2:])
    return by_row.index_select(1, _index(rows, joined.device)).flatten(1, 2)


def _sums(given: Sequence[tuple[Read, Tensor]], *, num_rows: int) -> tuple[Tensor | None, Tensor | None]:
    """The sums of the gradients that were read after and before the ReLU, (B, S x C, H, W), None for no gradients."""
    kinds = sorted({read.active for read, _ in given}, reverse=True)
    if len(given) == len(kinds) == 1 and given[0][0].rows == tuple(range(num_rows)):
        total = given[0][1][:, None]
    else:
        joined = torch.cat([gradient for _, gradient in given], dim=1) if len(given) > 1 else given[0][1]
        targets = tuple(kinds.index(read.active) * num_rows + row for read, _ in given for row in read.rows)
        places = _places(targets, len(kinds) * num_rows, joined.dtype, joined.device)
        by_read = joined.reshape(len(joined), len(targets), -1)
        with as_they_are(joined):
            total = torch.bmm(places.expand(len(joined), -1, -1), by_read)
        total = total.view(len(joined), len(kinds), -1, *joined.shape[2:])
    sums = dict(zip(kinds, total.unbind(dim=1), strict=True))
    return sums.get(True), sums.get(False)


@lru_cache(maxsize=256)
def _index(rows: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(rows, device=device)


@lru_cache(maxsize=256)
def _places(targets: tuple[int, ...], num_rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(rows, N): one where what was read goes to the row."""
    return (torch.arange(num_rows)[:, None] == torch.tensor(targets)).to(device, dtype)


def stack_weights(stacks: Sequence[Sequence[Tensor]], *, low: torch.dtype | None) -> tuple[Tensor, ...]:
    """The weights of each stack, alike in shape, joined along their first dimension; with `low` of that type."""
    sizes = tuple(len(stack) for stack in stacks)
    if not sizes:
        return ()
    joined: tuple[Tensor, ...] = _Stacked.apply(sizes, low, *(weight for stack in stacks for weight in stack))
    return joined


class _Stacked(torch.autograd.Function):
    """One copy for all weights, whatever their shapes; none for their gradients."""

    @staticmethod
    def forward(
        ctx: Any, sizes: tuple[int, ...], low: torch.dtype | None, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.sizes, ctx.dtype = sizes, weights[0].dtype
        ctx.set_materialize_grads(False)
        flat = torch.cat([weight.flatten() for weight in weights]).to(low or ctx.dtype)
        stacks, start, first = [], 0, 0
        for size in sizes:
            end = start + size * weights[first].numel()
            stacks.append(flat[start:end].view(-1, *weights[first].shape[1:]))
            start, first = end, first + size
        return tuple(stacks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        by_weight: list[Tensor | None] = []
        for size, gradient in zip(ctx.sizes, gradients, strict=True):
            by_weight += [None] * size if gradient is None else gradient.to(ctx.dtype).chunk(size)
        return None, None, *by_weight
