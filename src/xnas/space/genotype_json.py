"""Genotypes as JSON: the frame that all spaces share, and the care that a stranger's file needs.

Every such file is an object with a format, a version, a space, and what that space keeps.
"""

import json
from collections.abc import Collection
from typing import Any

from xnas.io.json import without_duplicates
from xnas.io.text import choose, short_repr

MAX_CHARACTERS = 100_000
"""The longest text that is parsed; a cell of 32 nodes needs a few thousand characters."""

MAX_BYTES = 4 * MAX_CHARACTERS
"""The longest that such a text can be as a file."""

FORMAT = "xnas-genotype"


VERSION = 1


def parse_fields(text: str | bytes) -> dict[str, Any]:
    """The fields of a genotype's JSON, its space still unread.

    Raises ValueError for text that is no JSON or too long, for a key that is given twice, or another format.
    """
    try:
        fields = _DECODER.decode(plain_text(text))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"not a genotype: {place} is not JSON ({error.msg}); mend it there") from None
    except RecursionError:
        raise ValueError("not a genotype: the JSON is nested too deeply; it has 4 levels") from None
    return checked_format(fields)


def checked_format(fields: object) -> dict[str, Any]:
    """Raises ValueError unless it is an object of the format of genotypes."""
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ValueError(
            f'not a genotype: expected an object with "format": "{FORMAT}"; got {short_repr(fields)}'
        )
    return fields


def checked_fields(fields: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The fields, if they are the frame's and `keys`. Raises ValueError for others, or another version."""
    checked = with_keys("the genotype", fields, ("format", "version", "space", *keys))
    version = checked["version"]
    if type(version) is not int or version != VERSION:
        what = f"the genotype has version {short_repr(version)}; this xnas reads version {VERSION}"
        raise ValueError(f"{what}: upgrade xnas if the file is newer")
    return checked


def plain_text(source: str | bytes) -> str:
    """Return a file's text without the byte order mark of some editors.

    Raises ValueError before anything parses it, if it is no text or too long to be a genotype.
    """
    if isinstance(source, bytes) and len(source) > MAX_BYTES:
        raise ValueError(
            f"not a genotype: {len(source):,} bytes; it has {MAX_CHARACTERS:,} characters at most"
        )
    try:
        text = source.decode() if isinstance(source, bytes) else source
    except UnicodeDecodeError as error:
        raise ValueError(f"not a genotype: no UTF-8 text ({error}); save it as UTF-8") from None
    if not isinstance(text, str):
        raise ValueError(f"not a genotype: expected text; got {short_repr(text)}")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"not a genotype: {len(text):,} characters; it has {MAX_CHARACTERS:,} at most")
    return text.removeprefix("\ufeff")


def check_name(kind: str, name: object, known: Collection[str]) -> None:
    """Raises ValueError, with the nearest name, if `name` is none of `known`: it may be anything, of any length."""
    if not isinstance(name, str) or len(name) > 60:
        raise ValueError(f"the {kind} must be one of {', '.join(known)}; got {short_repr(name)}")
    choose(kind, name, known)


def _whole_number(digits: str) -> int:
    if not digits.removeprefix("-").isdecimal() or len(digits) > 20:
        raise ValueError(
            f"{short_repr(digits)} is not a number that a genotype can hold; give a small whole number"
        )
    return int(digits)


def with_keys(thing: str, fields: object, keys: tuple[str, ...]) -> dict[str, Any]:
    """An object's fields. Raises ValueError unless it is an object with exactly these keys."""
    if not isinstance(fields, dict):
        raise ValueError(f"{thing} must be an object with {', '.join(keys)}; got {short_repr(fields)}")
    for key in fields:
        check_name(f"key of {thing}", key, keys)
    if missing := [key for key in keys if key not in fields]:
        raise ValueError(f"{thing} lacks {missing[0]!r}; it must have {', '.join(keys)}")
    return fields


_DECODER = json.JSONDecoder(
    object_pairs_hook=without_duplicates, parse_int=_whole_number, parse_constant=_whole_number
)
