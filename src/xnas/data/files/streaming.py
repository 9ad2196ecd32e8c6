"""Labelled images that stay in their files and are decoded when a batch needs them.

B: images of a batch; N: of a set; C H W: channels, height, width.
"""

import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch
from torch import Tensor

from xnas.data.files.broken import BrokenImage, BrokenImages
from xnas.data.files.decode import Broken, DecodeSpec, attempt, is_grey, read_batch, read_image
from xnas.data.files.decode_memory import SHARED, DecodeMemory
from xnas.data.files.readers import Answer, ReaderPool
from xnas.data.images import CHUNK_BYTES, CropKeys, Images, check_every_class

log = logging.getLogger(__name__)

LARGE = 2000
"""Images from which on going through all of them is worth a line."""
GLANCE = 64
"""Images looked at together where most often the first ones settle it."""
AHEAD = 2
"""Batches for each process that are asked for before they are needed."""
AHEAD_BYTES = 2**30
"""Pixels that these may have; beyond it each process still has one batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageFiles:
    """The files of a whole set, and how they are read."""

    part: str
    """The set of the folder: training or test."""
    form: DecodeSpec
    broken: BrokenImages
    """Broken images found so far, in all sets of the folder."""
    workers: ReaderPool | None
    """Processes that read; without them the training process does."""
    memory: DecodeMemory = SHARED
    """Decoding memory of the training process."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FileImageSet(Images):
    """Images that are read from their files again and again, always the same.

    One that turns out to be broken is replaced by the next one of its class, as far as the folder's setting allows.
    Raises ValueError where a class has no images.
    """

    names: tuple[str, ...]
    files: ImageFiles

    def __post_init__(self) -> None:
        if not self.partial:
            check_every_class(self.labels_N, self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.files.form.shape

    def subset(self, ids: Tensor) -> Self:
        """Return the images of these indices (int64), in their order. Not every class needs to be among them."""
        return replace(
            self,
            labels_N=self.labels_N[ids],
            ids_N=ids if self.ids_N is None else self.ids_N[ids],
            partial=True,
        )

    def stream(self, lots: Iterable[Tensor], *, crop_keys: CropKeys | None = None) -> Iterator[Tensor]:
        """The images of lots of indices, lot by lot: uint8, BCHW. Raises ValueError where one cannot be had.

        With `crop_keys` a random resized crop of each file's own picture.
        The processes read ahead; what they were asked for in vain is dropped when the iterator is closed.
        """
        workers, form = self.files.workers, self.files.form
        if workers is None:
            for ids_B in lots:
                keys = None if crop_keys is None else crop_keys(ids_B)
                answer = read_batch(self._paths(ids_B), form, keys, memory=self.files.memory)
                yield self._mend(ids_B, answer[:2], keys)
            return
        rest = iter(lots)
        asked: deque[tuple[Tensor, list[int] | None, Future[Answer]]] = deque()
        try:
            while True:
                for ids_B in rest:
                    keys = None if crop_keys is None else crop_keys(ids_B)
                    asked.append((ids_B, keys, workers.submit(self._paths(ids_B), form, keys)))
                    if len(asked) >= self._most_ahead(len(ids_B), workers.count):
                        break
                if not asked:
                    return
                ids_B, keys, promised = asked.popleft()
                yield self._mend(ids_B, promised.result(), keys)
        finally:
            for _, _, promised in asked:
                promised.cancel()

    def chunks(self) -> Iterator[Tensor]:
        """All images in their order, a bounded number at a time: uint8, BCHW."""
        if len(self) >= LARGE:
            log.info(f"reading {len(self):,} images of {self.files.broken.root}, to measure them")
        return super().chunks()

    def _most_ahead(self, lot: int, workers: int) -> int:
        """Lots of so many images that are asked for before they are needed."""
        fitting = AHEAD_BYTES // max(1, lot * math.prod(self.image_shape))
        return max(workers, min(AHEAD * workers, fitting))

    def _places(self, ids_B: Tensor) -> list[int]:
        places_B: list[int] = (ids_B if self.ids_N is None else self.ids_N[ids_B]).tolist()
        return places_B

    def _paths(self, ids_B: Tensor) -> list[str]:
        return [self.names[place] for place in self._places(ids_B)]

    def _mend(self, ids_B: Tensor, answer: Answer, keys: list[int] | None) -> Tensor:
        """Pixels with another image in the place of every broken one."""
        pixels_BCHW, reasons = torch.from_numpy(answer[0]), answer[1]
        for place, reason in sorted(reasons.items()):
            i = int(ids_B[place])
            self._report(i, reason)
            pixels_BCHW[place] = self._stand_in(i, key=keys[place] if keys else None)
        return pixels_BCHW

    def _stand_in(self, broken: int, *, key: int | None) -> Tensor:
        """Return the next image of the same class that can be read; after the last comes the first."""
        label = int(self.labels_N[broken])
        same_M = (self.labels_N == label).nonzero().flatten()
        following = torch.cat([same_M[same_M > broken], same_M[same_M < broken]])
        for i in following.tolist():
            path = self.names[self.place(i)]
            if path in self.files.broken:
                continue
            read = partial(read_image, form=self.files.form, key=key, memory=self.files.memory)
            image = attempt(read, path)
            if not isinstance(image, Broken):
                return torch.from_numpy(image.copy())
            self._report(i, image.reason)
        raise ValueError(
            f"none of the {len(same_M):,} images of the class {self.classes[label]!r} can be read; replace them, or "
            "leave the class out"
        )

    def _report(self, i: int, reason: str) -> None:
        number, label = self.place(i), self.classes[int(self.labels_N[i])]
        image = BrokenImage(self.names[number], label, number, self.files.part, reason)
        self.files.broken.add([image], what_happens="the next of its class takes its place")


def shows_colour(images: FileImageSet) -> bool:
    """Return whether any image shows colour; only where none does are all of them read."""
    glance = max(1, min(GLANCE, CHUNK_BYTES // math.prod(images.image_shape)))
    stream = images.stream(torch.split(torch.arange(len(images)), glance))
    for number, pixels_BCHW in enumerate(stream, start=1):
        if not is_grey(pixels_BCHW.numpy()):
            return True
        if number == LARGE // glance:
            root = images.files.broken.root
            log.info(f"{root}: looking through {len(images):,} images for one with colour")
    return False
