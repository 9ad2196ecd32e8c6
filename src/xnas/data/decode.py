"""Image files to pixels: turned as their EXIF says, at 8 bits, grey or RGB, at one size.

16-bit grey is scaled to 8 bits (divided by 257), not clipped. Transparent parts are laid on white. Of an animation the
first picture counts. N: images; C H W: channels, height, width.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from xnas.data.download import Say

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
LARGE = 2000
"""Images from which on reading them is worth a line on how far it is."""

ORIENTATION = 0x0112
QUARTER_TURNS = (5, 6, 7, 8)
"""The EXIF orientations that exchange height and width."""
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
GREY = ("1", "L", "LA", "La", *DEEP)

T = TypeVar("T")


@dataclass(frozen=True)
class Header:
    """What an image file says about itself."""

    height: int
    width: int
    grey: bool
    """Whether its kind has no colour. A colour file can still show nothing but grey."""


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """The headers of image files, in their order. Raises ValueError naming the first that cannot be read."""
    return list(_each(_read_header, paths))


def read_pixels(
    paths: Sequence[Path], *, channels: int, size: tuple[int, int], square: int | None, say: Say
) -> tuple[Tensor, bool]:
    """The pixels of image files, uint8 NCHW in their order, and whether none of them shows colour.

    With `square` each is scaled until its shorter side has that many pixels, and the middle of it taken; else each has
    the height and width `size` already. Raises ValueError naming the first file that cannot be read.
    """
    height, width = size
    pixels_NCHW = np.empty((len(paths), channels, height, width), dtype=np.uint8)
    colourless = True
    if len(paths) >= LARGE:
        say(f"reading {len(paths):,} images of {paths[0].parent.parent}")
    decoded = _each(lambda path: _read_image(path, channels=channels, square=square), paths)
    for number, image_HWC in enumerate(decoded):
        if image_HWC.shape != (height, width, channels):  # changed since its header was read
            raise ValueError(
                f"{paths[number]} is {image_HWC.shape[1]} x {image_HWC.shape[0]} pixels where {width} x {height} "
                "were expected; leave the files alone while they are read"
            )
        pixels_NCHW[number] = image_HWC.transpose(2, 0, 1)
        colourless = colourless and _is_grey(image_HWC)
        if len(paths) >= LARGE and (number + 1) % (-(-len(paths) // 4)) == 0:
            say(f"read {number + 1:,} of {len(paths):,} images")
    return torch.from_numpy(pixels_NCHW), colourless


def _each(read: Callable[[Path], T], paths: Sequence[Path]) -> Iterator[T]:
    """`read` of every file by several threads, a bounded number of files ahead; an error is the first file's."""
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        ahead = 32 * workers
        for start in range(0, len(paths), ahead):
            yield from pool.map(lambda path: _named(read, path), paths[start : start + ahead])


def _named(read: Callable[[Path], T], path: Path) -> T:
    try:
        return read(path)
    except Exception as error:  # Pillow's readers raise errors of many kinds for damaged files
        reason = (
            "it is no image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        )
        raise ValueError(f"cannot read the image {path}: {reason}; replace it or take it out") from error


def _read_header(path: Path) -> Header:
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        # Asked only where it matters: to find it, a PNG is decoded whole.
        if width != height and image.getexif().get(ORIENTATION) in QUARTER_TURNS:
            width, height = height, width
        return Header(height=height, width=width, grey=image.mode in GREY)


def _read_image(path: Path, *, channels: int, square: int | None) -> NDArray[np.uint8]:
    with Image.open(path, formats=FORMATS) as image:
        if square is not None:
            image.draft(None, (2 * square, 2 * square))  # JPEG leaves out detail that scaling would drop
        image.load()
        upright = _to_8_bits(ImageOps.exif_transpose(image), channels=channels)
    if square is not None:
        upright = ImageOps.fit(upright, (square, square), method=Image.Resampling.BILINEAR)
    return np.asarray(upright, dtype=np.uint8).reshape(upright.height, upright.width, channels)


def _to_8_bits(image: Image.Image, *, channels: int) -> Image.Image:
    mode = "L" if channels == 1 else "RGB"
    if image.mode in DEEP:
        values_HW = np.asarray(image).astype(np.int64)
        if values_HW.min() < 0 or values_HW.max() > 65535:
            raise ValueError(
                f"its values go from {values_HW.min()} to {values_HW.max()}, beyond the 16 bits of 0 to 65535"
            )
        image = Image.fromarray(((values_HW + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are fractions, of unknown range; save it with 8 or 16 bits")
    elif image.has_transparency_data:
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return image.convert(mode)


def _is_grey(image_HWC: NDArray[np.uint8]) -> bool:
    return all(
        np.array_equal(image_HWC[..., 0], image_HWC[..., channel]) for channel in range(1, image_HWC.shape[2])
    )
