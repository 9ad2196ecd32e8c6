"""The test loop, and what images a network takes.

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
"""Most images in a test batch: memory, not the result, depends on it."""

BATCH_PIXELS = BATCH_SIZE * 64 * 64
"""Most pixels of a channel in a test batch: where large images were trained in small batches, 250 have no room."""


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """Accuracy and loss of a network on a test set."""

    accuracy: float
    """Share of samples classified correctly, in [0, 1]."""
    loss: float
    """Mean cross-entropy, in nats."""
    samples: int


def test_batch_size(height: int, width: int) -> int:
    """Return the batch size for images of this size in pixels: 250 of up to 64 x 64, 20 of 224 x 224."""
    return max(1, min(BATCH_SIZE, BATCH_PIXELS // (height * width)))


def probabilities(logits_ND: Tensor) -> Tensor:
    """Return the softmax, float32; NaN for an image of which a logit is not finite."""
    finite_N1 = logits_ND.isfinite().all(1, keepdim=True)
    return logits_ND.float().softmax(1).where(finite_N1, torch.nan)


def in_channels(images: Images, channels: int) -> Images:
    """Return images with so many channels: grey ones become RGB for a network of RGB.

    Raises ValueError if they have another number of channels.
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
    stop_request: StopRequest,
    together: bool,
) -> TestResult:
    """Test a network on images, neither shuffled nor augmented; with `together` each rank takes its shard.

    The result is valid on rank 0. Raises Interrupted after a signal.
    """
    network.eval()
    meter = LossAccuracyMeter(device)
    dtype = next(network.parameters()).dtype  # it may have been cast to 16 bits
    part = Shard(index=process_group().rank, of=process_group().size if together else 1)
    images = in_channels(images, len(normalisation.mean_C))
    batch_size = test_batch_size(*images.image_shape[1:])
    for batch in batches(
        images, batch_size=batch_size, normalisation=normalisation, device=device, part=part
    ):
        logits_BD = network(batch.images_BCHW.to(dtype)).float()
        meter.add(F.cross_entropy(logits_BD, batch.labels_B, reduction="none"), logits_BD, batch.labels_B)
        if part.of == 1:
            stop_request.check()
    if part.of > 1:
        (number,) = process_group().all_reduce_max(stop_request.number or 0)
        if number:
            raise Interrupted(number)
        meter.all_reduce()
    return TestResult(accuracy=meter.accuracy, loss=meter.loss, samples=len(images))


def check_channels(has: int, channels: int) -> None:
    """Raise ValueError unless images have as many channels as the network takes."""
    if has != channels:
        raise ValueError(f"the network takes images of {channels} channel(s), but these have {has}")
