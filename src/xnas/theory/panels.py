"""Panels of the demonstrations' pictures: titles that say what is seen, axes with units, legends beside the data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from xnas.report.figures.style import INK, MUTED
from xnas.theory.demonstration import power

PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.4g} %")
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def sheet(
    rows: int, columns: int, *, panel: tuple[float, float] = (4.3, 2.6), foot: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels, row by row, each so many inches wide and high, with room for a legend at the foot.

    Draw within `house_style`.
    """
    left, right, top, bottom, across, down = 0.75, 0.25, 0.5, 0.55, 0.85, 0.95
    width = left + right + columns * panel[0] + (columns - 1) * across
    height = top + bottom + foot + rows * panel[1] + (rows - 1) * down
    figure = Figure(figsize=(width, height))
    axes = []
    for row in range(rows):
        for column in range(columns):
            x = left + column * (panel[0] + across)
            y = bottom + foot + (rows - 1 - row) * (panel[1] + down)
            axes.append(figure.add_axes((x / width, y / height, panel[0] / width, panel[1] / height)))
    return figure, axes


def head(axes: Axes, title: str, *, x: str, y: str, pad: float = 9) -> None:
    """Title to the left, names and units of both axes, hairlines across."""
    axes.set_title(title, loc="left", weight="bold", color=INK, pad=pad, x=-0.09, fontsize=9)
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7.5)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)


def logarithmic(axes: Axes, ticks: Sequence[float], *, words: Mapping[float, str] | None = None) -> None:
    """A logarithmic x axis with these ticks and no others; `words` name those that are not to be read as numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_ticks(list(ticks))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_ticks([], minor=True)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: (words or {}).get(value, power(value))))


def step_axis(axes: Axes) -> None:
    """A logarithmic x axis of step sizes, as multiples of eta*."""
    small = {1 / 4**i: f"1/{4**i}" for i in (4, 3, 2, 1)}
    logarithmic(axes, [*small, 1, 4, 16, 64], words=small)


def note(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    *,
    colour: str = MUTED,
    ha: str = "left",
    va: str = "center",
) -> None:
    """A few words in the panel, at a place in data coordinates."""
    axes.annotate(
        text, place, color=colour, fontsize=7.5, ha=ha, va=va, annotation_clip=False, linespacing=1.25
    )


def legend(
    figure: Figure,
    entries: Iterable[tuple[str, Line2D]],
    *,
    place: tuple[float, float],
    columns: int = 1,
    loc: Literal["lower left", "upper left"] = "lower left",
) -> None:
    """Names of lines, at a place in inches from the left and from the bottom."""
    pairs = list(entries)
    width, height = figure.get_size_inches()
    figure.legend(
        handles=[line for _, line in pairs], labels=[name for name, _ in pairs], loc=loc, ncols=columns, fontsize=8,
        bbox_to_anchor=(place[0] / width, place[1] / height), handlelength=2.6, borderaxespad=0, borderpad=0,
        labelspacing=0.45, columnspacing=2.2,
    )  # fmt: skip
