"""The operations that experts and networks are made of (section 4.1; the cells of DARTS, NASNet and NAS-Bench-201).

Separable convolution: two rounds of ReLU, depthwise, pointwise, norm. Dilated: one round, dilation 2. Dense
(`nor_conv`): ReLU, convolution, norm. Average pooling does not count its padding. Skip at stride 2: two pointwise
convolutions, on x and on x shifted by one pixel, concatenated. `none` gives zeros. All map (B, C, H, W) to
(B, C, H / stride, W / stride), rounded up.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.io.text import choose
from xnas.space.fast.depthwise import DepthwiseConv2d


@dataclass(frozen=True, kw_only=True)
class NormStyle:
    """The style of a network's norms.

    A supernet's have no affine part and always use the batch's statistics: the mixture of experts that comes
    next keeps changing, and running averages would lag behind it. Its pooling is followed by a norm too, so that
    no expert wins by the scale of its output.
    """

    affine: bool
    running: bool
    after_pooling: bool

    def norm(self, channels: int) -> "Norm":
        """A norm over `channels`, in this style."""
        return Norm(channels, affine=self.affine, track_running_stats=self.running)


class Norm(nn.BatchNorm2d):
    """A batch norm whose statistics are float32 for features of 16 bits too; these it gives back in their own type.

    CUDA's kernels do so by themselves; the CPU's round mean and deviation to 16 bits where there is no affine part, and
    take parts of 16 bits with features of 16 bits alone: a network that was brought to 16 bits is theirs.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised features, of the shape and type of the features (B, C, H, W) that come in."""
        low = input.dtype in (torch.bfloat16, torch.float16) and input.device.type != "cuda"
        own = self.weight if self.weight is not None else self.running_mean
        if low and (own is None or own.dtype != input.dtype):
            return super().forward(input.float()).to(input.dtype)
        return super().forward(input)


SUPERNET_STYLE = NormStyle(affine=False, running=False, after_pooling=True)
NETWORK_STYLE = NormStyle(affine=True, running=True, after_pooling=False)


def build_operation(name: str, channels: int, *, stride: int, style: NormStyle) -> nn.Module:
    """The operation of that name on `channels` channels. Raises ValueError for an unknown name, with the nearest."""
    return _BUILDERS[choose("operation", name, _BUILDERS)](channels, stride, style)


class Zero(nn.Module):
    """The expert `none`: zeros, whatever comes in."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        """Zeros of the size that the other operations give."""
        return torch.zeros_like(inputs[:, :, :: self.stride, :: self.stride])


class EverySecond(nn.Conv2d):
    """A pointwise convolution of every second pixel of every second row, without bias.

    The pixels are picked out before it. oneDNN's backward pass of a pointwise convolution with a stride writes beyond
    its memory where fewer than 16 channels come in (torch 2.14.1 on processors with AVX2).
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 1, stride=2, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H / 2, W / 2), rounded up."""
        pixels = input[:, :, ::2, ::2]
        if input.is_contiguous(memory_format=torch.channels_last):
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return F.conv2d(pixels, self.weight)


class FactorizedReduce(nn.Module):
    """Halves height and width: ReLU, pointwise convolutions of even and of odd pixels, concatenated, norm."""

    def __init__(self, channels_in: int, channels_out: int, *, style: NormStyle) -> None:
        super().__init__()
        self.even = EverySecond(channels_in, channels_out // 2)
        self.odd = EverySecond(channels_in, channels_out - channels_out // 2)
        self.norm = style.norm(channels_out)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H / 2, W / 2), rounded up."""
        outputs: Tensor = self.norm(self.reduced(inputs))
        return outputs

    def reduced(self, inputs: Tensor) -> Tensor:
        """Return the features before the norm."""
        active = F.relu(inputs)
        height, width = inputs.shape[2:]
        # An odd size has one even pixel more than odd ones: a row of zeros makes the halves equal. An exported network
        # takes any size, so it has the row always; at an even size nobody looks at it.
        odd_height, odd_width = (1, 1) if torch.compiler.is_exporting() else (height % 2, width % 2)
        shifted = F.pad(active[:, :, 1:, 1:], (0, odd_width, 0, odd_height))
        return torch.cat([self.even(active), self.odd(shifted)], dim=1)


