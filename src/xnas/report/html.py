"""Pages: templates filled in with plain values, which are escaped."""

import re
from collections.abc import Iterable, Sequence
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


def section(title: str, body: str) -> str:
    """A part of the page; nothing if it is empty."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def table(
    head: Sequence[str], lines: Iterable[tuple[str, Sequence[str]]], *, left: Sequence[int] = ()
) -> str:
    """A table that scrolls by itself. `lines` are class and cells; columns in `left` are set to the left."""

    def cell(tag: str, column: int, content: str) -> str:
        side = ' class="left"' if column in left else ""
        return f"<{tag}{side}>{content}</{tag}>"

    rows = [f"<tr>{''.join(cell('th', i, text) for i, text in enumerate(head))}</tr>"]
    rows += [
        f'<tr class="{kind}">{"".join(cell("td", i, text) for i, text in enumerate(cells))}</tr>'
        for kind, cells in lines
    ]
    lines_html = "\n".join(rows)
    return f'<div class="card scroll"><table>\n{lines_html}\n</table></div>'


def answer(tiles: Sequence[tuple[str, str, str, str]]) -> str:
    """The answer at the head of a page: tiles of class, name, value and detail, which are text; nothing without any."""
    cells = "".join(
        f'<div class="{kind}"><dt>{escape(name)}</dt><dd>{escape(value)}'
        f"{f'<small>{escape(detail)}</small>' if detail else ''}</dd></div>\n"
        for kind, name, value, detail in tiles
    )
    return f'<dl class="answer">\n{cells}</dl>\n' if tiles else ""


def folded(title: str, text: str, *, wrap: bool = False) -> str:
    """Text of a file behind a title that opens it."""
    kind = ' class="wrap"' if wrap else ""
    return f"<details><summary>{escape(title)}</summary>\n<pre{kind}>{escape(text)}</pre></details>"


def figure(picture: str, *, scroll: bool = False) -> str:
    """A picture on a card; wide ones scroll on narrow screens."""
    kind = "card scroll" if scroll else "card"
    return f'<figure class="{kind}">{picture}</figure>'


def pairs(pictures: Sequence[str]) -> str:
    """Pictures on cards, two in a row where there is room; nothing without any."""
    return f'<div class="pair">{"".join(map(figure, pictures))}</div>' if pictures else ""
