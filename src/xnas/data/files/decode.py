"""Image files to pixels: turned as their EXIF says, at 8 bits, grey or RGB, at one size.

16-bit grey is scaled to 8 bits (divided by 257), not clipped. Transparent parts are laid on white. Of an animation the
first picture counts. What a file claims is looked at before it is decoded, and decoding has its part of a budget of
memory. This file does without torch, so that a process that only reads images starts at once.
B: images of a batch; C H W: channels, height, width.
"""

import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from xnas.data.files.decode_memory import (
    SHARED,
    BeyondShare,
    DecodeMemory,
    bytes_beside,
    bytes_needed,
    bytes_to_open,
    check_speed,
)
from xnas.data.transforms.resized_crop import resized_crop

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
SUFFIXES = frozenset(
    {
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".jfi",
        ".jif",
        ".bmp",
        ".dib",
        ".webp",
        ".gif",
        ".tif",
        ".tiff",
    }
)

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
HIGH_BIT_DEPTH = ("I", "I;16", "I;16L", "I;16B", "I;16N")
GREY = ("1", "L", "LA", "La", *HIGH_BIT_DEPTH)
AT_ONCE = 2**18
"""Pixels that are converted together."""
FILES_AHEAD = 32
"""For each thread that reads."""
AHEAD_BYTES = 2**26
"""Pixels of images that wait to be taken; beyond it each thread still has one."""
OUTPUTS = 12
"""Bytes a pixel of what is read: scaled, as text of bytes in pieces and together, and as an array."""
FEW_LEVELS = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies the values of PNG files of 2 and 4 bits with, and not the one that is transparent."""

_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
"""The filter of warnings that Pillow gives."""

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image file says about itself."""

    height: int
    width: int
    grey: bool
    """Whether its kind has no colour. A colour file can still show nothing but grey."""
    num_bytes: int
    """Of the file."""


@dataclass(frozen=True, kw_only=True)
class DecodeSpec:
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


@contextmanager
def opened(
    path: str | os.PathLike[str], memory: DecodeMemory, *, draft: tuple[int, int] | None = None
) -> Iterator[tuple[Image.Image, int]]:
    """An image file, not decoded yet, and the bytes of memory that decoding it needs.

    With `draft` a JPEG leaves out detail beyond that width and height, as far as it can.
    Raises whatever Pillow raises, TooLarge for what the budget has no room for, and BeyondShare.
    """
    _silence_pillow()
    num_bytes = os.stat(path).st_size
    memory.check_file(num_bytes)
    with memory.taken(bytes_to_open(num_bytes)):
        image = Image.open(path, formats=FORMATS)
    with image:
        check_speed(image)
        beside = bytes_beside(image, num_bytes)
        # By the full image: what is refused must not depend on what a run makes of it.
        memory.check(image, bytes_needed(image, beside=beside))
        _mend_transparency(image)
        if draft is not None:
            image.draft(None, draft)
        num_needed = bytes_needed(image, beside=beside)
        memory.check_share(num_needed)
        yield image, num_needed


def _silence_pillow() -> None:
    """What Pillow thinks of a file's metadata and size is no line for a user: the budget bounds them."""
    if _PILLOW not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW[3].pattern)


def _mend_transparency(image: Image.Image) -> None:
    """Pillow has the transparent value of a PNG as the file has it, and its pixels at 8 bits."""
    value = image.info.get("transparency")
    if image.format != "PNG" or value is None or not getattr(image, "tile", None):
        return
    kind = image.tile[0].args  # type: ignore[attr-defined]
    if kind in FEW_LEVELS and isinstance(value, int):
        image.info["transparency"] = min(255, value * FEW_LEVELS[kind])
    elif kind == "RGB;16B" and isinstance(value, tuple):
        image.info["transparency"] = tuple(part >> 8 for part in value)


def read_header(path: str, *, memory: DecodeMemory = SHARED) -> ImageHeader:
    """Return the header of an image file. Raises as `opened` does."""
    with opened(path, memory) as (image, num_needed):
        width, height = image.size
        # Asked only where it matters: to find it, a PNG is decoded whole.
        if width != height:
            with memory.taken(num_needed):
                if _orientation(image) in QUARTER_TURNS:
                    width, height = height, width
        return ImageHeader(
            height=height, width=width, grey=image.mode in GREY, num_bytes=os.stat(path).st_size
        )


def read_image(
    path: str, form: DecodeSpec, *, key: int | None = None, memory: DecodeMemory = SHARED
) -> NDArray[np.uint8]:
    """The pixels of an image file, CHW; with a key those of the resized crop that it draws.

    Raises as `opened` does, and ValueError where they do not fit `form`.
    """
    # JPEG leaves out detail that scaling would drop.
    draft = (2 * form.width, 2 * form.height) if form.scaled and key is None else None
    made = OUTPUTS * form.height * form.width
    with opened(path, memory, draft=draft) as (image, num_needed), memory.taken(num_needed + made):
        upright = upright_8_bits(image, colour=form.colour)
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


