"""Labelled images in memory, the two sets that an experiment needs, and their normalisation.

N: images of a set; B: of a batch; C H W: channels, height, width. Pixels are uint8; normalised they are
(x / 255 - mean) / std for each channel, with mean and std of the training images.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

CHUNK = 4096
"""Images looked at together when a whole set is measured: memory, not the result, depends on it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Images and the class of each. Raises ValueError where the three do not fit together."""

    images_NCHW: Tensor
    """uint8."""
    labels_N: Tensor
    """int64, an index into `classes`."""
    classes: tuple[str, ...]
    partial: bool = False
    """Whether a class may be without images, as in a part of a set."""

    def __post_init__(self) -> None:
        images, labels = self.images_NCHW, self.labels_N
        if images.ndim != 4 or images.dtype != torch.uint8:
            raise ValueError(
                f"images must be uint8 of shape (N, C, H, W); got {images.dtype} of shape {tuple(images.shape)}"
            )
        if labels.ndim != 1 or labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be int64 of shape (N,); got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images have {len(labels)} labels; give every image one label")
        if images.numel() == 0:
            raise ValueError(
                f"the set of images is empty: its shape is {tuple(images.shape)}; give it images"
            )
        if len(self.classes) < 2:
            raise ValueError(
                f"there must be at least 2 classes to tell apart; got {len(self.classes)}: {list(self.classes)}"
            )
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"the class {twice!r} is named twice; give every class its own name")
        wrong_N = (labels < 0) | (labels >= len(self.classes))
        if wrong_N.any():
            first = int(wrong_N.nonzero()[0])
            raise ValueError(
                f"label {int(labels[first])} of image {first} is no class; "
                f"with {len(self.classes)} classes labels go from 0 to {len(self.classes) - 1}"
            )
        if not self.partial:
            counts = torch.bincount(labels, minlength=len(self.classes)).tolist()
            for name, count in zip(self.classes, counts, strict=True):
                if count == 0:
                    raise ValueError(f"the class {name!r} has 0 images; add some, or leave the class out")

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.images_NCHW.shape[1:]
        return channels, height, width

    def subset(self, ids: Tensor) -> "ImageSet":
        """The images of these indices (int64), in their order. Not every class needs to be among them."""
        return ImageSet(
            images_NCHW=self.images_NCHW[ids], labels_N=self.labels_N[ids], classes=self.classes, partial=True
        )

    def pixels(self, ids_B: Tensor) -> Tensor:
        """The images of these indices: uint8, BCHW."""
        return self.images_NCHW[ids_B]


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """What a network is trained on and what it is tested on. Raises ValueError where the two differ in kind."""

    name: str
    train: ImageSet
    test: ImageSet

    def __post_init__(self) -> None:
        check_same_classes(self.train.classes, self.test.classes, where=self.name)
        if self.train.image_shape != self.test.image_shape:
            raise ValueError(
                f"{self.name}: training images have the shape (C, H, W) = {self.train.image_shape}, test images "
                f"{self.test.image_shape}; bring both to the same"
            )

    def fingerprint(self) -> str:
        """SHA-256 of all that the two sets hold."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            digest.update(repr((part.classes, part.image_shape)).encode())
            digest.update(part.labels_N.numpy().tobytes())
            for chunk in torch.split(part.images_NCHW, CHUNK):
                digest.update(chunk.contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def num_classes(self) -> int:
        """Classes to tell apart."""
        return len(self.train.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.train.image_shape


def check_same_classes(train: tuple[str, ...], test: tuple[str, ...], *, where: str) -> None:
    """Raises ValueError, naming the classes that are on one side only, if training and test classes differ."""
    if train == test:
        return
    sides = {"test": [name for name in train if name not in test]}
    sides["training"] = [name for name in test if name not in train]
    missing = "; ".join(
        f"missing from the {side} images: {', '.join(names)}" for side, names in sides.items() if names
    )
    raise ValueError(
        f"{where}: training and test images must have the same classes, in the same order; "
        f"{missing or f'got {list(train)} and {list(test)}'}"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Normalisation:
    """Brings every channel of the training images to mean 0 and standard deviation 1."""

    mean_C: Tensor
    """float32, of pixels in [0, 1]."""
    std_C: Tensor
    """float32, of pixels in [0, 1]."""

    def __post_init__(self) -> None:
        mean, std = self.mean_C, self.std_C
        if mean.ndim != 1 or mean.shape != std.shape:
            raise ValueError(
                f"mean and std must hold one number a channel; got {tuple(mean.shape)} and {tuple(std.shape)}"
            )
        if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise ValueError(
                f"mean and std must be finite and std positive; got {mean.tolist()} and {std.tolist()}"
            )

    @classmethod
    def of(cls, images: ImageSet) -> Self:
        """Measured over all pixels of a set; a channel that hardly varies counts as varying by one grey level."""
        channels = images.image_shape[0]
        # Sums of integers: exact, so that the result does not depend on the order of summation.
        sums_C = torch.zeros(channels, dtype=torch.int64)
        squares_C = torch.zeros(channels, dtype=torch.int64)
        for chunk_BCHW in torch.split(images.images_NCHW, CHUNK):
            counts_CV = torch.stack(
                [torch.bincount(channel.flatten(), minlength=256) for channel in chunk_BCHW.unbind(1)]
            ).cpu()
            values_V = torch.arange(256)
            sums_C += (counts_CV * values_V).sum(1)
            squares_C += (counts_CV * values_V.square()).sum(1)
        pixels = images.images_NCHW[:, 0].numel()
        mean_C = sums_C.double() / pixels
        variance_C = squares_C.double() / pixels - mean_C.square()
        std_C = variance_C.clamp(min=0).sqrt().clamp(min=1)
        return cls(mean_C=(mean_C / 255).float(), std_C=(std_C / 255).float())

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Normalised images, float32 of the same shape, from uint8 images."""
        assert images_BCHW.dtype == torch.uint8, images_BCHW.dtype
        scale_C11 = (1 / (255 * self.std_C))[:, None, None]
        shift_C11 = (-self.mean_C / self.std_C)[:, None, None]
        return torch.addcmul(shift_C11, images_BCHW.float(), scale_C11)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(mean_C=self.mean_C.to(device), std_C=self.std_C.to(device))
