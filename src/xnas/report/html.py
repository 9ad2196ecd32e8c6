"""Pages: templates filled in with plain values, which are escaped."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from markupsafe import escape as escape_markup

_ACTING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that turn the order of a line, and halves of characters that UTF-8 cannot hold."""


class Tile(NamedTuple):
    """A part of the answer at the head of a page."""

    name: str
    value: str
    detail: str = ""
    first: bool = False


class Row(NamedTuple):
    """A line of a table; `kind` is its class in the style sheet."""

    cells: Sequence[str]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a page; the columns in `left` are set to the left."""

    head: Sequence[str]
    rows: Sequence[Row]
    left: Sequence[int] = ()


def render(template: str, **values: Any) -> str:
    """Return the page that a template of templates/ makes of `values`."""
    return _environment().get_template(template).render(values)


def escape(text: object) -> str:
    """Return text as HTML, safe in elements and in quoted attributes; what would act on a reader is replaced."""
    return str(escape_markup(_plain(text)))


def _plain(value: object) -> object:
    return value if isinstance(value, Markup) else _ACTING.sub("\ufffd", str(value))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("xnas.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
