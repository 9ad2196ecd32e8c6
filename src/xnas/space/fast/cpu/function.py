"""The mixture of all incoming experts of a node and its gradients, computed by kernels in one step.

The node is sum_i u_i f_i(x), over the experts of all incoming edges. Nearly all experts end in a norm, f_i = gain_i
(z_i - mean_i) / deviation_i + offset_i. So what is mixed is z_i, with the coefficients u_i gain_i / deviation_i and one
constant for all the rest: no normalised output is stored, or read again. With g the gradient by the node, the sums of
g and of g z_i over each sample's pixels give the samples' rewards and the gradients of the norms: those by z_i are
alpha g + beta z_i + gamma, with a number for each channel, and are computed where they are used.

B: samples; C: channels; K: experts of all incoming edges together.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from xnas.kernels import calls
from xnas.space.fast.cpu.branches import Branch, Gradients, compute, restore


class NodeFunction(torch.autograd.Function):
    """tensors: the sources, then whatever else branches read and the weights of their rounds.

    Those that the next node of the cell reads too, at the places `shared`, come out beside the node, for that to read.
    So their gradients go from node to node, and each adds its own in place: no sum of gradients is allocated.
    Nothing else may read them.
    """

    @staticmethod
    def forward(
        ctx: Any, branches: tuple[Branch, ...], shared: tuple[int, ...], weights: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """The node, (B, C, H, W), and the tensors at the places `shared`."""
        computed = [compute(branch, tensors) for branch in branches]
        outputs = [stages[-1][0] for stages in computed]
        norms_K4C = _norms([stages[-1][1] for stages in computed], channels=outputs[0].shape[1])
        u_K1 = _of_branches(weights, branches)[:, None]
        mean_KC, rstd_KC, gain_KC, offset_KC = norms_K4C.unbind(dim=1)
        coefficients_KC = u_K1 * gain_KC * rstd_KC
        constant_C = (u_K1 * offset_KC - coefficients_KC * mean_KC).sum(dim=0)
        ctx.branches, ctx.shared, ctx.num_tensors = branches, shared, len(tensors)
        ctx.set_materialize_grads(False)
        kept = [kept for stages in computed for stage in stages for kept in stage if kept is not None]
        ctx.save_for_backward(weights, norms_K4C, *tensors, *kept)
        return calls.mix(outputs, coefficients_KC, constant_C), *(tensors[index] for index in shared)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, *by_shared: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients by the mixture weights, sample by sample if they are so, and by all tensors."""
        by_tensor: list[Tensor | None] = [None] * ctx.num_tensors
        for index, partial in zip(ctx.shared, by_shared, strict=True):
            by_tensor[index] = partial
        if gradient is None:  # the loss reads later nodes alone
            return None, None, None, *by_tensor
        weights, norms_K4C, *saved = ctx.saved_tensors
        tensors, kept = saved[: ctx.num_tensors], iter(saved[ctx.num_tensors :])
        computed = [restore(branch, kept) for branch in ctx.branches]
        gradient = calls.dense(gradient)
        outputs = [stages[-1][0] for stages in computed]
        sums_BC, products_KBC = calls.products(gradient, outputs)
        mean_KC, rstd_KC, gain_KC, offset_KC = norms_K4C.unbind(dim=1)
        # On f_i before its gain and offset.
        projected_KBC = (products_KBC - mean_KC[:, None] * sums_BC) * rstd_KC[:, None]
        u_K = _of_branches(weights, ctx.branches)
        num = gradient.numel() // gradient.shape[1]
        by_outputs_K3C = _by_outputs(ctx.branches, u_K, norms_K4C, sums_BC, projected_KBC, num)
        by_weights = None
        if ctx.needs_input_grad[2]:
            on_experts_KBC = gain_KC[:, None] * projected_KBC + offset_KC[:, None] * sums_BC
            by_weights_BK = on_experts_KBC.sum(dim=-1).T.to(weights.dtype)
            by_weights = torch.zeros_like(weights)
            indices = [branch.index for branch in ctx.branches]
            by_weights[..., indices] = by_weights_BK if weights.dim() == 2 else by_weights_BK.sum(dim=0)
        gradients = Gradients(tensors, ctx.needs_input_grad[3:], by_tensor)
        if any(branch.norm is not None and branch.norm.gain is not None for branch in ctx.branches):
            by_gains_KC, by_offsets_KC = (
                u_K[:, None] * projected_KBC.sum(dim=1),
                u_K[:, None] * sums_BC.sum(dim=0),
            )
            for branch, by_gain_C, by_offset_C in zip(ctx.branches, by_gains_KC, by_offsets_KC, strict=True):
                if branch.norm is not None:
                    branch.norm.learn(by_gain_C, by_offset_C, gradients)
        for branch, stages, by_output_3C in zip(ctx.branches, computed, by_outputs_K3C.unbind(), strict=True):
            gradients.add(branch, stages, gradient, by_output_3C)
        return None, None, by_weights, *by_tensor


