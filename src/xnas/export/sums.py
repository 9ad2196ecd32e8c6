"""The SHA-256 that an exported file carries of itself, taken with its own digits as zeros: no bit changes unnoticed."""

import hashlib
import re

DIGITS = 64
BLANK = "0" * DIGITS
"""Placeholder of a file's sum until that is known."""

IN_JSON = re.compile(rb'"config\.json": "([0-9a-f]{64})"')
IN_ONNX = re.compile(rb"\x0a\x06sha256\x12\x40([0-9a-f]{64})")
"""An entry of the metadata, as protobuf has it: the key, of 6 bytes, and the value, of 64."""

Place = re.Pattern[bytes]
"""Pattern of the sum, as its group. Names in JSON cannot look like it: quotes and newlines are escaped in them."""


def sealed(content: bytes, place: Place) -> bytes:
    """Return the content with its sum at the place, which must be there once. Raises ValueError if it is not."""
    start, end = _find(content, place)
    return content[:start] + _sum(content, start, end).encode() + content[end:]


def is_sealed(content: bytes, place: Place) -> bool:
    """Return whether the content is as `sealed` has made it, in every bit."""
    try:
        start, end = _find(content, place)
    except ValueError:
        return False
    return content[start:end] == _sum(content, start, end).encode()


def _find(content: bytes, place: Place) -> tuple[int, int]:
    spans = [found.span(1) for found in place.finditer(content)]
    if len(spans) != 1:
        raise ValueError(f"there are {len(spans)} places for a sum, where there must be one")
    return spans[0]


def _sum(content: bytes, start: int, end: int) -> str:
    view, sha256 = memoryview(content), hashlib.sha256()
    for part in (view[:start], BLANK.encode(), view[end:]):
        sha256.update(part)
    return sha256.hexdigest()
