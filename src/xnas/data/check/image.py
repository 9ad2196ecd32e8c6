"""One image file looked at as closely as a run would, and a little closer: decoded whole, whatever it holds is named.

What becomes of it is decode.py's business; said here is only where that changes what the image shows. A palette becomes
its colours, and grey stored as colour stays grey: neither is worth a word. H W C: height, width, channels.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from xnas.data.check.duplicates import image_hash
from xnas.data.files.decode import FORMATS, GREY, HIGH_BIT_DEPTH, opened, to_8_bits, turn_upright
from xnas.data.files.decode_memory import SHARED, DecodeMemory, TooLarge
from xnas.data.files.folder import LEAST_SIZE
from xnas.data.issues import IssueType

DAMAGED = IssueType("truncated or damaged images", "replace them or take them out")
EMPTY = IssueType("empty files", "0 bytes: fetch them again or take them out")
NO_IMAGE = IssueType(
    "files that are no images", f"save them as one of {', '.join(FORMATS)}, or take them out"
)
UNREADABLE = IssueType(
    "files that cannot be opened", "give yourself the right to read them, or take them out"
)
VALUES = IssueType("pixels of unknown range", "save them with 8 or 16 bits")
HUGE = IssueType("images beyond Pillow's limit on size", "scale them down or take them out")
LARGE = IssueType(
    "images that take more memory to decode than one may",
    "scale them down or take them out, or allow more with --data.decode-memory",
)
TINY = IssueType(
    f"images of less than {LEAST_SIZE} pixels a side", "replace them: there is little to see", error=False
)
PLAIN = IssueType(
    "images all of one colour", "look whether they are placeholders of missing ones", error=False
)
CONVERTED = IssueType(
    "images in other colours than RGB",
    "they are converted without their colour profile; convert them yourself if colour matters",
    error=False,
)
TRANSPARENT = IssueType(
    "images with transparent parts", "these are laid on white; choose a background yourself", error=False
)
SEVERAL = IssueType(
    "files of several pictures", "only the first counts: save the others as files of their own", error=False
)

SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
"""How files of FORMATS begin: one that begins so and still is no image was an image once."""
TO_LOOK = 2
"""Times the memory of a run that reads an image: its pixels are also taken together for a hash."""


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """What an image file turned out to be."""

    height: int = 0
    width: int = 0
    grey: bool = True
    """Whether its kind has no colour."""
    deep: bool = False
    """Whether it has 16 bits a pixel."""
    highest: int = 0
    """Of the values of one that has."""
    hash: int | None = None
    """Of its pixels as RGB, upright; None if it cannot be read."""
    faults: tuple[tuple[IssueType, str], ...] = ()
    """What is wrong with it, with a word on how."""


def inspect_image(path: Path, *, memory: DecodeMemory = SHARED) -> ImageReport:
    """Whatever is wrong becomes a fault; only MemoryError is raised."""
    try:
        if path.stat().st_size == 0:
            return _fault(EMPTY)
        with opened(path, memory) as (image, num_needed), memory.taken(TO_LOOK * num_needed):
            return _look(image)
    except UnidentifiedImageError:
        return _fault(DAMAGED, "its beginning is cut off") if _was_image(path) else _fault(NO_IMAGE)
    except TooLarge as error:
        return _fault(LARGE, str(error))
    except Image.DecompressionBombError as error:
        return _fault(HUGE, _pixels(error))
    except PermissionError as error:
        return _fault(UNREADABLE, error.strerror or str(error))
    except MemoryError:
        raise  # says nothing of the file
    except Exception as error:  # Pillow's readers raise errors of many kinds for damaged files
        return _fault(DAMAGED, str(error))


def _look(image: Image.Image) -> ImageReport:
    mode = image.mode
    image.load()
    is_animated = _is_animated(image)
    upright = turn_upright(image)
    if upright is not image:
        image.close()
    faults: list[tuple[IssueType, str]] = []
    if mode not in GREY and mode not in ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "F"):
        faults.append((CONVERTED, mode))
    if upright.has_transparency_data and _is_transparent(upright):
        faults.append((TRANSPARENT, ""))
    if is_animated:
        faults.append((SEVERAL, ""))
    highest = int(np.asarray(upright).max()) if mode in HIGH_BIT_DEPTH else 0
    try:
        plain = to_8_bits(upright, colour=True)
    except ValueError as error:
        return _fault(VALUES, str(error))
    if plain is not upright:
        upright.close()
    if min(plain.size) < LEAST_SIZE:
        faults.append((TINY, f"{plain.height} x {plain.width}"))
    if all(low == high for low, high in plain.getextrema()):  # type: ignore[misc]
        faults.append((PLAIN, ""))
    return ImageReport(
        height=plain.height,
        width=plain.width,
        grey=mode in GREY,
        deep=mode in HIGH_BIT_DEPTH,
        highest=highest,
        hash=image_hash(np.asarray(plain)),
        faults=tuple(faults),
    )


def _is_transparent(image: Image.Image) -> bool:
    if image.mode in HIGH_BIT_DEPTH:
        return bool((np.asarray(image) == image.info["transparency"]).any())
    lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
    return lowest < 255  # type: ignore[operator]


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second picture, which a run does not read
        return False


def _was_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(SIGNATURES)
    except OSError:
        return False


def _pixels(error: Exception) -> str:
    """How large the image is, which Pillow says in its complaint alone."""
    found = re.search(r"\d+", str(error))
    return f"{int(found[0]):,} pixels" if found else str(error)


def _fault(kind: IssueType, how: str = "") -> ImageReport:
    return ImageReport(faults=((kind, " ".join(how.split())),))
