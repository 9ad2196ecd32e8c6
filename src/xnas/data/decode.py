"""Image files to pixels: turned as their EXIF says, at 8 bits, grey or RGB, at one size.

16-bit grey is scaled to 8 bits (divided by 257), not clipped. Transparent parts are laid on white. Of an animation the
first picture counts. This file does without torch, so that a process that only reads images starts at once.
B: images of a batch; C H W: channels, height, width.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from xnas.data.resized_crop import resized_crop

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings each EXIF orientation upright; 1 is."""
QUARTER_TURNS = (5, 6, 7, 8)
"""Those that exchange height and width."""
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
GREY = ("1", "L", "LA", "La", *DEEP)

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says about itself."""

    height: int
    width: int
    grey: bool
    """Whether its kind has no colour. A colour file can still show nothing but grey."""
    num_bytes: int
    """Of the file."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What every image of a set is brought to."""

    height: int
    width: int
    scaled: bool
    """Scaled until the shorter side fits a square, and the middle taken; otherwise of this size already."""
    colour: bool
    """Decoded as RGB rather than grey."""
    border: float = 0.0
    """Share of the whole that is cut off on every side before an image is scaled."""
    channels: int
    """Kept of those decoded: 1 of an RGB that shows no colour."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands for what could not be read."""

    reason: str


def read_header(path: str) -> Header:
    """The header of an image file. Raises whatever Pillow raises."""
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        # Asked only where it matters: to find it, a PNG is decoded whole.
        if width != height and _orientation(image) in QUARTER_TURNS:
            width, height = height, width
        return Header(height=height, width=width, grey=image.mode in GREY, num_bytes=os.stat(path).st_size)


def read_image(path: str, form: Form, *, key: int | None = None) -> NDArray[np.uint8]:
    """The pixels of an image file, CHW; with a key those of the resized crop that it draws.

    Raises whatever Pillow raises, and ValueError where they do not fit `form`.
    """
    with Image.open(path, formats=FORMATS) as image:
        if form.scaled and key is None:
            # JPEG leaves out detail that scaling would drop.
            image.draft(None, (2 * form.width, 2 * form.height))
        image.load()
        upright = to_8_bits(turn_upright(image), colour=form.colour)
    if form.scaled and key is None:
        # At a shorter side of 256 a border of 1/16 leaves 224, of which ImageNet's tests are made.
        size, method = (form.width, form.height), Image.Resampling.BILINEAR
        upright = ImageOps.fit(upright, size, method=method, bleed=form.border)
    elif not form.scaled and upright.size != (form.width, form.height):
        raise ValueError(
            f"it is {upright.height} x {upright.width} pixels where {form.height} x {form.width} were expected"
        )
    if key is not None:
        upright = resized_crop(upright, key, height=form.height, width=form.width)
    pixels_HWC = np.asarray(upright, dtype=np.uint8).reshape(form.height, form.width, -1)
    return pixels_HWC.transpose(2, 0, 1)[: form.channels]


def read_batch(
    paths: Sequence[str], form: Form, keys: Sequence[int] | None = None
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The pixels of image files, BCHW in their order, and for each that is broken its place and the reason.

    With keys they are those of the resized crops that these draw.
    """
    pixels_BCHW = np.zeros((len(paths), *form.shape), dtype=np.uint8)
    reasons: dict[int, str] = {}
    for place, path in enumerate(paths):
        image = attempt(partial(read_image, form=form, key=keys[place] if keys else None), path)
        if isinstance(image, Broken):
            reasons[place] = image.reason
        else:
            pixels_BCHW[place] = image
    return pixels_BCHW, reasons


def each(read: Callable[[P], T], paths: Sequence[P]) -> Iterator[T | Broken]:
    """`read` of every file, in their order, by several threads, a bounded number of files ahead."""
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        ahead = 32 * workers
        for start in range(0, len(paths), ahead):
            yield from pool.map(lambda path: attempt(read, path), paths[start : start + ahead])


def attempt(read: Callable[[P], T], path: P) -> T | Broken:
    """`read` of a file, or why it could not be read."""
    try:
        return read(path)
    except UnidentifiedImageError:
        return Broken("it is no image")
    except MemoryError:
        raise  # says nothing of the file
    except Exception as error:  # Pillow's readers raise errors of many kinds for damaged files
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return Broken(" ".join(reason.split()) or type(error).__name__)


def is_grey(images: NDArray[np.uint8]) -> bool:
    """Whether all channels are the same, of an image CHW or of several BCHW."""
    return bool((images == images[..., :1, :, :]).all())


def turn_upright(image: Image.Image) -> Image.Image:
    """An image turned as its EXIF data say; as it is where there are none, or they cannot be read."""
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ORIENTATION)
    except (OSError, MemoryError):
        raise  # of a PNG, which is decoded for it
    except Exception:  # a malformed block: Pillow raises errors of many kinds, and the pixels are intact
        return None


def to_8_bits(image: Image.Image, *, colour: bool) -> Image.Image:
    """An image at 8 bits, RGB or grey. Raises ValueError where its values do not say how."""
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
    return image.convert("RGB" if colour else "L")
