"""The data loader: a set of images as a stream of normalised batches, the same for a (seed, epoch) on any device.

It is not torch.utils.data.DataLoader, for four reasons. Order and augmentation of an image are hashes of (seed, epoch,
index), not draws of a worker's generator, so that every batch is the same bit for bit with any number of readers and
processes. An epoch starts at any batch at no cost, since nothing before it needs to be drawn: a run resumes in the
middle of one. Image files are read by processes that do not import torch, of 30 MB each (`files/readers.py`). And these
hold back the signals that are for the training process, which still needs its images to end with a checkpoint.

N: images of the set; B: of a batch; C H W: channels, height, width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xnas.data.images import Images, Normalisation, to_device
from xnas.data.rng import RESIZED, mix_address
from xnas.data.sampling import epoch_order, mix_addresses
from xnas.data.transforms.autoaugment import augment_by_policy
from xnas.data.transforms.crop_flip_cutout import augment, cutout


@dataclass(frozen=True, eq=False)
class Batch:
    """Images on their way into a network, all three on one device."""

    images_BCHW: Tensor
    """float32, normalised."""
    labels_B: Tensor
    """int64."""
    ids_B: Tensor
    """int64, where in its set each image is."""

    def __len__(self) -> int:
        return len(self.labels_B)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation of training images."""

    crop: Literal["pad", "resized"] = "pad"
    """Crops of an image's own size out of it padded, or of parts of it, scaled."""
    padding: int = 4
    """Pixels on every side out of which crops are taken; ignored with resized ones."""
    flip: bool = True
    """Mirror half of the images."""
    policy: Literal["none", "cifar10", "svhn", "imagenet"] = "none"
    """AutoAugment's operations after crop and flip."""
    cutout: int = 0
    """Side in pixels of a square that is blanked; 0 for none."""

    def __post_init__(self) -> None:
        for name in ("padding", "cutout"):
            if getattr(self, name) < 0:
                raise ValueError(f"data.{name} must be at least 0; got {getattr(self, name)}")

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Raise ValueError if images of this (C, H, W) could come out empty, or cannot be varied so."""
        channels = image_shape[0]
        for name, value, plain in (("crop", self.crop, "pad"), ("policy", self.policy, "none")):
            # Four channels would be scaled as RGB and transparency, which spoils them.
            if value != plain and channels not in (1, 3):
                raise ValueError(
                    f'data.{name} "{value}" is for images of 1 or 3 channels, and these have {channels}; use '
                    f'data.{name} "{plain}"'
                )
        side = min(image_shape[1:])
        if self.crop == "pad" and self.padding >= side:
            raise ValueError(
                f"data.padding {self.padding} can push images of {image_shape[1]} x {image_shape[2]} pixels "
                f"out of sight; use less than {side}"
            )
        if self.cutout > side:
            raise ValueError(
                f"data.cutout {self.cutout} is larger than images of {image_shape[1]} x {image_shape[2]} pixels; "
                f"use at most {side}"
            )


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of `of` equal parts of every batch, in the order of its images: what one process of many computes."""

    index: int = 0
    of: int = 1


ALL = Shard()


def num_batches(n: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Batches of an epoch over n images. Raises ValueError if there are none."""
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1; got {batch_size}")
    if drop_last and batch_size > n:
        raise ValueError(f"the batch size {batch_size} is larger than the set of {n} images; use at most {n}")
    return n // batch_size if drop_last else -(-n // batch_size)


def batches(
    images: Images,
    *,
    batch_size: int,
    normalisation: Normalisation,
    device: torch.device,
    seed: int = 0,
    epoch: int = 0,
    start: int = 0,
    shuffle: bool = False,
    augmentation: Augmentation | None = None,
    drop_last: bool = False,
    channels_last: bool = True,
    part: Shard = ALL,
) -> Iterator[Batch]:
    """Yield one epoch over a set: shuffled by (seed, epoch), augmented by (seed, epoch, index of the image).

    The first `start` batches are left out, at no cost. A `part` of a batch has its images as the full batch has them;
    where they do not divide evenly the first parts are larger by one, and empty ones are left out.

    Raises ValueError, at once, for a batch size, a start or an augmentation that does not fit the set, or a
    normalisation of another number of channels; and where an image cannot be had when its batch is due.
    """
    count = num_batches(len(images), batch_size, drop_last=drop_last)
    if not 0 <= start <= count:
        raise ValueError(f"an epoch of {count} batches cannot start after {start}; use 0 to {count}")
    if len(normalisation.mean_C) != images.image_shape[0]:
        raise ValueError(
            f"the normalisation is for images of {len(normalisation.mean_C)} channel(s), "
            f"but these have {images.image_shape[0]}"
        )
    if augmentation is not None:
        augmentation.check(images.image_shape)
    order_N = epoch_order(len(images), seed=seed, epoch=epoch) if shuffle else torch.arange(len(images))
    normalise = normalisation.to(device)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def keys(ids_B: Tensor) -> list[int]:
        drawn: list[int] = mix_addresses(mix_address(RESIZED, seed, epoch), ids_B).tolist()
        return drawn

    crop_keys = keys if augmentation is not None and augmentation.crop == "resized" else None
    whole_lots = (order_N[batch_size * i : batch_size * (i + 1)] for i in range(start, count))
    parts = (torch.tensor_split(lot_B, part.of)[part.index] for lot_B in whole_lots)
    index_batches = [lot_B for lot_B in parts if len(lot_B)]

    def draw(ids_B: Tensor, pixels_BCHW: Tensor) -> Batch:
        pixels_BCHW = to_device(pixels_BCHW, device)
        if augmentation is not None:
            pixels_BCHW = augment(
                pixels_BCHW,
                ids_B,
                seed=seed,
                epoch=epoch,
                padding=augmentation.padding if augmentation.crop == "pad" else 0,
                flip=augmentation.flip,
            )
            pixels_BCHW = augment_by_policy(
                pixels_BCHW, ids_B, policy=augmentation.policy, seed=seed, epoch=epoch
            )
        images_BCHW = normalise(pixels_BCHW)
        if augmentation is not None:
            images_BCHW = cutout(images_BCHW, ids_B, seed=seed, epoch=epoch, size=augmentation.cutout)
        return Batch(
            images_BCHW=images_BCHW.contiguous(memory_format=layout),
            labels_B=to_device(images.labels_N[ids_B], device),
            ids_B=to_device(ids_B, device),
        )

    # Closed with the generator, so that nobody reads ahead for an epoch that was left.
    stream = images.stream(index_batches, crop_keys=crop_keys)
    return (draw(ids_B, pixels_BCHW) for ids_B, pixels_BCHW in zip(index_batches, stream, strict=True))
