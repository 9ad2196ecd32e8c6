"""HTML helpers and the style of pages."""

import html
import re
from collections.abc import Iterable, Sequence


def escape(text: object) -> str:
    """Text as HTML, safe in elements and in quoted attributes.

    Control characters, marks that turn the order of a line, and halves of characters that JSON can name but UTF-8
    cannot, become a replacement sign.
    """
    plain = re.sub(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", "\ufffd", str(text)
    )
    return html.escape(plain, quote=True)


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


STYLE = """
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #ffffff; --ink: #1b1f24; --muted: #59626d; --grid: #dde1e6; --accent: #1f5fae;
  --blue: #2a6fc9; --sky: #4fa8e0; --orange: #d4622a; --green: #15916f; --purple: #8e44bd; --pink: #cf7fd6;
  --note: #fff6df; --note-edge: #d9a21b;
  --font: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161b; --card: #1a2027; --ink: #e7ebef; --muted: #a3adb8; --grid: #333c46; --accent: #7db4f0;
    --blue: #5b9bf5; --sky: #9ad8fa; --orange: #f08a58; --green: #3fc49b; --purple: #b57be6; --pink: #edb4f2;
    --note: #2e2816; --note-edge: #b98b1e;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 var(--font); }
main { max-width: 1160px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 36px 0 10px; }
h3 { font-size: 15px; margin: 20px 0 6px; }
p { margin: 6px 0; max-width: 78ch; overflow-wrap: anywhere; }
.lesser, figcaption, small { color: var(--muted); font-size: 13.5px; }
.answer { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 18px 0 12px; }
.answer div { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 12px 14px;
  min-width: 0; }
.answer dt { color: var(--muted); font-size: 13px; }
.answer dd { margin: 0; font-size: 22px; font-weight: 650; line-height: 1.3; overflow-wrap: anywhere; }
.answer small { display: block; font-weight: 400; font-size: 12.5px; line-height: 1.35; }
.answer .first { background: var(--accent); border-color: var(--accent); color: var(--card); }
.answer .first dt, .answer .first small { color: inherit; }
.answer .first dd { font-size: 30px; line-height: 1.15; }
.note { background: var(--note); border-left: 4px solid var(--note-edge); border-radius: 4px; padding: 8px 14px; }
.verdict { font-size: 16px; }
.card { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 12px 14px;
  margin: 12px 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 12px; }
.pair .card { margin: 0; }
figure { margin: 0; }
.scroll { overflow-x: auto; }
.scroll table { min-width: max-content; }
svg.picture { display: block; width: 100%; max-width: var(--width); height: auto; }
.scroll svg.picture { width: var(--width); max-width: 100%; min-width: min(var(--width), 700px); }
.cells { display: flex; flex-wrap: wrap; gap: 12px; margin: 12px 0; }
.cells .card { flex: 1 1 auto; min-width: 0; max-width: 100%; margin: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: right; border-top: 1px solid var(--grid); white-space: nowrap; }
th { color: var(--muted); font-weight: 500; font-size: 13px; border-top: 0; vertical-align: bottom; }
th:first-child, td:first-child, .left { text-align: left; }
tr.found td { font-weight: 650; }
tr.random td:first-child { padding-left: 28px; }
tr.random td { color: var(--muted); }
details { border-top: 1px solid var(--grid); padding: 8px 0; }
details:last-of-type { border-bottom: 1px solid var(--grid); }
summary { cursor: pointer; font-weight: 600; }
pre { font: 12.5px/1.5 var(--mono); background: var(--card); border: 1px solid var(--grid); border-radius: 8px;
  padding: 10px 12px; margin: 8px 0; overflow-x: auto; }
pre.wrap { white-space: pre-wrap; overflow-wrap: anywhere; }
code { font: 0.92em var(--mono); overflow-wrap: anywhere; }
td code { display: inline-block; max-width: 51ch; white-space: normal; }
@media (max-width: 560px) {
  main { padding: 18px 12px 32px; }
  .answer { grid-template-columns: 1fr 1fr; }
  .answer .first { grid-column: 1 / -1; }
  .answer dd { font-size: 18px; }
  .card { padding: 10px; }
}
@media print { body { background: none; } .card, pre { break-inside: avoid; } }
"""
"""Inside the page's style element: it must not hold a less-than sign."""
