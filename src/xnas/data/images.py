"""Labelled images, the two sets that an experiment needs, and their normalisation.

N: images of a set; B: of a batch; C H W: channels, height, width. Pixels are uint8; normalised they are
(x / 255 - mean) / std for each channel, with mean and std of the training images.
"""

import hashlib
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from xnas.data.transforms.resized_crop import resized_crops
from xnas.io.text import told_apart

CHUNK = 4096
CHUNK_BYTES = 16 * 2**20
"""Images, and bytes, looked at together when a whole set is measured: memory, not the result, depends on it."""


CropKeys = Callable[[Tensor], list[int]]
"""Gives for a lot of indices the key that draws each image's crop."""


class Digest(Protocol):
    """The interface of hashlib's hashes."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Images(ABC):
    """Images and the class of each, wherever the pixels are."""

    labels_N: Tensor
    """int64, an index into `classes`."""
    classes: tuple[str, ...]
    partial: bool = False
    """Whether a class may be without images, as in a part of a set."""
    names: tuple[str, ...] | None = None
    """The files of the whole set, if every image has its own."""
    file_bytes_N: Tensor | None = None
    """Their sizes, int64."""
    ids_N: Tensor | None = None
    """Indices of a part's images in the full set, int64."""

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""

    @abstractmethod
    def subset(self, ids: Tensor) -> Self:
        """Return the images of these indices (int64), in their order. Not every class needs to be among them."""

    @abstractmethod
    def stream(self, lots: Iterable[Tensor], *, crop_keys: CropKeys | None = None) -> Iterator[Tensor]:
        """The images of lots of indices, lot by lot: uint8, BCHW. Raises ValueError where one cannot be had.

        With `crop_keys` a random resized crop of each: of the file's own picture where images are read from files, of
        what is held where they are in memory.
        """

    def __len__(self) -> int:
        return len(self.labels_N)

    def pixels(self, ids_B: Tensor) -> Tensor:
        """Return the images of these indices: uint8, BCHW."""
        return next(self.stream([ids_B]))

    def chunks(self) -> Iterator[Tensor]:
        """All images in their order, a bounded number at a time: uint8, BCHW."""
        size = max(1, min(CHUNK, CHUNK_BYTES // math.prod(self.image_shape)))
        return self.stream(torch.split(torch.arange(len(self)), size))

    def place(self, i: int) -> int:
        """Return the index of image i in the full set that this is a part of."""
        return i if self.ids_N is None else int(self.ids_N[i])

    def describe(self, i: int) -> str:
        """Return the name of image i for messages, with its index in the full set."""
        number, label = self.place(i), self.classes[int(self.labels_N[i])]
        if self.names is None:
            return f"image {number} (class {label!r})"
        return f"{self.names[number]} (class {label!r}, image {number})"

    def feed(self, digest: Digest) -> None:
        """Hash classes, shape, labels, and the files' names and sizes; where there are no files, the pixels.

        It is the same whether the files are held in memory or not.
        """
        digest.update(json.dumps([self.classes, len(self), self.image_shape]).encode())
        digest.update(self.labels_N.cpu().numpy().tobytes())
        if self.names is None or self.file_bytes_N is None:
            for chunk_BCHW in self.chunks():
                digest.update(chunk_BCHW.cpu().contiguous().numpy().data)
            return
        home = os.path.commonpath(self.names)
        for place in range(len(self)) if self.ids_N is None else self.ids_N.tolist():
            file = f"{self.names[place].removeprefix(home)}\0{self.file_bytes_N[place]}\0"
            digest.update(file.encode(errors="surrogateescape"))


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet(Images):
    """Images in memory, and the class of each. Raises ValueError where the three do not fit together."""

    images_NCHW: Tensor
    """uint8. Those of the whole set, also in a part of it: the halves of a search take no memory of their own."""

    def __post_init__(self) -> None:
        images, labels = self.images_NCHW, self.labels_N
        count = len(images) if self.ids_N is None else len(self.ids_N)
        if images.ndim != 4 or images.dtype != torch.uint8:
            raise ValueError(
                f"images must be uint8 of shape (N, C, H, W); got {images.dtype} of shape {tuple(images.shape)}"
            )
        if labels.ndim != 1 or labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be int64 of shape (N,); got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        if count != len(labels):
            raise ValueError(f"{count} images have {len(labels)} labels; give every image one label")
        if count == 0 or images.numel() == 0:
            shape = (count, *images.shape[1:])
            raise ValueError(f"the set of images is empty: its shape is {shape}; give it images")
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
            check_every_class(labels, self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.images_NCHW.shape[1:]
        return channels, height, width

    def subset(self, ids: Tensor) -> Self:
        """Return the images of these indices (int64), in their order. Not every class needs to be among them."""
        return replace(
            self,
            labels_N=self.labels_N[ids],
            ids_N=ids if self.ids_N is None else self.ids_N[ids],
            partial=True,
        )

    def stream(self, lots: Iterable[Tensor], *, crop_keys: CropKeys | None = None) -> Iterator[Tensor]:
        """The images of lots of indices, lot by lot: uint8, BCHW. With `crop_keys` a random resized crop of each."""
        for ids_B in lots:
            images_BCHW = self.images_NCHW[ids_B if self.ids_N is None else self.ids_N[ids_B]]
            if crop_keys is None:
                yield images_BCHW
            else:
                yield torch.from_numpy(resized_crops(images_BCHW.cpu().numpy(), crop_keys(ids_B)))


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """Training and test images. Raises ValueError where the two differ in kind."""

    name: str
    train: Images
    test: Images
    border: float = 0.0
    """Share of a test image's file that is cut off on every side before the image is scaled."""

    def __post_init__(self) -> None:
        check_same_classes(self.train.classes, self.test.classes, where=self.name)
        if self.train.image_shape != self.test.image_shape:
            raise ValueError(
                f"{self.name}: training images have the shape (C, H, W) = {self.train.image_shape}, test images "
                f"{self.test.image_shape}; bring both to the same"
            )

    @property
    def num_classes(self) -> int:
        """Classes to tell apart."""
        return len(self.train.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.train.image_shape

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of both sets: another one if an image, its class or its place has changed.

        For images in files it covers names and sizes of the files, and not what is in them.
        """
        digest = hashlib.sha256()
        for images in (self.train, self.test):
            images.feed(digest)
        return digest.hexdigest()


def check_every_class(labels_N: Tensor, classes: tuple[str, ...]) -> None:
    """Raise ValueError, naming it, if a class has no images."""
    counts = torch.bincount(labels_N, minlength=len(classes)).tolist()
    for name, count in zip(classes, counts, strict=True):
        if count == 0:
            raise ValueError(f"the class {name!r} has 0 images; add some, or leave the class out")


def check_same_classes(train: tuple[str, ...], test: tuple[str, ...], *, where: str) -> None:
    """Raise ValueError, naming the classes that are on one side only, if training and test classes differ."""
    if train == test:
        return
    sides = {"test": [name for name in train if name not in test]}
    sides["training"] = [name for name in test if name not in train]
    missing = "; ".join(
        f"missing from the {side} images: {', '.join(map(told_apart, names))}"
        for side, names in sides.items()
        if names
    )
    raise ValueError(
        f"{where}: training and test images must have the same classes, in the same order; "
        f"{missing or f'got {list(train)} and {list(test)}'}"
    )


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return `values` on the device; themselves, if they are there.

    A copy from pinned memory to CUDA is queued behind the work before it and returns at once, where one from other
    memory would wait until all that work is done. torch keeps the pinned memory until the copy is.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


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
    def of(cls, images: Images) -> Self:
        """Measured over all pixels of a set; a channel that hardly varies counts as varying by one grey level."""
        channels = images.image_shape[0]
        # Sums of integers: exact, so that the result does not depend on the order of summation.
        sums_C = torch.zeros(channels, dtype=torch.int64)
        squares_C = torch.zeros(channels, dtype=torch.int64)
        for chunk_BCHW in images.chunks():
            counts_CV = torch.stack(
                [torch.bincount(channel.flatten(), minlength=256) for channel in chunk_BCHW.unbind(1)]
            ).cpu()
            values_V = torch.arange(256)
            sums_C += (counts_CV * values_V).sum(1)
            squares_C += (counts_CV * values_V.square()).sum(1)
        pixels = len(images) * images.image_shape[1] * images.image_shape[2]
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
        """Return the normalisation on another device."""
        return type(self)(mean_C=self.mean_C.to(device), std_C=self.std_C.to(device))
