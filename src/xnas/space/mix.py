"""The mixture of the experts' outputs, p = sum_i u_i f_i, and its gradients (equation 1; algorithm 1, lines 5-8).

B: samples; K: experts. The gradient by u_i is the projection of the loss gradient on expert i's output,
whose negative is the expert's reward: with a sample axis on u, each sample's own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def mix(weights: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """p = sum_i u_i f_i for outputs of one shape, samples first, and weights of shape (K,) or (B, K)."""
    if len(outputs) == 1 and not weights.requires_grad:
        return outputs[0]  # the weight of a lone expert is one
    mixed: Tensor = _Mix.apply(weights, *outputs)
    return mixed


def misfit(outputs: Sequence[object], *, samples: int | None = None) -> tuple[int, str] | None:
    """Return the first output that cannot be mixed with output 0, and what it should be; None if all can.

    Nothing is broadcast: an expert whose output is smaller would count for more than it gives. `samples` is the first
    dimension that it takes to reward them one by one.
    """
    first = outputs[0]
    for position, output in enumerate(outputs):
        if not isinstance(output, Tensor):
            return position, "an expert must give one tensor"
        if not output.is_floating_point():
            return position, "it must be of real floating-point numbers, which can be mixed"
        assert isinstance(first, Tensor)
        if output.shape != first.shape:
            return position, "all experts must give the same shape"
        if output.device != first.device:
            return (
                position,
                f"it is on {output.device}, and the first on {first.device}: move the model as a whole",
            )
        if samples is not None and output.shape[:1] != (samples,):
            return position, f"its first dimension must be the {samples} samples of the input"
    return None


class _Mix(torch.autograd.Function):
    """Written out so that a weight step keeps no outputs: only rewards need them."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *outputs: Tensor) -> Tensor:
        shares = _shares(weights, outputs[0])
        mixed = outputs[0].to(shares[0].dtype) * shares[0]
        for output, share in zip(outputs[1:], shares[1:], strict=True):
            mixed = mixed.addcmul_(output, share)
        ctx.needs_rewards = ctx.needs_input_grad[0]
        ctx.save_for_backward(weights, *(outputs if ctx.needs_rewards else ()))
        return mixed.to(outputs[0].dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *outputs = ctx.saved_tensors
        shares = _shares(weights, gradient)
        by_outputs = [
            (gradient * share).to(gradient.dtype) if needed else None
            for share, needed in zip(shares, ctx.needs_input_grad[1:], strict=True)
        ]
        if not ctx.needs_rewards:
            return None, *by_outputs
        kept = tuple(range(weights.dim() - 1))  # the sample axis, where the weights have one
        summed = tuple(axis for axis in range(gradient.dim()) if axis not in kept)
        gradient = gradient.to(shares[0].dtype)
        by_weights = torch.stack([_sum(gradient * output, summed) for output in outputs], dim=-1)
        return by_weights.to(weights.dtype), *by_outputs


def _sum(product: Tensor, axes: tuple[int, ...]) -> Tensor:
    # One number per sample leaves nothing to sum, and torch would take an empty list of axes for all of them.
    return product.sum(dim=axes) if axes else product


def _shares(weights: Tensor, like: Tensor) -> tuple[Tensor, ...]:
    """Each expert's weight, shaped to broadcast over an output: a scalar, or one value per sample.

    Outputs of 16 bits are mixed, and rewarded, in 32.
    """
    weights = weights.to(torch.float32 if like.dtype in (torch.bfloat16, torch.float16) else like.dtype)
    if weights.dim() == 1:
        return weights.unbind()
    per_sample = weights.view(len(weights), *([1] * (like.dim() - 1)), -1)
    return per_sample.unbind(dim=-1)
