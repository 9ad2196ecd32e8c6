"""Pixels out of files: what is transparent is white in every kind, large images in parts, a budget that is shared."""

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xnas.config.schema import DataConfig
from xnas.data.check.image import inspect_image
from xnas.data.files import decode
from xnas.data.files.decode import DecodeSpec, each, read_header, read_image, to_8_bits
from xnas.data.files.decode_memory import DEFAULT, SHARED, BeyondShare, DecodeMemory, TooLarge

COLOUR = DecodeSpec(height=1, width=2, scaled=False, colour=True, channels=3)


def png(*, depth: int, kind: int, row: bytes, transparent: bytes) -> bytes:
    """Two pixels, written by hand: Pillow writes few of these."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", 2, 1, depth, kind, 0, 0, 0)
    packed = zlib.compress(b"\0" + row)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + (chunk(b"PLTE", bytes(range(12))) if kind == 3 else b"")
        + chunk(b"tRNS", transparent) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("depth", "kind", "row", "transparent", "other"),
    [
        (1, 0, b"\x40", b"\0\0", 255),
        (2, 0, b"\x60", b"\0\1", 170),
        (4, 0, b"\x3f", b"\0\3", 255),
        (8, 0, b"\x03\x50", b"\0\3", 80),
        (16, 0, struct.pack(">2H", 0, 257 * 80), b"\0\0", 80),
        (16, 0, struct.pack(">2H", 40_000, 257 * 80), struct.pack(">H", 40_000), 80),
        (8, 2, b"\x03\x03\x03\x50\x50\x50", b"\0\3\0\3\0\3", 80),
        (16, 2, struct.pack(">6H", *[0x1234] * 3, *[0x5050] * 3), struct.pack(">3H", *[0x1234] * 3), 80),
        (16, 2, struct.pack(">6H", *[0x0034] * 3, *[0x3434] * 3), struct.pack(">3H", *[0x0034] * 3), 0x34),
        (8, 3, b"\0\1", b"\0", None),
    ],
)
def test_what_a_png_calls_transparent_is_white_at_every_depth(
    tmp_path: Path, depth: int, kind: int, row: bytes, transparent: bytes, other: int | None
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(depth=depth, kind=kind, row=row, transparent=transparent))
    pixels_CHW = read_image(str(path), COLOUR)
    assert pixels_CHW[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels_CHW[:, 0, 1].tolist() == ([3, 4, 5] if other is None else [other] * 3)
    assert any("transparent" in fault.title for fault, _ in inspect_image(path).faults)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "P transparent", "PA", "I", "I;16", "I;16B", "RGB", "RGBA", "CMYK"]
)
def test_a_large_image_in_parts_is_the_same_as_whole(
    mode: str, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (23, 17, 4), np.uint8)
    if mode.startswith("I"):
        image = (
            Image.fromarray(noise[..., 0].astype(np.uint16) * 256 + noise[..., 1]).convert("I").convert(mode)
        )
        image.info["transparency"] = int(noise[3, 3, 0]) * 256 + int(noise[3, 3, 1])
    else:
        image = Image.fromarray(noise).convert("RGB" if mode in ("CMYK", "1") else "RGBA")
        image = image.convert(mode.split()[0]) if mode != "PA" else image.convert("P").convert("PA")
        if mode == "P transparent":
            image.info["transparency"] = 3
    whole = to_8_bits(image, colour=colour)
    monkeypatch.setattr(decode, "AT_ONCE", 7)
    assert np.array_equal(np.asarray(to_8_bits(image, colour=colour)), np.asarray(whole))


def test_values_beyond_16_bits_are_named_however_many_parts_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = Image.new("I", (9, 9), 70_000)
    image.putpixel((2, 8), -5)
    for pixels in (2**20, 4):
        monkeypatch.setattr(decode, "AT_ONCE", pixels)
        with pytest.raises(ValueError, match="go from -5 to 70000, beyond the 16 bits"):
            to_8_bits(image, colour=True)


def test_threads_take_turns_at_the_budget_and_all_get_their_part() -> None:
    memory = DecodeMemory(8 / 2**30)  # 8 bytes
    lock, taken, most = threading.Lock(), 0, 0

    def work(needed: int) -> None:
        nonlocal taken, most
        with memory.taken(needed):
            with lock:
                taken += min(needed, 8)
                most = max(most, taken)
            with lock:
                taken -= min(needed, 8)

    threads = [threading.Thread(target=work, args=(1 + i % 12,)) for i in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert 0 < most <= 8


def test_a_failed_read_gives_its_memory_back(tmp_path: Path) -> None:
    memory = DecodeMemory(DEFAULT)
    Image.new("RGB", (50, 50)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    for _ in range(3):
        with pytest.raises(OSError):  # whatever Pillow says
            read_image(str(tmp_path / "a.png"), COLOUR, memory=memory)
    with memory.taken(2 * memory.most):
        pass  # all of it is there


def test_an_image_is_refused_by_its_header_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (500, 400)).save(tmp_path / "a.png")
    path, memory = str(tmp_path / "a.png"), DecodeMemory(1 / 1024)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it is decoded"))
    said = r"its 400 x 500 pixels \(PNG, RGB\) take 2 MiB .* may take, 512 KiB, half of --data.decode-memory 0.0009"
    for read in (read_header, lambda path, memory: read_image(path, COLOUR, memory=memory)):
        with pytest.raises(TooLarge, match=said) as error:
            read(path, memory=memory)  # type: ignore[operator]
        assert "\n" not in str(error.value)
    with pytest.raises(BeyondShare):
        read_image(path, COLOUR, memory=DecodeMemory(1, share=1000))


def test_what_pillow_warns_of_reaches_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (2, 1), "red").save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_header(str(tmp_path / "a.png")).width == 2
        assert read_image(str(tmp_path / "a.png"), COLOUR)[0].tolist() == [[255, 255]]


def test_results_wait_in_order_and_few_at_a_time_where_they_are_large() -> None:
    started: list[int] = []

    def read(number: int) -> int:
        started.append(number)
        return number

    results = each(read, range(500), num_bytes=2**40)
    assert next(results) == 0
    assert len(started) <= 9
    assert list(results) == list(range(1, 500))


def test_the_setting_and_the_budget_have_one_default() -> None:
    assert DataConfig().decode_memory == DEFAULT == SHARED.gib


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_one_scan_needs_no_room_for_coefficients(tmp_path: Path, progressive: bool) -> None:
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (640, 640, 3), np.uint8)
    Image.fromarray(noise).save(content, "JPEG", progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(content.getvalue())
    needed = []
    for draft in (None, (80, 80)):
        with decode.opened(tmp_path / "a.jpg", SHARED, draft=draft) as (_, num_needed):
            needed.append(num_needed - len(content.getvalue()))
    assert (needed[0] > 9 * 640**2) == progressive
    assert (needed[1] > 6 * 640**2) == progressive
