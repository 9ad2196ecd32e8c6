"""Testing a trained network, asking it, and bringing one back from its run folder.

N: images; C H W: channels, height, width; D: classes.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.data.files.streaming import FileImageSet
from xnas.data.images import Images, ImageSet, Normalisation
from xnas.data.loader import Shard, batches
from xnas.io.errors import Interrupted
from xnas.runs.signals import StopRequest
from xnas.train.distributed import process_group
from xnas.train.meters import LossAccuracyMeter

BATCH_SIZE = 250
"""Images tested at once, at most: memory, not the result, depends on it."""


BATCH_PIXELS = BATCH_SIZE * 64 * 64
"""Pixels of a channel tested at once. Whoever had to train large images in small batches has no memory for 250."""


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """What a network reached on a test set."""

    accuracy: float
    """Share of samples classified correctly, in [0, 1]."""
    loss: float
    """Mean cross-entropy, in nats."""
    samples: int


def images_at_once(height: int, width: int) -> int:
    """Images of this size, in pixels, that are tested together: 250 of up to 64 x 64, 20 of 224 x 224."""
    return max(1, min(BATCH_SIZE, BATCH_PIXELS // (height * width)))


def shares(logits_ND: Tensor) -> Tensor:
    """The classes' probabilities, float32; no numbers for an image of which a logit is not finite."""
    finite_N1 = logits_ND.isfinite().all(1, keepdim=True)
    return logits_ND.float().softmax(1).where(finite_N1, torch.nan)


def in_channels(images: Images, channels: int) -> Images:
    """Images for a network of so many channels: for one of RGB, grey ones are RGB that shows no colour.

    So they are among coloured ones, too. Raises ValueError if they have another number of channels.
    """
    has = images.image_shape[0]
    if (has, channels) == (1, 3):
        if isinstance(images, ImageSet):
            return replace(images, images_NCHW=images.images_NCHW.expand(-1, 3, -1, -1))
        if isinstance(images, FileImageSet):
            form = replace(images.files.form, colour=True, channels=3)
            return replace(images, files=replace(images.files, form=form))
    check_channels(has, channels)
    return images


@torch.no_grad()
def test_network(
    network: nn.Module,
    images: Images,
    *,
    normalisation: Normalisation,
    device: torch.device,
    interrupt: StopRequest,
    together: bool,
) -> TestResult:
    """Test a network on images that are neither shuffled nor augmented, each process on its part of them.

    Grey images are RGB to a network of RGB. What other processes than the leading one get counts for nothing. Raises
    Interrupted after a signal.
    """
    network.eval()
    meter = LossAccuracyMeter(device)
    dtype = next(network.parameters()).dtype  # somebody may have brought it to 16 bits
    part = Shard(index=process_group().rank, of=process_group().size if together else 1)
    images = in_channels(images, len(normalisation.mean_C))
    batch_size = images_at_once(*images.image_shape[1:])
    for batch in batches(
        images, batch_size=batch_size, normalisation=normalisation, device=device, part=part
    ):
        logits_BD = network(batch.images_BCHW.to(dtype)).float()
        meter.add(F.cross_entropy(logits_BD, batch.labels_B, reduction="none"), logits_BD, batch.labels_B)
        if part.of == 1:
            interrupt.check()
    if part.of > 1:
        (number,) = process_group().all_reduce_max(interrupt.number or 0)
        if number:
            raise Interrupted(number)
        meter.all_reduce()
    return TestResult(accuracy=meter.accuracy, loss=meter.loss, samples=len(images))


def check_channels(has: int, channels: int) -> None:
    """Raises ValueError unless images have as many channels as the network takes."""
    if has != channels:
        raise ValueError(f"the network takes images of {channels} channel(s), but these have {has}")
