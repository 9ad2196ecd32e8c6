"""Depthwise convolution whose gradients are computed the fast way on a CPU.

What autograd calls for the gradients of a depthwise convolution with dilation is up to a hundred times slower than
its forward pass. Both can be had from the fast kernels: at stride 1 the gradient by the input is the same convolution
with the kernel flipped, and a kernel of dilation 2 sees the image as four interleaved images, on each of which
the dilation is 1. A kernel whose stride equals its dilation sees only every such row and column, everywhere.
Elsewhere (other devices, other strides) autograd does its usual work. An exported network has plain convolutions.

B: samples; C: channels; H, W: height, width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class DepthwiseConv2d(nn.Conv2d):
    """A convolution of every channel with a kernel of its own, no bias, padded so that stride 1 keeps the size.

    Equal to `nn.Conv2d(C, C, k, stride, padding, dilation, groups=C, bias=False)`, with its parameters and
    initialisation.
    """

    def __init__(
        self, channels: int, kernel_size: int | tuple[int, int], *, stride: int = 1, dilation: int = 1
    ) -> None:
        height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        padding = (dilation * (height - 1) // 2, dilation * (width - 1) // 2)
        super().__init__(
            channels, channels, (height, width), stride, padding, dilation, groups=channels, bias=False
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H / stride, W / stride), rounded up."""
        step, dilation = self.stride[0], self.dilation[0]
        padding = (int(self.padding[0]), int(self.padding[1]))
        if torch.compiler.is_exporting():
            return F.conv2d(inputs, self.weight, None, step, padding, dilation, self.groups)
        if step == dilation > 1:
            inputs = inputs[:, :, ::step, ::step].contiguous(memory_format=torch.channels_last)
            padding = (padding[0] // dilation, padding[1] // dilation)
            step = dilation = 1
        if step == 1 and inputs.device.type == "cpu":
            weight = self.weight
            if torch.is_autocast_enabled("cpu") and inputs.dtype != torch.float64:
                # Here, where autograd sees it: within the function, the backward pass would meet two types.
                low = torch.get_autocast_dtype("cpu")
                inputs, weight = inputs.to(low), weight.to(low)
            outputs: Tensor = _Depthwise.apply(inputs, weight, padding, dilation)
            return outputs
        return F.conv2d(inputs, self.weight, None, step, padding, dilation, self.groups)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, padding: tuple[int, int], dilation: int) -> Tensor:
        ctx.padding, ctx.dilation = padding, dilation
        ctx.save_for_backward(inputs if ctx.needs_input_grad[1] else None, weight)
        return F.conv2d(inputs, weight, padding=padding, dilation=dilation, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        inputs, weight = ctx.saved_tensors
        by_inputs = by_weight = None
        if ctx.needs_input_grad[0]:
            by_inputs = F.conv2d(
                gradient, weight.flip(2, 3), padding=ctx.padding, dilation=ctx.dilation, groups=len(weight)
            )
        if ctx.needs_input_grad[1]:
            by_weight = _weight_gradient(inputs, gradient, weight, ctx.padding, ctx.dilation)
        return by_inputs, by_weight, None, None


def _weight_gradient(
    inputs: Tensor, gradient: Tensor, weight: Tensor, padding: tuple[int, int], dilation: int
) -> Tensor:
    if dilation > 1:
        inputs, gradient = _interleaved(inputs, dilation), _interleaved(gradient, dilation)
        padding = (padding[0] // dilation, padding[1] // dilation)
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        gradient, inputs, weight, None, [1, 1], padding, [1, 1], False, [0, 0], len(weight),
        [False, True, False],
    )[1]  # fmt: skip


def _interleaved(images_BCHW: Tensor, step: int) -> Tensor:
    """The step x step images made of every step-th row and column, as further samples; zeros fill odd edges."""
    height, width = images_BCHW.shape[2:]
    padded = F.pad(images_BCHW, (0, -width % step, 0, -height % step))
    parts = [padded[:, :, top::step, left::step] for top in range(step) for left in range(step)]
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)
