"""The kernels as functions of tensors: 4-D, channels-last, float32 or float64, on the CPU.

A `norm` is a tensor of the shape (4, C), float64: for every channel its mean, the reciprocal of its standard deviation,
the gain and the offset. The functions that return one set gains to 1 and offsets to 0. All raise ValueError for tensors
that do not belong together, since a kernel would read beyond them, and MemoryError where the system has no memory for
it to work in.
B: samples; C H W: channels, height, width; K: experts.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xnas.kernels.build import library

LARGEST = 2**16


class _Shape(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int)
        for name in (
            "samples", "channels", "height", "width", "kernel_y", "kernel_x", "stride", "dilation", "threads",
        )
    )  # fmt: skip


def supported(images: Tensor) -> bool:
    """Return True if there are kernels for such images and autocast asks for no other type."""
    is_image = images.device.type == "cpu" and images.dim() == 4 and images.numel() > 0
    return is_image and not torch.is_autocast_enabled("cpu") and library(images.dtype) is not None


def is_faster(weight: Tensor) -> bool:
    """Return True if kernels beat torch with so many weights: the gradients of more do not fit the caches."""
    return weight.numel() <= LARGEST


def dense(images_BCHW: Tensor) -> Tensor:
    """Return the images channels-last and contiguous, as all kernels read them."""
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
    _require(len(weights[0]) == len(weights[1]) == inputs.shape[1], inputs, *weights)
    outputs, out_norm = _outputs(inputs, inputs.shape[1], stride)
    _run(
        "separable_forward", inputs.dtype, _shape(inputs, weights[0], stride, dilation), inputs, norm,
        *(weight.contiguous() for weight in weights), eps, outputs, out_norm,
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
    by_weights = [torch.empty(weight.shape, dtype=weight.dtype) if learns else None for weight in weights]
    _run(
        "separable_backward", inputs.dtype, _shape(inputs, weights[0], stride, dilation), inputs, norm,
        *(weight.contiguous() for weight in weights), g, z, coefficients, by_inputs, adds, by_norm, *by_weights,
    )  # fmt: skip
    return by_norm, (by_weights[0], by_weights[1])


def dense_forward(inputs: Tensor, weight: Tensor, *, stride: int, eps: float) -> tuple[Tensor, Tensor]:
    """relu(inputs) through a convolution with the weights (C_out, C_in, kH, kW), and the norm of what comes out.

    Padded to keep the size at stride 1; kH and kW are odd.
    """
    _require(weight.shape[1] == inputs.shape[1], inputs, weight)
    outputs, norm = _outputs(inputs, len(weight), stride)
    _run(
        "dense_forward", inputs.dtype, _shape(inputs, weight, stride), len(weight), inputs, weight.contiguous(), eps,
        outputs, norm,
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
    _run(
        "dense_backward", inputs.dtype, _shape(inputs, weight, stride), len(weight), inputs, weight.contiguous(), g, z,
        coefficients, by_inputs, adds, by_weight,
    )  # fmt: skip
    return by_weight


def pool_forward(
    inputs: Tensor, *, kernel: int, stride: int, largest: bool, eps: float
) -> tuple[Tensor, Tensor]:
    """The largest or the mean of the pixels under a square kernel, padded to keep the size at stride 1, and its norm.

    Padding does not count.
    """
    outputs, norm = _outputs(inputs, inputs.shape[1], stride)
    _run("pool_forward", inputs.dtype, _shape(inputs, kernel, stride), largest, inputs, eps, outputs, norm)
    return outputs, norm


def pool_backward(inputs: Tensor, by_outputs: Tensor, *, kernel: int, stride: int, largest: bool) -> Tensor:
    """The gradient of `pool_forward` by the inputs; among equal pixels the first is the largest."""
    by_inputs = torch.empty_like(inputs)
    _run(
        "pool_backward", inputs.dtype, _shape(inputs, kernel, stride), largest, inputs, by_outputs, by_inputs
    )
    return by_inputs


def mix(
    inputs: Sequence[Tensor], coefficients_KC: Tensor, constant_C: Tensor, *, onto: Tensor | None = None
) -> Tensor:
    """constant + sum over k of coefficients[k] inputs[k], channel by channel; added to `onto` if that is given."""
    mixed = _images(inputs[0], *inputs[0].shape) if onto is None else onto
    _require(all(given.shape == mixed.shape for given in inputs), mixed, *inputs)
    batch, channels, height, width = mixed.shape
    _run(
        "mix", mixed.dtype, batch * height * width, channels, len(inputs), _addresses(inputs, mixed.dtype),
        coefficients_KC, constant_C, mixed, onto is not None, torch.get_num_threads(),
    )  # fmt: skip
    return mixed


def products(gradient: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sums over the pixels of each sample: of the gradient, (B, C), and of it times each input, (K, B, C). float64."""
    _require(all(given.shape == gradient.shape for given in inputs), gradient, *inputs)
    batch, channels, height, width = gradient.shape
    sums_BC = torch.empty(batch, channels, dtype=torch.float64)
    products_KBC = torch.empty(len(inputs), batch, channels, dtype=torch.float64)
    _run(
        "products", gradient.dtype, batch, height * width, channels, len(inputs), gradient,
        _addresses(inputs, gradient.dtype), sums_BC, products_KBC, torch.get_num_threads(),
    )  # fmt: skip
    return sums_BC, products_KBC


