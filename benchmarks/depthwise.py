"""Our depthwise convolution against torch's own: forward and both gradients, of the kernels that a supernet has."""

import torch
from torch import nn

from benchmarks.figure import Figure
from benchmarks.options import Options
from benchmarks.timing import in_turn, time_ratio
from xnas.space.fast.depthwise import DepthwiseConv2d

SHAPE, SMALL = (64, 16, 28, 28), (2, 4, 8, 8)


def measure(options: Options) -> list[Figure]:
    """The time of a pass on images in channels-last, torch's over ours."""
    shape = SMALL if options.small else SHAPE
    figures = []
    for kernel, stride, dilation in [(3, 1, 1), (5, 1, 1), (3, 1, 2), (5, 1, 2), (5, 2, 2)]:
        ours = DepthwiseConv2d(shape[1], kernel, stride=stride, dilation=dilation)
        theirs = nn.Conv2d(
            shape[1], shape[1], kernel, stride, padding=dilation * (kernel - 1) // 2, dilation=dilation,
            groups=shape[1], bias=False,
        )  # fmt: skip
        images = torch.randn(shape).to(memory_format=torch.channels_last).requires_grad_()

        def both(layer: nn.Module, images: torch.Tensor = images) -> None:
            layer(images).square().sum().backward()

        tasks = {"torch": lambda: both(theirs), "ours": lambda: both(ours)}  # noqa: B023
        timings = in_turn(tasks, n=options.repeats(10))
        name = f"depthwise {kernel} x {kernel}, stride {stride}, dilation {dilation}"
        figures.append(time_ratio(name, "torch / ours", timings["torch"], timings["ours"], better="more"))
    return figures
