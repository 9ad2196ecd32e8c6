"""The plain supernet: every edge and every operation by itself, a weighted sum, and autograd for the rest.

Nothing is shared, fused or written out: what is faster is measured against this and tested equal to it. The layers are
torch's own, called one by one with the parameters of the modules that are given.

R: replicas; E: edges; B: samples; K: experts; D: classes.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.experts.step_size import Feedback
from xnas.space.backbone import CellInputs
from xnas.space.darts.supernet import SearchCell, Supernet
from xnas.space.fast.depthwise import DepthwiseConv2d
from xnas.space.forecaster import Forecaster, forecaster_groups
from xnas.space.operations import FactorizedReduce
from xnas.space.partial import join_channels

Leaves = dict[Forecaster, Tensor]
"""The mixture weights that each forecaster was called with, (B, K) or (K,)."""


def plain_logits(
    supernet: Supernet, images: Tensor, *, feedback: Feedback | None = None
) -> tuple[Tensor, Leaves]:
    """The logits, (B, D), and the mixture weights that went into them.

    With `feedback` the weights are leaves that need gradients: (B, K) for "sample" and (K,) for "batch". Minus their
    gradients are the experts' rewards.
    """
    leaves: Leaves = {}
    before_last, last = supernet.stem(images)
    for cell, excitation in zip(supernet.cells, supernet.excitations, strict=True):
        assert isinstance(cell, SearchCell)
        before_last, last = last, excitation(_cell(cell, before_last, last, feedback, leaves))
    return supernet.classifier(last.mean(dim=(2, 3))), leaves


def plain_gradients(
    supernet: Supernet, images: Tensor, labels_B: Tensor, *, feedback: Feedback, experts: Sequence[str]
) -> dict[str, Tensor]:
    """Gradients of the cross-entropy by the mixture weights of every group: (R, B, E, K), or (R, 1, E, K).

    K counts `experts`, those of the start: the gradients of those that have left are zero. Network weights that need
    gradients get them too.
    """
    logits_BD, leaves = plain_logits(supernet, images, feedback=feedback)
    F.cross_entropy(logits_BD, labels_B, reduction="sum" if feedback == "sample" else "mean").backward()

    def padded(member: Forecaster) -> Tensor:
        gradient = leaves[member].grad
        assert gradient is not None
        rows = gradient.reshape(-1, gradient.shape[-1])
        return torch.stack(
            [
                rows[:, member.names.index(name)] if name in member.names else torch.zeros_like(rows[:, 0])
                for name in experts
            ],
            dim=-1,
        )

    return {
        name: torch.stack(
            [torch.stack([padded(member) for member in replicas_R]) for replicas_R in group.replicas_ER],
            dim=2,
        )
        for name, group in forecaster_groups(supernet).items()
    }


def _cell(
    cell: SearchCell, before_last: Tensor, last: Tensor, feedback: Feedback | None, leaves: Leaves
) -> Tensor:
    assert isinstance(cell.inputs, CellInputs)
    nodes = [plain(cell.inputs.before_last, before_last), plain(cell.inputs.last, last)]
    forecasters = iter(cell.forecasters)
    for _ in range(cell.num_nodes):
        edges = []
        for source in nodes:
            forecaster = next(forecasters)
            assert isinstance(forecaster, Forecaster)
            leaves[forecaster] = mixture_leaf(forecaster, len(source), feedback)
            edges.append(plain_forecast(forecaster, source, leaves[forecaster]))
        nodes.append(reduce(torch.add, edges))
    return torch.cat(nodes[2:], dim=1)


def mixture_leaf(forecaster: Forecaster, num_samples: int, feedback: Feedback | None) -> Tensor:
    """Its mixture weights, as a leaf of the shape that the feedback wants."""
    weights = forecaster.mixture_K
    if feedback is None:
        return weights
    leaf = weights.expand(num_samples, -1) if feedback == "sample" else weights
    return leaf.clone().requires_grad_()


def plain_forecast(forecaster: Forecaster, inputs: Tensor, weights: Tensor) -> Tensor:
    """p = sum_i u_i f_i(x), with what goes around the experts where channels are partial.

    Where one expert was chosen (GDAS), it is computed alone.
    """
    width = inputs.shape[1] // forecaster.partial
    passing, rest = inputs[:, :width], inputs[:, width:]
    terms = [
        plain(expert, passing) * weights[..., k].reshape(-1, *[1] * (inputs.dim() - 1))
        for k, expert in enumerate(forecaster.experts)
        if forecaster._active_expert in (None, k)
    ]
    mixed = reduce(torch.add, terms)
    if forecaster.partial == 1:
        return mixed
    if forecaster.bypass is not None:
        rest = forecaster.bypass(rest)
    return join_channels(mixed, rest, parts=forecaster.partial)


def plain(module: nn.Module, inputs: Tensor) -> Tensor:
    """What a module of a cell gives, by torch's own layers; a module that is not known here is simply called."""
    if isinstance(module, nn.Sequential):
        return reduce(lambda features, layer: plain(layer, features), module, inputs)
    if isinstance(module, DepthwiseConv2d):
        return nn.Conv2d.forward(module, inputs)
    if isinstance(module, FactorizedReduce):
        active = inputs.relu()
        # An odd size has one even pixel more than odd ones: a row of zeros makes the halves equal.
        shifted = F.pad(active, (0, inputs.shape[3] % 2, 0, inputs.shape[2] % 2))[:, :, 1:, 1:]
        return module.norm(torch.cat([module.even(active), module.odd(shifted)], dim=1))
    outputs: Tensor = module(inputs)
    return outputs
