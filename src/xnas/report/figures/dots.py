"""A picture of a few values in each of several rows: a dot for each, and where their mean is."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from xnas.report.figures.style import INK, house_style
from xnas.report.stats import standard_deviation


@dataclass(frozen=True, kw_only=True)
class PointRow:
    """A label and its values, shares in [0, 1]."""

    label: str
    values: tuple[float, ...]
    colour: str


def draw_points(rows: Sequence[PointRow], *, title: str, spread: bool) -> Figure:
    """A dot for each value and a bar at the mean of several; with `spread` a line of one deviation to either side."""
    with house_style():
        height = 0.75 + 0.36 * len(rows)
        # Room for the longest label, at about 0.075 inches a character.
        left = max(1.0, 0.2 + 0.075 * max(len(row.label) for row in rows))
        width = left + 4.5
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((left / width, 0.42 / height, 4.25 / width, 1 - 0.8 / height))
        for place, row in enumerate(rows):
            axes.plot(
                row.values, [place] * len(row.values), "o", color=row.colour, markersize=6, alpha=0.65, mew=0
            )
            if len(row.values) > 1:
                centre = fmean(row.values)
                axes.plot([centre] * 2, [place - 0.3, place + 0.3], color=INK, lw=1.6)
                deviation = standard_deviation(row.values)
                if spread and deviation is not None:
                    ends = [centre - deviation, centre + deviation]
                    axes.plot(ends, [place + 0.3] * 2, color=INK, lw=1.0)
        axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=9, color=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_title(title, loc="left", weight="bold", color=INK, x=-(left - 0.1) / 4.25)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        axes.margins(x=0.08)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1%}"))
        return figure
