"""Printable forms of values from files, and lookup of a name among known ones, with its neighbours in the error."""

import difflib
import re
import reprlib
import unicodedata
from collections.abc import Collection

_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters (a terminal obeys them), marks that turn the order of a line, and halves of characters."""


def short_repr(value: object) -> str:
    """Return a value as an error line shows it: shortened, in one line."""
    short = reprlib.Repr()
    short.maxstring = 60
    try:
        return short.repr(value).replace("\n", " ")
    except ValueError:  # Python refuses to write integers of more than 4,300 digits
        return "a number of thousands of digits"


def printable(text: str, *, lines: bool = False) -> str:
    """Return the text with every acting character written as an escape, such as \\x1b; with `lines` newlines stay."""

    if text.isprintable():  # nearly all are, and this is quicker
        return text

    def escaped(found: re.Match[str]) -> str:
        if lines and found[0] == "\n":
            return "\n"
        code = ord(found[0])
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    return _ACTING.sub(escaped, text)


def one_form(name: str) -> str:
    """Return a name in the normal form by which names are told apart: systems write the same accents in several
    ways."""
    return unicodedata.normalize("NFC", name)


def told_apart(name: str) -> str:
    """Return a name, and its characters too where its looks may hide them: accents, other alphabets, odd spaces."""
    plain = printable(name)
    return plain if name.isascii() and name == " ".join(name.split()) else f"{plain} ({name!a})"


_LONGEST = 60
"""Characters of a name that is compared with others: the time grows with the square of its length."""


def choose(kind: str, name: str, known: Collection[str]) -> str:
    """`name`, if it is one of `known`. Raises ValueError with the nearest name and the list of all."""
    if isinstance(name, str) and name in known:
        return name
    if not isinstance(name, str) or len(name) > _LONGEST:
        raise ValueError(f"unknown {kind} {short_repr(name)}. Known: {', '.join(known)}")
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")
