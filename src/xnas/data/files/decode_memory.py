"""How much memory it takes to decode an image, by its header, and one budget of it for all that decode at once.

One image may take half of the budget, however many read: which images can be read depends on nothing else. Threads
take turns at all of it. Of processes each has a share of one half; what needs more they leave to the training process,
whose threads take turns at the other half. This file does without torch, as its readers do.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

DEFAULT = 2.0
"""GiB."""
MOST_SLOW = 2**24
"""Pixels of a run-length BMP, which Pillow goes through one by one in Python."""

_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes in which Pillow holds a pixel; 4 of all other modes."""
_RGB = 4
_ROWS = 16
"""Bytes of decoders' rows for each pixel of the width: an image may be a single row."""
_MOST_TEXT, _EXPANSION = 2**27, 2048
"""Bytes that Pillow unpacks of a PNG's text and keeps, in all and for each byte, twice as zlib can."""
_BESIDE = {"WEBP": 16, "TIFF": 8, "BMP": 4, "GIF": 2}
"""Bytes a pixel that decoders of a format need beside the image: canvases, a strip that is the whole image."""


class TooLarge(ValueError):  # a mistake in the input, as all ValueErrors here
    """An image would take more memory than one may."""


class BeyondShare(Exception):  # no mistake
    """An image is for the training process to read."""


class DecodeMemory:
    """The budget of one process. `gib`: of all readers together. `processes`: so many others read beside this one.

    `share`: this is such a process, one of so many.
    """

    def __init__(self, gib: float = DEFAULT, *, processes: int = 0, share: int = 0) -> None:
        self.gib = gib
        self.most = int(gib * 2**29)
        """Bytes that one image may take."""
        self.share = self.most // share if share else None
        """Bytes that one may take in this process."""
        self._free = self._whole = self.most if processes or share else 2 * self.most
        self._door, self._changed = threading.Lock(), threading.Condition()

    def check_file(self, num_bytes: int) -> None:
        """Raises TooLarge for a file that cannot even be looked at."""
        if num_bytes > self.most:
            raise TooLarge(f"its file of {_size(num_bytes)} {self._remedy()}")

    def check(self, image: Image.Image, num_needed: int) -> None:
        """Raises TooLarge for an opened image that needs more than one may."""
        if num_needed > self.most:
            raise TooLarge(
                f"its {image.height:,} x {image.width:,} pixels ({image.format}, {image.mode}) take "
                f"{_size(num_needed)} of memory to decode, which {self._remedy()}"
            )

    def check_share(self, num_needed: int) -> None:
        """Raises BeyondShare for what is not for this process to read."""
        if self.share is not None and num_needed > self.share:
            raise BeyondShare

    @contextmanager
    def taken(self, num_bytes: int) -> Iterator[None]:
        """Waits until so much of the budget is free, and has it within; all of it where that is more."""
        num_bytes = min(num_bytes, self._whole)
        with self._door, self._changed:  # who waits for much is not overtaken by those who need little
            self._changed.wait_for(lambda: self._free >= num_bytes)
            self._free -= num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._free += num_bytes
                self._changed.notify_all()

    def _remedy(self) -> str:
        return (
            f"is more than an image may take, {_size(self.most)}, half of --data.decode-memory {self.gib:g}; scale it "
            "down, or allow more"
        )


def bytes_to_open(num_bytes: int) -> int:
    """Return the most that looking at a file of so many bytes takes, before anything is known of it."""
    return 3 * num_bytes + min(_MOST_TEXT, _EXPANSION * num_bytes)


def bytes_needed(image: Image.Image, *, beside: int) -> int:
    """Return the most that decoding an opened image takes, turned upright and made RGB: above what was measured.

    beside: what `bytes_beside` gave, before anything was left out.
    """
    stored = _STORED.get(image.mode, 4)
    pixels = image.width * image.height
    return max(pixels * stored + beside, pixels * 2 * stored, pixels * (stored + _RGB)) + _ROWS * image.width


def bytes_beside(image: Image.Image, num_bytes: int) -> int:
    """What the decoder of an opened image holds beside it; `num_bytes`: of its file."""
    beside = _BESIDE.get(image.format or "", 0)
    if image.format in ("JPEG", "MPO") and _has_scans(image):
        beside = 2 * len(image.getbands())
    # A WebP's bytes are held several times. Text in a PNG was packed, and is kept unpacked.
    packed = 2 * int(getattr(getattr(image, "png", None), "text_memory", 0))
    files = num_bytes * (3 if image.format == "WEBP" else 1)
    return image.width * image.height * beside + files + packed + _tile_bytes(image)


def _has_scans(image: Image.Image) -> bool:
    """Return whether a JPEG comes in several scans, so that the coefficients of all must be held."""
    file = getattr(image, "fp", None)
    if image.info.get("progressive") or file is None:
        return True
    bands, place = len(image.getbands()), file.tell()  # behind what begins the first scan
    start = b"\xff\xda" + bytes([0, 6 + 2 * bands, bands])
    file.seek(max(0, place - 8 - 2 * bands))
    head = file.read(len(start))
    file.seek(place)
    return bool(head != start)


def _tile_bytes(image: Image.Image) -> int:
    """Of a tile or strip of a TIFF, which may be larger than the image."""
    tags: Any = getattr(image, "tag_v2", {})
    try:
        sides = [int(tags.get(tag, 0)) for tag in (322, 323)]
    except (TypeError, ValueError):
        return 0  # Pillow finds the same
    return 8 * sides[0] * sides[1] if min(sides) > 0 else 0


def check_speed(image: Image.Image) -> None:
    """Raises TooLarge for an image that would take minutes, whatever its memory."""
    is_packed = image.format == "BMP" and any(
        str(tile[0]) == "bmp_rle" for tile in getattr(image, "tile", ())
    )
    if is_packed and image.width * image.height > MOST_SLOW:
        raise TooLarge(
            f"its {image.height:,} x {image.width:,} pixels are a run-length BMP, of which {MOST_SLOW:,} pixels can be "
            "read; save it as PNG"
        )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:,.0f} KiB"


SHARED = DecodeMemory()
"""The budget where no other is given."""
