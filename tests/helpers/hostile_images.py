"""Image files that are small, and large to whoever decodes them."""

import struct
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def write_hostile_images(folder: Path, side: int) -> list[Path]:
    """Pictures of `side` pixels a side of many formats and kinds, and some whose size is elsewhere or a claim."""
    folder.mkdir(parents=True)
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        for number, (name, content) in enumerate(chain(_pictures(side), _bytes(side))):
            path = folder / f"{number:02}-{name}"
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                image, settings = content
                image.save(path, **settings)
    finally:
        Image.MAX_IMAGE_PIXELS = before
    return sorted(folder.iterdir())


def _pictures(side: int) -> Iterator[tuple[str, tuple[Image.Image, dict[str, object]]]]:
    size = (side, side)
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    deep = Image.fromarray(np.full((side, side), 40_000, np.uint16))
    rgb, grey, palette = Image.new("RGB", size, "red"), Image.new("L", size, 90), Image.new("P", size, 1)
    rgba, cmyk = Image.new("RGBA", size, (9, 9, 9, 99)), Image.new("CMYK", size, (9, 9, 9, 9))
    yield "deep.png", (deep, {})
    if side > 5_000:
        yield "deepest.png", (Image.fromarray(np.full((13_300, 13_300), 40_000, np.uint16)), {})
    yield "deep-turned.png", (deep.crop((0, 0, side, side - 1)), {"exif": turned})
    yield "deep-transparent.png", (deep, {"transparency": 40_000})
    yield "deep.tif", (deep, {"compression": "tiff_adobe_deflate"})
    yield "rgb.png", (rgb, {})
    yield "rgb-turned.png", (rgb, {"exif": turned})
    yield "rgba.png", (rgba, {})
    yield "grey.png", (grey, {})
    yield "grey-alpha.png", (rgba.convert("LA"), {})
    yield "one-bit.png", (grey.convert("1"), {})
    yield "palette.png", (palette, {})
    yield "palette-transparent.png", (palette, {"transparency": 1})
    yield "one-row.png", (Image.new("RGB", (min(side * side, 50_000_000), 1), "blue"), {})
    yield "one-column.png", (Image.new("L", (1, side * side), 3), {})
    yield "rgb.jpg", (rgb, {})
    yield "turned.jpg", (rgb, {"exif": turned})
    yield "progressive.jpg", (rgb, {"progressive": True})
    yield "cmyk.jpg", (cmyk, {"progressive": True})
    yield "grey.jpg", (grey, {"progressive": True})
    yield "rgb.webp", (rgb, {"method": 0})
    yield "lossless.webp", (rgba, {"lossless": True, "method": 0})
    yield "alpha.webp", (rgba, {"method": 0})
    yield "palette.gif", (palette, {})
    small = Image.new("RGB", (side // 10, side // 10))
    frames = [Image.new("RGB", small.size, (number, 0, 0)) for number in range(1, 30)]
    many = {"save_all": True, "append_images": frames}
    yield "frames.gif", (small, many)
    yield "frames.webp", (small, {**many, "lossless": True, "method": 0})
    yield "frames.png", (small, many)
    yield "rgb.tif", (rgb, {"compression": "tiff_adobe_deflate"})
    yield "jpeg.tif", (rgb, {"compression": "jpeg"})
    yield "cmyk.tif", (cmyk, {"compression": "tiff_adobe_deflate"})
    yield "fractions.tif", (Image.new("F", size, 0.5), {"compression": "tiff_adobe_deflate"})
    yield "32-bits.tif", (Image.new("I", size, 99), {"compression": "tiff_adobe_deflate"})
    strip = {"compression": "tiff_adobe_deflate", "strip_size": 8 * side * side}
    yield "one-strip.tif", (rgba, strip)


def _bytes(side: int) -> Iterator[tuple[str, bytes]]:
    yield "claims-9000.png", _png(9_000, 9_000)
    yield "claims-30000.png", _png(30_000, 30_000)
    yield "claims-a-row.png", _png(80_000_000, 1)
    text = zlib.compress(bytes(900_000))
    yield "text.png", _png(8, 8, *[(b"zTXt", b"word%d\0\0" % i + text) for i in range(min(60, side // 200))])
    yield "profile.png", _png(8, 8, (b"iCCP", b"name\0\0" + zlib.compress(bytes(50_000_000))))
    yield "exif.png", _png(8, 8, (b"eXIf", _tags()))
    yield "tags.tif", _tags()
    yield "run-length.bmp", _run_length(side)
    yield "run-length-row.bmp", _run_length(side * side, 1)


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    every = ((b"IHDR", head), *chunks, (b"IDAT", zlib.compress(bytes(200))), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in every
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _tags() -> bytes:
    """A TIFF of a thousand tags that are all the same 900 kB."""
    entries = b"".join(struct.pack("<HHLL", 40_000 + i, 7, 900_000, 20_000) for i in range(1000))
    return (b"II*\0" + struct.pack("<LH", 8, 1000) + entries).ljust(920_001, b"\0")


def _run_length(width: int, height: int = 0) -> bytes:
    """A BMP of nothing but jumps and ends of lines."""
    height = height or width
    codes = b"\0\2\xff\xff\0\0" * 2_000 + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(codes), 0, 0, 256, 0)
    start = 14 + len(head) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(codes), 0, 0, start) + head + bytes(1024) + codes