def moments(images: Tensor, *, eps: float) -> Tensor:
    """The norm of images: mean and reciprocal standard deviation of each channel, over samples and pixels."""
    batch, channels, height, width = images.shape
    norm = torch.empty(4, channels, dtype=torch.float64)
    _run(
        "moments", images.dtype, batch, height * width, channels, images, eps, norm,
        torch.get_num_threads(),
    )  # fmt: skip
    return norm


_TYPES = {"p": ctypes.c_void_p, "d": ctypes.c_double, "i": ctypes.c_int, "l": ctypes.c_long}
_SIGNATURES = {
    "separable_forward": "pppppdpp",
    "separable_backward": "pppppppppippp",
    "dense_forward": "pippdpp",
    "dense_backward": "pippppppip",
    "pool_forward": "pipdpp",
    "pool_backward": "pippp",
    "mix": "liippppii",
    "products": "iliippppi",
    "moments": "ilipdpi",
}
"""Arguments of each kernel, as in entry.cpp: pointers, and numbers of C's types double, int and long."""


@functools.cache
def _functions(dtype: torch.dtype) -> dict[str, Callable[..., int]]:
    kernels = library(dtype)
    assert kernels is not None, dtype
    for name, signature in _SIGNATURES.items():
        getattr(kernels, name).argtypes = [_TYPES[letter] for letter in signature]
    return {name: getattr(kernels, name) for name in _SIGNATURES}


def _run(name: str, dtype: torch.dtype, *arguments: object) -> None:
    given = [_address(each, dtype) if isinstance(each, Tensor) else each for each in arguments]
    if _functions(dtype)[name](*given):
        raise MemoryError(f"no memory for {name} to work in")


def _address(tensor: Tensor, dtype: torch.dtype) -> int:
    # Images and weights are of the kernels' type, what belongs to channels is float64.
    if tensor.dtype is not (dtype if tensor.dim() == 4 else torch.float64) or not tensor.is_cpu:
        raise ValueError(
            f"kernels for {dtype} on the CPU were given {tensor.dtype} on {tensor.device}; make both the same"
        )
    return tensor.data_ptr()


def _addresses(tensors: Sequence[Tensor], dtype: torch.dtype) -> "ctypes.Array[ctypes.c_void_p]":
    return (ctypes.c_void_p * len(tensors))(*(_address(tensor, dtype) for tensor in tensors))


def _require(fits: bool, *tensors: Tensor) -> None:
    if not fits:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(f"tensors of the shapes {shapes} do not belong together")


def _shape(inputs: Tensor, kernel: Tensor | int, stride: int, dilation: int = 1) -> object:
    sizes = (kernel, kernel) if isinstance(kernel, int) else kernel.shape[2:]
    return ctypes.byref(_Shape(*inputs.shape, *sizes, stride, dilation, torch.get_num_threads()))


def _outputs(inputs: Tensor, channels: int, stride: int) -> tuple[Tensor, Tensor]:
    """Room for what comes out of a convolution or pooling, and for its norm."""
    batch, _, height, width = inputs.shape
    outputs = _images(inputs, batch, channels, (height - 1) // stride + 1, (width - 1) // stride + 1)
    return outputs, torch.empty(4, channels, dtype=torch.float64)


def _images(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, memory_format=torch.channels_last)
