"""The kernels as functions of tensors: 4-D, channels-last, float32 or float64, on the CPU.

A `norm` is a tensor of the shape (4, C), float64: for every channel its mean, the reciprocal of its standard deviation,
the gain and the offset. The functions that return one set gains to 1 and offsets to 0.
B: samples; C H W: channels, height, width; K: experts.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from xnas.kernels.build import library


class _Shape(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int)
        for name in (
            "samples", "channels", "height", "width", "kernel_y", "kernel_x", "stride", "dilation", "threads",
        )
    )  # fmt: skip


def usable(images: Tensor) -> bool:
    """Whether there are kernels for such images."""
    return images.device.type == "cpu" and images.dim() == 4 and library(images.dtype) is not None


def dense(images_BCHW: Tensor) -> Tensor:
    """The same images, channels-last and in one piece, as all kernels read them."""
    return images_BCHW.contiguous(memory_format=torch.channels_last)


def separable_forward(
    inputs: Tensor,
    weights: tuple[Tensor, Tensor],
    *,
    norm: Tensor | None,
    stride: int,
    dilation: int,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """A round of a separable convolution, pointwise(depthwise(relu(norm(inputs)))), and the norm of what comes out.

    `weights` are those of the depthwise (C, 1, kH, kW) and of the pointwise convolution (C, C, 1, 1); `eps` is added
    to the variance of the new norm.
    """
    batch, channels, height, width = inputs.shape
    outputs = _images(inputs, batch, channels, (height - 1) // stride + 1, (width - 1) // stride + 1)
    out_norm = torch.empty(4, channels, dtype=torch.float64)
    _library(inputs).separable_forward(
        _shape(inputs, weights[0].shape[2:], stride, dilation), _at(inputs), _at(norm), _at(weights[0]),
        _at(weights[1]), ctypes.c_double(eps), _at(outputs), _at(out_norm),
    )  # fmt: skip
    return outputs, out_norm


def separable_backward(
    inputs: Tensor,
    weights: tuple[Tensor, Tensor],
    *,
    norm: Tensor | None,
    stride: int,
    dilation: int,
    gradient: tuple[Tensor, Tensor, Tensor],
    by_inputs: Tensor,
    adds: bool,
    learns: bool,
) -> tuple[Tensor | None, tuple[Tensor | None, Tensor | None]]:
    """Gradients of `separable_forward`, whose outputs z have the gradient alpha g + beta z + gamma.

    `gradient` is (g, z, coefficients), the latter alpha, beta and gamma for each channel: (3, C), float64.
    `by_inputs` receives the gradient by what the ReLU was given: written, or added if it `adds`. With a norm before
    the round, (5, C) is returned: the coefficients with which `by_inputs` and `inputs` give the gradient by the inputs,
    and the gradients by gains and offsets. With `learns` the weights' gradients are returned too.
    """
    g, z, coefficients = gradient
    by_norm = torch.empty(5, inputs.shape[1], dtype=torch.float64) if norm is not None else None
    by_weights = tuple(torch.empty_like(weight) if learns else None for weight in weights)
    _library(inputs).separable_backward(
        _shape(inputs, weights[0].shape[2:], stride, dilation), _at(inputs), _at(norm), _at(weights[0]),
        _at(weights[1]), _at(g), _at(z), _at(coefficients), _at(by_inputs), int(adds), _at(by_norm), _at(by_weights[0]),
        _at(by_weights[1]),
    )  # fmt: skip
    return by_norm, (by_weights[0], by_weights[1])


def dense_forward(inputs: Tensor, weight: Tensor, *, stride: int, eps: float) -> tuple[Tensor, Tensor]:
    """relu(inputs) through a convolution with the weights (C_out, C_in, kH, kW), and the norm of what comes out.

    Padded to keep the size at stride 1; kH and kW are odd.
    """
    batch, _, height, width = inputs.shape
    outputs = _images(inputs, batch, len(weight), (height - 1) // stride + 1, (width - 1) // stride + 1)
    norm = torch.empty(4, len(weight), dtype=torch.float64)
    weight = weight.contiguous()
    _library(inputs).dense_forward(
        _shape(inputs, weight.shape[2:], stride, 1), len(weight), _at(inputs), _at(weight), ctypes.c_double(eps),
        _at(outputs), _at(norm),
    )  # fmt: skip
    return outputs, norm


def dense_backward(
    inputs: Tensor,
    weight: Tensor,
    *,
    stride: int,
    gradient: tuple[Tensor, Tensor, Tensor],
    by_inputs: Tensor | None,
    adds: bool,
    learns: bool,
) -> Tensor | None:
    """Gradients of `dense_forward`: by the inputs into `by_inputs`, and by the weight, returned if it `learns`.

    `gradient` and `adds` are as in `separable_backward`.
    """
    g, z, coefficients = gradient
    by_weight = torch.empty(weight.shape, dtype=weight.dtype) if learns else None
    weight = weight.contiguous()
    _library(inputs).dense_backward(
        _shape(inputs, weight.shape[2:], stride, 1), len(weight), _at(inputs), _at(weight), _at(g), _at(z),
        _at(coefficients), _at(by_inputs), int(adds), _at(by_weight),
    )  # fmt: skip
    return by_weight


def pool_forward(
    inputs: Tensor, *, kernel: int, stride: int, largest: bool, eps: float
) -> tuple[Tensor, Tensor]:
    """The largest or the mean of the pixels under a square kernel, padded to keep the size at stride 1, and its norm.

    Padding does not count.
    """
    batch, channels, height, width = inputs.shape
    outputs = _images(inputs, batch, channels, (height - 1) // stride + 1, (width - 1) // stride + 1)
    norm = torch.empty(4, channels, dtype=torch.float64)
    _library(inputs).pool_forward(
        _shape(inputs, (kernel, kernel), stride, 1), int(largest), _at(inputs), ctypes.c_double(eps), _at(outputs),
        _at(norm),
    )  # fmt: skip
    return outputs, norm


def pool_backward(inputs: Tensor, by_outputs: Tensor, *, kernel: int, stride: int, largest: bool) -> Tensor:
    """The gradient of `pool_forward` by the inputs; among equal pixels the first is the largest."""
    by_inputs = torch.empty_like(inputs)
    _library(inputs).pool_backward(
        _shape(inputs, (kernel, kernel), stride, 1),
        int(largest),
        _at(inputs),
        _at(by_outputs),
        _at(by_inputs),
    )
    return by_inputs


def mix(
    inputs: Sequence[Tensor], coefficients_KC: Tensor, constant_C: Tensor, *, onto: Tensor | None = None
) -> Tensor:
    """constant + sum over k of coefficients[k] inputs[k], channel by channel; added to `onto` if that is given."""
    batch, channels, height, width = inputs[0].shape
    mixed = _images(inputs[0], batch, channels, height, width) if onto is None else onto
    _library(mixed).mix(
        ctypes.c_long(batch * height * width), channels, len(inputs), _all_at(inputs), _at(coefficients_KC),
        _at(constant_C), _at(mixed), int(onto is not None), torch.get_num_threads(),
    )  # fmt: skip
    return mixed


def products(gradient: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sums over the pixels of each sample: of the gradient, (B, C), and of it times each input, (K, B, C). float64."""
    batch, channels, height, width = gradient.shape
    sums_BC = torch.empty(batch, channels, dtype=torch.float64)
    products_KBC = torch.empty(len(inputs), batch, channels, dtype=torch.float64)
    _library(gradient).products(
        batch, ctypes.c_long(height * width), channels, len(inputs), _at(gradient), _all_at(inputs), _at(sums_BC),
        _at(products_KBC), torch.get_num_threads(),
    )  # fmt: skip
    return sums_BC, products_KBC


def moments(images: Tensor, *, eps: float) -> Tensor:
    """The norm of images: mean and reciprocal standard deviation of each channel, over samples and pixels."""
    batch, channels, height, width = images.shape
    norm = torch.empty(4, channels, dtype=torch.float64)
    _library(images).moments(
        batch, ctypes.c_long(height * width), channels, _at(images), ctypes.c_double(eps), _at(norm),
        torch.get_num_threads(),
    )  # fmt: skip
    return norm


def _library(images: Tensor) -> ctypes.CDLL:
    found = library(images.dtype)
    assert found is not None, images.dtype
    return found


def _shape(inputs: Tensor, kernel: Sequence[int], stride: int, dilation: int) -> "ctypes._CArgObject":
    return ctypes.byref(_Shape(*inputs.shape, *kernel, stride, dilation, torch.get_num_threads()))


def _images(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, memory_format=torch.channels_last)


def _at(tensor: Tensor | None) -> ctypes.c_void_p | None:
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


def _all_at(tensors: Sequence[Tensor]) -> "ctypes.Array[ctypes.c_void_p]":
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
