"""The mixture of outputs whose norms are still to come, and its gradients, by few launches.

Most experts end in a norm without parameters, f_k = (z_k - mean_k) rstd_k. What is mixed is z_k: the node is

    sum_k u_k rstd_k z_k - sum_k u_k rstd_k mean_k  +  sum_j u_j x_j,

a product with a matrix that has the u_k rstd_k on diagonals, and a constant for each channel; no normed output is
stored. The x_j are outputs without a norm, such as those of skip connections. With g the gradient by the node, rewards
come from the products g . z_k of every sample and channel: d loss / d u_k = (g . z_k - mean_k sum g) rstd_k,
summed over channels. All samples share u, though in a reward pass each has a leaf of its own.

B: samples; K: experts with a norm; J: experts without; C: channels; P: pixels.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xnas.space.fast.gpu.grouping import EPS, ExpertIndex
from xnas.space.fast.gpu.precision import as_they_are, full_type


class Shares(NamedTuple):
    """The mixture weights of a node, in the order in which outputs are mixed."""

    u_K: Tensor
    u_J: Tensor
    diagonals_CKC: Tensor
    """u_k where both channels are the same, else zero."""


class EdgeLayout(NamedTuple):
    """The experts that the mixture weights belong to."""

    sizes: tuple[int, ...]
    """Mixture weights of every edge."""
    normed: tuple[ExpertIndex, ...]
    raw: tuple[ExpertIndex, ...]


def mixing_weights(
    nodes: Sequence[tuple[EdgeLayout, Sequence[Tensor]]], *, channels: int, dtype: torch.dtype
) -> list[Shares]:
    """The shares of several nodes at once, of the mixture weights of all their edges, (B, experts) or (experts,)."""
    leaves = [leaf for _, leaves in nodes for leaf in leaves]
    device = leaves[0].device
    joined = torch.cat([leaf.detach()[0] if leaf.dim() == 2 else leaf.detach() for leaf in leaves])
    tables = tuple(table for table, _ in nodes)
    ordered = joined.index_select(0, _order(tables, device)).to(dtype)
    sizes_K, sizes_J = [len(table.normed) for table in tables], [len(table.raw) for table in tables]
    u_K, u_J = torch.split(ordered, [sum(sizes_K), sum(sizes_J)])
    diagonals_CKC = _eye(channels, dtype, device) * u_K[:, None]
    parts = zip(
        torch.split(u_K, sizes_K),
        torch.split(u_J, sizes_J),
        torch.split(diagonals_CKC, sizes_K, dim=1),
        strict=True,
    )
    return [Shares(*part) for part in parts]


def mix_normed(
    normed: Tensor | None, raw: Tensor | None, leaves: Sequence[Tensor], *, table: EdgeLayout, shares: Shares
) -> Tensor:
    """The node, (B, C, H, W), computed in at least float32, of the type of what it is mixed from.

    `normed`: (B, K x C, H, W), before their norms; `raw`: (B, J x C, H, W); one of them may be None. `leaves`, the
    mixture weights of every edge that `shares` were made of, are there for their gradients.
    """
    mixed: Tensor = _NormedMix.apply(table, shares, normed, raw, *leaves)
    return mixed


class _NormedMix(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        table: EdgeLayout,
        shares: Shares,
        normed: Tensor | None,
        raw: Tensor | None,
        *leaves: Tensor,
    ) -> Tensor:
        some = normed if normed is not None else raw
        assert some is not None
        dtype = full_type(some.dtype)
        num_samples, _, height, width = some.shape
        mixed = mean = rstd = None
        if normed is not None:
            wide = normed.to(dtype)
            variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
            rstd = (variance + EPS).rsqrt_()
            diagonals = (shares.diagonals_CKC * rstd.view(len(shares.u_K), -1)).flatten(1)
            mixed = torch.baddbmm(
                diagonals.mv(mean)[:, None],
                diagonals.expand(num_samples, -1, -1),
                wide.flatten(2),
                beta=-1,
            )
        if raw is not None:
            rows_BJX = raw.to(dtype).reshape(num_samples, len(shares.u_J), -1)
            u_B1J = shares.u_J.expand(num_samples, 1, -1)
            if mixed is None:
                mixed = torch.bmm(u_B1J, rows_BJX)
            else:
                mixed.view(num_samples, 1, -1).baddbmm_(u_B1J, rows_BJX)
        assert mixed is not None
        ctx.needs_rewards = any(ctx.needs_input_grad[4:])
        ctx.table, ctx.per_sample = table, leaves[0].dim() == 2
        kept_raw = raw if ctx.needs_rewards else None
        ctx.save_for_backward(shares.u_K, shares.u_J, normed, mean, rstd, kept_raw)
        return mixed.view(num_samples, -1, height, width).to(some.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        u_K, u_J, normed, mean, rstd, raw = ctx.saved_tensors
        gradient = gradient.contiguous().to(full_type(gradient.dtype))
        by_normed = by_raw = None
        by_leaves: Sequence[Tensor | None] = [None] * len(ctx.table.sizes)
        if normed is not None:
            normed = normed.to(gradient.dtype)
            if ctx.needs_input_grad[2]:
                by_normed = torch.ops.aten.native_batch_norm_backward(
                    _shared_out(gradient, u_K), normed, None, None, None, mean, rstd, True, EPS,
                    [True, False, False],
                )[0]  # fmt: skip
        if len(u_J) and ctx.needs_input_grad[3]:
            by_raw = _shared_out(gradient, u_J)
        if ctx.needs_rewards:
            with as_they_are(gradient):
                by_expert = [] if normed is None else [_projections(gradient, normed, mean, rstd)]
                if raw is not None:
                    rows_BJX = raw.to(gradient.dtype).reshape(len(raw), len(u_J), -1)
                    by_expert.append(torch.bmm(rows_BJX, gradient.view(len(raw), -1, 1)).squeeze(2).T)
                by_leaves = _handed_out(ctx.table, by_expert, per_sample=ctx.per_sample)
        # Of another type than what was given they are cast by autograd.
        return None, None, by_normed, by_raw, *by_leaves


def _shared_out(gradient: Tensor, u: Tensor) -> Tensor:
    """The gradient times the weight of each expert, (B, experts x C, H, W)."""
    return (gradient[:, None] * u[:, None, None, None]).flatten(1, 2)


def _projections(gradient: Tensor, normed: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    """(K, B): the gradient projected on every normed output, sample by sample."""
    num_samples, channels = gradient.shape[:2]
    pixels_BCP = gradient.flatten(2)
    # All channels with all, of which only equal ones are wanted: one product, and nothing is stored in between.
    products = torch.bmm(pixels_BCP, normed.flatten(2).transpose(1, 2))
    products_BKC = products.view(num_samples, channels, -1, channels).diagonal(dim1=1, dim2=3)
    sums_B1C = pixels_BCP.sum(dim=2)[:, None]
    centred_BKC = products_BKC.addcmul(sums_B1C, mean.view(-1, channels), value=-1)
    return torch.bmm(centred_BKC.transpose(0, 1), rstd.view(-1, channels, 1)).squeeze(2)


def _handed_out(table: EdgeLayout, by_expert: list[Tensor], *, per_sample: bool) -> list[Tensor]:
    """The gradients of every edge's weights, (B, experts) or (experts,), of parts (experts, B) in the table's order."""
    num_samples = by_expert[0].shape[1]
    if not per_sample:
        by_expert = [part.sum(dim=1, keepdim=True) for part in by_expert]
        num_samples = 1
    if len(table.normed) + len(table.raw) < sum(table.sizes):
        by_expert.append(by_expert[0].new_zeros(1, num_samples))
    everything = torch.cat(by_expert)
    picked = everything.view(-1).index_select(0, _back(table, num_samples, everything.device))
    blocks = torch.split(picked, [size * num_samples for size in table.sizes])
    return [block.view(num_samples, -1) if per_sample else block for block in blocks]


@lru_cache(maxsize=256)
def _order(tables: tuple[EdgeLayout, ...], device: torch.device) -> Tensor:
    """Where the weights of all nodes' normed experts stand among those of all edges, then those of the others."""
    normed, raw, start = [], [], 0
    for table in tables:
        starts = [start + sum(table.sizes[:edge]) for edge in range(len(table.sizes))]
        normed += [starts[edge] + position for edge, position in table.normed]
        raw += [starts[edge] + position for edge, position in table.raw]
        start += sum(table.sizes)
    return torch.tensor(normed + raw, device=device)


@lru_cache(maxsize=256)
def _back(table: EdgeLayout, num_samples: int, device: torch.device) -> Tensor:
    """For every edge, sample and expert its place among (experts, samples); the row after the last is that of zeros."""
    rows = {position: row for row, position in enumerate((*table.normed, *table.raw))}
    blocks = []
    for edge, size in enumerate(table.sizes):
        row_K = torch.tensor([rows.get(ExpertIndex(edge, position), len(rows)) for position in range(size)])
        blocks.append((row_K * num_samples + torch.arange(num_samples)[:, None]).flatten())
    return torch.cat(blocks).to(device)


@lru_cache(maxsize=64)
def _eye(channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(C, 1, C)"""
    return torch.eye(channels, dtype=dtype, device=device)[:, None]
