"""The choice of how to compute a node of a cell, the sum of its edges' mixtures (README.md).

All ways give the same up to rounding. One by one, through the forecasters' own modules, is what always works and what
hooks on modules see; the others are for speed, and for training.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from xnas.kernels.calls import supported
from xnas.space.fast.cpu.nodes import CpuNodes
from xnas.space.fast.gpu.nodes import BatchedGpuNodes, NodeSchedules
from xnas.space.forecaster import Forecaster
from xnas.space.operations import Zero

NodeKernel = Callable[[Sequence[Forecaster], Sequence[Tensor]], Tensor]
"""A function that computes a node from forecasters and their sources. It serves one pass through one cell."""


def node_kernel(inputs: Tensor, *, training: bool, schedules: NodeSchedules | None = None) -> NodeKernel:
    """Return the fastest kernel for a cell's inputs; `schedules` are the cell's, kept for its next pass."""
    if not training:
        return reference_node
    if supported(inputs):
        return CpuNodes()
    if inputs.device.type not in ("cpu", "meta"):
        return BatchedGpuNodes(NodeSchedules() if schedules is None else schedules)
    return reference_node


def sum_outputs(modules: Sequence[nn.Module], sources: Sequence[Tensor], *, training: bool) -> Tensor:
    """The sum of modules' outputs, each of its own source, in the fastest way."""
    if training and supported(sources[0]) and not all(isinstance(module, Zero) for module in modules):
        return CpuNodes().sum_outputs(modules, sources)
    outputs = [module(source) for module, source in zip(modules, sources, strict=True)]
    total: Tensor = reduce(torch.add, outputs)
    return total


def sum_outputs_with_drop_path(
    modules: Sequence[nn.Module], sources: Sequence[Tensor], factors_EB: Tensor, *, training: bool
) -> Tensor:
    """Return the sum with each output but identities' multiplied image by image by its factors.

    A kernel mixes by numbers that all images share, so each module is a sum of its own, and norms take their statistics
    of all images, whichever factors they have.
    """
    outputs = []
    for module, source, factors_B in zip(modules, sources, factors_EB.unbind(), strict=True):
        if isinstance(module, nn.Identity):
            outputs.append(source)
            continue
        output = sum_outputs([module], [source], training=training)
        outputs.append(output * factors_B.to(output.dtype)[:, None, None, None])
    total: Tensor = reduce(torch.add, outputs)
    return total


def reference_node(forecasters: Sequence[Forecaster], sources: Sequence[Tensor]) -> Tensor:
    """Compute a node module by module: the reference that the fast paths must equal."""
    node: Tensor = forecasters[0](sources[0])
    for forecaster, source in zip(forecasters[1:], sources[1:], strict=True):
        node = node + forecaster(source)
    return node
