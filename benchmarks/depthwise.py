"""Our depthwise convolution against torch's own: forward and both gradients, of the kernels that a supernet has."""

import torch
from torch import nn

from benchmarks.timing import in_turn
from xnas.space.depthwise import DepthwiseConv2d

SHAPE = (64, 16, 28, 28)


def main(n: int = 10) -> None:
    """Print the time of a pass, torch's and ours, and the ratio."""
    print(f"forward and backward of a depthwise convolution, {' x '.join(map(str, SHAPE))}, n = {n} in turn")
    for kernel, stride, dilation in [(3, 1, 1), (5, 1, 1), (3, 1, 2), (5, 1, 2), (5, 2, 2)]:
        ours = DepthwiseConv2d(SHAPE[1], kernel, stride=stride, dilation=dilation)
        theirs = nn.Conv2d(
            SHAPE[1], SHAPE[1], kernel, stride, padding=dilation * (kernel - 1) // 2, dilation=dilation,
            groups=SHAPE[1], bias=False,
        )  # fmt: skip
        images = torch.randn(SHAPE).to(memory_format=torch.channels_last).requires_grad_()

        def both(layer: nn.Module, images: torch.Tensor = images) -> None:
            layer(images).square().sum().backward()

        timings = in_turn({"torch": lambda: both(theirs), "ours": lambda: both(ours)}, n=n)  # noqa: B023
        ratio = timings["ours"].mean / timings["torch"].mean
        print(f"kernel {kernel}, stride {stride}, dilation {dilation}: ratio {ratio:.2f}")
        for name, timing in timings.items():
            print(f"    {name:<6}{timing}")