def upright_8_bits(image: Image.Image, *, colour: bool) -> Image.Image:
    """Return an opened image turned upright at 8 bits, RGB or grey; what was decoded on the way takes no memory any
    more.

    Raises ValueError where its values do not say how.
    """
    image.load()
    upright = turn_upright(image)
    if upright is not image:
        image.close()
    plain = to_8_bits(upright, colour=colour)
    if plain is not upright:
        upright.close()
    return plain


def read_batch(
    paths: Sequence[str],
    form: DecodeSpec,
    keys: Sequence[int] | None = None,
    *,
    memory: DecodeMemory = SHARED,
) -> tuple[NDArray[np.uint8], dict[int, str], list[int]]:
    """The pixels of image files, BCHW in their order, for each that is broken its place and the reason, and the places
    of those that are beyond this process's share of the memory.

    With keys they are those of the resized crops that these draw.
    """
    pixels_BCHW = np.zeros((len(paths), *form.shape), dtype=np.uint8)
    reasons: dict[int, str] = {}
    left: list[int] = []
    for place, path in enumerate(paths):
        key = keys[place] if keys else None
        try:
            image = attempt(partial(read_image, form=form, key=key, memory=memory), path)
        except BeyondShare:
            left.append(place)
            continue
        if isinstance(image, Broken):
            reasons[place] = image.reason
        else:
            pixels_BCHW[place] = image
    return pixels_BCHW, reasons, left


def each(read: Callable[[P], T], paths: Sequence[P], *, num_bytes: int = 0) -> Iterator[T | Broken]:
    """`read` of every file, in their order, by several threads, a bounded number of files ahead.

    `num_bytes`: of what it returns, where that is much.
    """
    workers = min(8, os.cpu_count() or 1)
    ahead = FILES_AHEAD * workers
    if num_bytes:
        ahead = max(workers, min(ahead, AHEAD_BYTES // num_bytes))
    pool = ThreadPoolExecutor(max_workers=workers)
    waiting: deque[Future[T | Broken]] = deque()
    try:
        for path in paths:
            if len(waiting) == ahead:
                yield waiting.popleft().result()
            waiting.append(pool.submit(attempt, read, path))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def attempt(read: Callable[[P], T], path: P) -> T | Broken:
    """`read` of a file, or why it could not be read."""
    try:
        return read(path)
    except UnidentifiedImageError:
        return Broken("it is no image")
    except (MemoryError, BeyondShare):
        raise  # says nothing of the file
    except Exception as error:  # Pillow's readers raise errors of many kinds for damaged files
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return Broken(" ".join(reason.split()) or type(error).__name__)


def is_grey(images: NDArray[np.uint8]) -> bool:
    """Return whether all channels are the same, of an image CHW or of several BCHW."""
    return bool((images == images[..., :1, :, :]).all())


def turn_upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its EXIF data say; as it is where there are none, or they cannot be read."""
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
    """Return an image at 8 bits, RGB or grey. Raises ValueError where its values do not say how."""
    mode = "RGB" if colour else "L"
    if image.mode in HIGH_BIT_DEPTH:
        return _levels_of_8_bits(image, mode)
    if image.mode == "F":
        raise ValueError("its pixels are fractions, of unknown range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        return _by_parts(image, mode, _on_white)
    return image if image.mode == mode else image.convert(mode)


def _levels_of_8_bits(image: Image.Image, mode: str) -> Image.Image:
    """Grey of 16 bits, which may be stored in 32, with 8; where it is transparent it is white."""
    transparent = image.info.get("transparency")
    lowest, highest = 2**32, -(2**32)

    def convert(part: Image.Image) -> Image.Image:
        nonlocal lowest, highest
        values_HW = np.asarray(part)
        lowest, highest = min(lowest, int(values_HW.min())), max(highest, int(values_HW.max()))
        levels_HW = ((np.clip(values_HW, 0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8)
        if isinstance(transparent, int):
            levels_HW[values_HW == transparent] = 255
        return Image.fromarray(levels_HW)

    levels = _by_parts(image, mode, convert)
    if lowest < 0 or highest > 65535:
        raise ValueError(f"its values go from {lowest} to {highest}, beyond the 16 bits of 0 to 65535")
    return levels


def _on_white(part: Image.Image) -> Image.Image:
    above = part.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)


def _by_parts(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return the same as of the whole image, in less memory: each part is converted, and then brought to the mode."""
    columns = min(image.width, AT_ONCE)
    rows = AT_ONCE // columns
    if columns == image.width and rows >= image.height:
        whole = convert(image)
        return whole if whole.mode == mode else whole.convert(mode)
    made = Image.new(mode, image.size)
    for upper in range(0, image.height, rows):
        for left in range(0, image.width, columns):
            lower, right = min(image.height, upper + rows), min(image.width, left + columns)
            part = convert(image.crop((left, upper, right, lower)))
            made.paste(part if part.mode == mode else part.convert(mode), (left, upper))
    return made
