"""Colours and sizes of figures, and how one is drawn and saved."""

# ruff: noqa: RUF001

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from xnas.io.atomic import atomic_write
from xnas.report.html import escape

INK, MUTED, GRID, CARD = "#1b1f24", "#5d6670", "#dde1e6", "#fffffe"
"""Text and lines, lesser text and lines, hairlines, background. No other colour of a picture equals one of them."""

THEME = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    CARD: "card",
    "#2a6fc9": "blue",
    "#4fa8e0": "sky",
    "#d4622a": "orange",
    "#15916f": "green",
    "#8e44bd": "purple",
    "#cf7fd6": "pink",
}
"""Colours that the page names, so that its dark form can give them other values."""


@dataclass(frozen=True)
class OperationStyle:
    """How an operation is shown."""

    label: str
    fill: str
    """Behind white text: dark enough for it."""
    line: str
    """Of curves: seen on light and on dark pages."""
    dash: str = "-"


_STYLES = {
    "none": OperationStyle("none", "#5b6470", "#8a939e", ":"),
    "skip_connect": OperationStyle("skip", "#5b6470", "#15916f", "-"),
    "max_pool_3x3": OperationStyle("max pool 3×3", "#a84300", "#d4622a", "-"),
    "avg_pool_3x3": OperationStyle("avg pool 3×3", "#a84300", "#d9a21b", "--"),
    "sep_conv_3x3": OperationStyle("sep conv 3×3", "#1f5fae", "#2a6fc9", "-"),
    "sep_conv_5x5": OperationStyle("sep conv 5×5", "#1f5fae", "#4fa8e0", "--"),
    "sep_conv_7x7": OperationStyle("sep conv 7×7", "#1f5fae", "#4bbecf", ":"),
    "dil_conv_3x3": OperationStyle("dil conv 3×3", "#76379f", "#8e44bd", "-"),
    "dil_conv_5x5": OperationStyle("dil conv 5×5", "#76379f", "#cf7fd6", "--"),
    "nor_conv_1x1": OperationStyle("conv 1×1", "#1f5fae", "#4fa8e0", "--"),
    "nor_conv_3x3": OperationStyle("conv 3×3", "#1f5fae", "#2a6fc9", "-"),
    "conv_7x1_1x7": OperationStyle("conv 7×1, 1×7", "#0d6a62", "#3fae6a", "-"),
}

OTHERS = ("#b03060", "#6b8e23", "#b8860b", "#20808d", "#a0522d", "#7b68ee", "#c71585", "#4d7f17")
"""For names that have no colour of their own."""

PHASES = {"train": "#2a6fc9", "validation": "#d4622a"}
"""Of losses and accuracies."""

GROUPS = ("#2a6fc9", "#d4622a", "#15916f", "#8e44bd", "#d9a21b", "#b03060")
"""Of groups, in their order."""


def operation_style(name: str) -> OperationStyle:
    """How the operation of that name is shown; one that is not known keeps its name."""
    if name in _STYLES:
        return _STYLES[name]
    # Not hash(): it differs from process to process, and the picture would with it.
    colour = OTHERS[sum(name.encode("utf-8", "replace")) % len(OTHERS)]
    return OperationStyle(name, colour, colour)


DOTS_PER_INCH = 160
"""Of PNG pictures."""

_STYLE = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # it comes with matplotlib: the same picture everywhere
    "font.size": 9.0,
    "text.parse_math": False,  # a name with a dollar sign is a name
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 9.0,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "figure.facecolor": CARD,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
}

_NOT_STYLE = (
    "backend",
    "interactive",
    "toolbar",
    "timezone",
    "webagg",
    "tk.",
    "date.epoch",
    "docstring",
    "savefig.dir",
)


@contextmanager
def house_style() -> Iterator[None]:
    """Within it figures look the same whatever the user's own matplotlib settings are."""
    defaults: dict[str, Any] = {
        key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith(_NOT_STYLE)
    }
    style: Any = {**defaults, **_STYLE}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A character that the font lacks becomes a box in the PNG; the SVG has it all the same.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def svg_bytes(figure: Figure, *, name: str) -> bytes:
    """The figure as an SVG file. `name` tells its identifiers from those of other figures."""
    buffer = io.BytesIO()
    with house_style(), matplotlib.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    with house_style():
        figure.set_dpi(DOTS_PER_INCH)
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
        figure.set_dpi(100)
    return buffer.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as SVG or PNG, whichever the suffix says. Raises ValueError for another suffix."""
    match path.suffix.lower():
        case ".svg":
            atomic_write(path, svg_bytes(figure, name=path.stem))
        case ".png":
            atomic_write(path, png_bytes(figure))
        case other:
            raise ValueError(f"pictures are .svg or .png; got {other!r} in {path}")


def inline_svg(svg: bytes, *, name: str, description: str) -> Markup:
    """An SVG file's picture as part of a page: no identifier of it is another picture's, and it takes the page's theme.

    `description`: what those hear who cannot see the picture.
    """
    text = svg.decode("utf-8")
    text = text[text.index("<svg ") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text))
    names = {first or second for first, second in used}

    def renamed(found: re.Match[str]) -> str:
        return f' id="{name}-{found[1]}"' if found[1] in names else ""

    text = re.sub(r' id="([^"]*)"', renamed, text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', text)[1])  # type: ignore[index]
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    # An element of CSS in the page would reach other pictures, and fonts are the page's matter.
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"(font(?:-family)?:[^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1var(--font)", text)
    for colour, variable in THEME.items():
        text = text.replace(colour, f"var(--{variable})")
    head = f'<svg class="picture" style="--width: {width * 4 / 3:.0f}px" role="img" aria-label="{escape(description)}" '
    return Markup(head + text.removeprefix("<svg "))
