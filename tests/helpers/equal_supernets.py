"""That a supernet computes what the plain one does: outputs, gradients of all network weights, and rewards.

Everything in float64, within 1e-9.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.plain import plain_logits
from xnas import DartsSpace, NetworkSpec
from xnas.experts.step_size import Feedback
from xnas.space.darts.supernet import Supernet
from xnas.space.forecaster import Forecaster, ForecasterGroup, recording_mixture_grads

CLOSE = {"rtol": 1e-9, "atol": 1e-11}
PLAN = NetworkSpec(image_channels=2, num_classes=3, channels=4, cells=2, reductions=1)
LABELS = torch.tensor([0, 2, 1])


def supernet(
    experts: Sequence[str], *, nodes: int = 2, partial: int = 1, seed: int = 0, plan: NetworkSpec = PLAN
) -> Supernet:
    """With the mixture weights of a search."""
    torch.manual_seed(seed)
    space = DartsSpace(num_nodes=nodes, experts=tuple(experts), partial_channels=partial)
    found = space.supernet(plan).double()
    for forecaster in forecasters_of(found):
        forecaster.set_mixture(torch.rand(len(experts), dtype=torch.float64).softmax(dim=0))
    return found


def forecasters_of(model: nn.Module) -> list[Forecaster]:
    return [module for module in model.modules() if isinstance(module, Forecaster)]


def images(size: tuple[int, int] = (6, 6)) -> Tensor:
    return torch.randn(3, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradients(outputs: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(outputs, inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def check_equal(model: Supernet, inputs: Tensor) -> None:
    """A step of the weights, and rewards by sample and by batch."""
    weights = list(model.parameters())
    found, (expected, _) = model(inputs), plain_logits(model, inputs)
    torch.testing.assert_close(found, expected, **CLOSE)
    torch.testing.assert_close(
        gradients(F.cross_entropy(found, LABELS), weights),
        gradients(F.cross_entropy(expected, LABELS), weights),
        **CLOSE,
    )
    model.requires_grad_(False)
    feedbacks: tuple[Feedback, ...] = ("sample", "batch")
    for feedback in feedbacks:
        found_leaves, expected_leaves = rewards(model, inputs, feedback)
        torch.testing.assert_close(found_leaves, expected_leaves, **CLOSE)
    model.requires_grad_(True)


def rewards(model: Supernet, inputs: Tensor, feedback: Feedback) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients by the mixture weights of every forecaster, found and plain."""

    def loss(logits_BD: Tensor) -> Tensor:
        return F.cross_entropy(logits_BD, LABELS, reduction="sum" if feedback == "sample" else "mean")

    logits_BD, leaves = plain_logits(model, inputs, feedback=feedback)
    expected = gradients(loss(logits_BD), list(leaves.values()))
    with recording(list(leaves), per_sample=feedback == "sample"):
        found = loss(model(inputs))
        return gradients(found, [leaf(member) for member in leaves]), expected


def recording(members: Sequence[Forecaster], *, per_sample: bool = True) -> AbstractContextManager[None]:
    group = ForecasterGroup("all", tuple((member,) for member in members))
    return recording_mixture_grads({"all": group}, per_sample=per_sample)


def leaf(member: Forecaster) -> Tensor:
    assert member._leaf is not None
    return member._leaf