def _norms(norms: Sequence[Tensor | None], *, channels: int) -> Tensor:
    """Stack all norms, (K, 4, C); None becomes a norm that changes nothing."""
    none = torch.tensor([[0.0], [1.0], [1.0], [0.0]], dtype=torch.float64).expand(4, channels)
    return torch.stack([none if norm is None else norm for norm in norms])


def _of_branches(weights: Tensor, branches: Sequence[Branch]) -> Tensor:
    """u of the branches, (K,), float64. All samples have the same, though each has a leaf of its own."""
    shared = weights if weights.dim() == 1 else weights[0]
    return shared[[branch.index for branch in branches]].double()


def _by_outputs(
    branches: Sequence[Branch],
    u_K: Tensor,
    norms_K4C: Tensor,
    sums_BC: Tensor,
    projected_KBC: Tensor,
    num: int,
) -> Tensor:
    """alpha, beta and gamma of the gradients by all branches' unnormalised outputs, (K, 3, C).

    `num` values of each channel made its moments.
    """
    mean_KC, rstd_KC, gain_KC, _ = norms_K4C.unbind(dim=1)
    alpha_KC = u_K[:, None] * gain_KC * rstd_KC
    normed_K1 = torch.tensor([branch.norm is not None for branch in branches]).double()[:, None]
    slope_KC = normed_K1 * alpha_KC * rstd_KC * projected_KBC.sum(dim=1) / num
    level_KC = normed_K1 * alpha_KC * sums_BC.sum(dim=0) / num
    return torch.stack([alpha_KC, -slope_KC, slope_KC * mean_KC - level_KC], dim=1)


class PoolFunction(torch.autograd.Function):
    """A pooling and the norm of what it gives, which the mixture applies."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, pool: nn.Module, eps: float) -> tuple[Tensor, Tensor]:
        """Pooled features and their norm."""
        ctx.how = _pooling(pool)
        ctx.save_for_backward(inputs)
        outputs, norm = calls.pool_forward(inputs, **ctx.how, eps=eps)
        ctx.mark_non_differentiable(norm)
        return outputs, norm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_outputs: Tensor, by_norm: Tensor) -> tuple[Tensor, None, None]:
        """The gradient by the inputs."""
        del by_norm
        (inputs,) = ctx.saved_tensors
        return calls.pool_backward(inputs, calls.dense(by_outputs), **ctx.how), None, None


def _pooling(pool: nn.Module) -> dict[str, int]:
    """Return the kernels' arguments for a pooling."""
    assert isinstance(pool, nn.MaxPool2d | nn.AvgPool2d)
    assert isinstance(pool.kernel_size, int)
    assert isinstance(pool.stride, int)
    return {"kernel": pool.kernel_size, "stride": pool.stride, "largest": isinstance(pool, nn.MaxPool2d)}
