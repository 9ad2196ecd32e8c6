"""Testing a trained network, and bringing one back from its run folder."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from xnas.data.batches import batches
from xnas.data.images import ImageSet, Normalisation
from xnas.engine.descent import Tally

BATCH_SIZE = 250
"""Images tested at once: memory, not the result, depends on it."""


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """What a network reached on a test set."""

    accuracy: float
    """Share of samples classified correctly, in [0, 1]."""
    loss: float
    """Mean cross-entropy, in nats."""
    samples: int


@torch.no_grad()
def test_network(
    network: nn.Module, images: ImageSet, *, normalisation: Normalisation, device: torch.device
) -> TestResult:
    """Test a network on images that are neither shuffled nor augmented."""
    network.eval()
    tally = Tally(len(images.classes), device)
    for batch in batches(images, batch_size=BATCH_SIZE, normalisation=normalisation, device=device):
        logits_BD = network(batch.images_BCHW)
        tally.add(F.cross_entropy(logits_BD, batch.labels_B, reduction="none"), logits_BD, batch.labels_B)
    return TestResult(accuracy=tally.accuracy, loss=tally.loss, samples=len(images))