class Separable(nn.Sequential):
    """One or two rounds of ReLU, depthwise convolution, pointwise convolution and norm."""

    @property
    def rounds(self) -> tuple[tuple[DepthwiseConv2d, nn.Conv2d, nn.BatchNorm2d], ...]:
        """(depthwise, pointwise, norm) of each round."""
        layers = list(self)
        return tuple(tuple(layers[start + 1 : start + 4]) for start in range(0, len(layers), 4))  # type: ignore[misc]


class Pooled(nn.Sequential):
    """A pooling and the norm after it."""


class ReluConvNorm(nn.Sequential):
    """ReLU, convolution, norm. Pointwise, it is how a cell of DARTS takes its inputs."""

    def __init__(
        self, channels_in: int, channels_out: int, *, style: NormStyle, kernel_size: int = 1, stride: int = 1
    ) -> None:
        conv = nn.Conv2d(
            channels_in, channels_out, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
        )
        super().__init__(nn.ReLU(), conv, style.norm(channels_out))


def _pool(pool: nn.Module, channels: int, style: NormStyle) -> nn.Module:
    return Pooled(pool, style.norm(channels)) if style.after_pooling else pool


def _max_pool(channels: int, stride: int, style: NormStyle) -> nn.Module:
    return _pool(nn.MaxPool2d(3, stride=stride, padding=1), channels, style)


def _avg_pool(channels: int, stride: int, style: NormStyle) -> nn.Module:
    return _pool(nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False), channels, style)


def _skip(channels: int, stride: int, style: NormStyle) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, style=style)


def _none(channels: int, stride: int, style: NormStyle) -> nn.Module:
    del channels, style
    return Zero(stride)


def _separable(kernel_size: int) -> Callable[[int, int, NormStyle], nn.Module]:
    def build(channels: int, stride: int, style: NormStyle) -> nn.Module:
        first = _depthwise_round(channels, kernel_size, stride=stride, dilation=1, style=style)
        second = _depthwise_round(channels, kernel_size, stride=1, dilation=1, style=style)
        return Separable(*first, *second)

    return build


def _dilated(kernel_size: int) -> Callable[[int, int, NormStyle], nn.Module]:
    def build(channels: int, stride: int, style: NormStyle) -> nn.Module:
        return Separable(*_depthwise_round(channels, kernel_size, stride=stride, dilation=2, style=style))

    return build


def _depthwise_round(
    channels: int, kernel_size: int, *, stride: int, dilation: int, style: NormStyle
) -> tuple[nn.Module, ...]:
    return (
        nn.ReLU(),
        DepthwiseConv2d(channels, kernel_size, stride=stride, dilation=dilation),
        nn.Conv2d(channels, channels, 1, bias=False),
        style.norm(channels),
    )


def _dense(kernel_size: int) -> Callable[[int, int, NormStyle], nn.Module]:
    def build(channels: int, stride: int, style: NormStyle) -> nn.Module:
        return ReluConvNorm(channels, channels, style=style, kernel_size=kernel_size, stride=stride)

    return build


def _conv_7x1_1x7(channels: int, stride: int, style: NormStyle) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, 7), stride=(1, stride), padding=(0, 3), bias=False),
        nn.Conv2d(channels, channels, (7, 1), stride=(stride, 1), padding=(3, 0), bias=False),
        style.norm(channels),
    )


_BUILDERS: dict[str, Callable[[int, int, NormStyle], nn.Module]] = {
    "none": _none,
    "max_pool_3x3": _max_pool,
    "avg_pool_3x3": _avg_pool,
    "skip_connect": _skip,
    "sep_conv_3x3": _separable(3),
    "sep_conv_5x5": _separable(5),
    "sep_conv_7x7": _separable(7),
    "dil_conv_3x3": _dilated(3),
    "dil_conv_5x5": _dilated(5),
    "conv_7x1_1x7": _conv_7x1_1x7,
    "nor_conv_1x1": _dense(1),
    "nor_conv_3x3": _dense(3),
}
