"""The supernet computes what the plain one does: logits, gradients of all network weights, and rewards."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.plain import plain_gradients, plain_logits
from xnas import XNAS, DartsSpace, NetworkSpec
from xnas.experts.step_size import Feedback
from xnas.space.darts.supernet import Supernet
from xnas.space.forecaster import forecaster_groups
from xnas.space.names import SEARCHABLE

CLOSE = {"rtol": 1e-9, "atol": 1e-11}
PLAN = NetworkSpec(image_channels=3, num_classes=5, channels=4, cells=3)


def supernet_and_batch(*, partial: int = 1, size: int = 9) -> tuple[Supernet, Tensor, Tensor]:
    torch.manual_seed(0)
    space = DartsSpace(num_nodes=2, experts=SEARCHABLE, partial_channels=partial)
    supernet = space.supernet(PLAN).double()
    for group in forecaster_groups(supernet).values():
        for replicas_R in group.replicas_ER:
            mixture_K = torch.rand(len(SEARCHABLE), dtype=torch.float64)
            for member in replicas_R:
                member.set_mixture(mixture_K / mixture_K.sum())
    images = torch.randn(3, 3, size, size, dtype=torch.float64)
    return supernet, images, torch.tensor([0, 4, 2])


@pytest.mark.parametrize("partial", [1, 2, 4])
def test_the_supernet_gives_the_plain_logits_and_gradients(partial: int) -> None:
    supernet, images, labels = supernet_and_batch(partial=partial)
    found, (expected, leaves) = supernet(images), plain_logits(supernet, images)
    assert not any(leaf.requires_grad for leaf in leaves.values())
    torch.testing.assert_close(found, expected, **CLOSE)
    parameters = list(supernet.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(F.cross_entropy(found, labels), parameters),
        torch.autograd.grad(F.cross_entropy(expected, labels), parameters),
        **CLOSE,
    )


@pytest.mark.parametrize("feedback", ["sample", "batch"])
def test_the_rewards_of_a_measurement_are_the_plain_ones(feedback: Feedback) -> None:
    supernet, images, labels = supernet_and_batch()
    optimizer = XNAS(supernet, rounds=2, batch_size=3, feedback=feedback, reward_bound=1.0)
    expected = plain_gradients(supernet, images, labels, feedback=feedback, experts=SEARCHABLE)
    optimizer.measure(lambda: F.cross_entropy(supernet(images), labels, reduction="none"))
    for name, expected_RBEK in expected.items():
        by_feedback = expected_RBEK.flatten(end_dim=1) if feedback == "sample" else expected_RBEK.sum(dim=0)
        torch.testing.assert_close(optimizer.gradients(name), by_feedback, **CLOSE)
