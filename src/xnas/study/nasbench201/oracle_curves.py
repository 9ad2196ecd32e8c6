"""The accuracy of what a search would find, by epoch, on a scale that shows both a collapse and the last tenths.

An accuracy a lies at -log10(a* - a + 0.1), a* the optimum: each halving of the distance to it is about the same step.
On a linear scale one collapse to 54 % leaves a hundredth of the height for what lies between 94.0 and 94.4 %.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from xnas.report.figures.curves import name_ends, style_axes
from xnas.report.figures.style import INK, MUTED, house_style

Lines = dict[str, list[tuple[float, list[float]]]]
"""For each method the epochs, and at each the values of its searches."""

MARGIN = 0.1
"""In points: where the optimum itself lies on the scale."""

_LEAST_SPAN = 0.6
"""The least length of the axis, in powers of ten."""
_LEAST_GAP = 0.07
"""Between ticks, as a share of the axis."""
_STEPS = ((0.1, 0.4), (0.5, 1.5), (1.0, 6.0), (5.0, 25.0), (10.0, 100.0))
"""Numbers that ticks are multiples of, each down to a distance below the optimum."""


def draw_oracle(
    title: str,
    lines: Lines,
    drawn: Mapping[str, Sequence[float]],
    colours: Mapping[str, str],
    *,
    optimum: float,
    size: tuple[float, float] = (5.2, 3.2),
) -> Figure:
    """Accuracies in per cent: means with bands, the optimum dotted, and at the end what was `drawn` without epochs."""

    def scale(accuracy: float) -> float:
        return -math.log10(max(0.0, optimum - accuracy) + MARGIN)

    with house_style():
        width, height = size[0], max(size[1], 0.9 + 0.4 * (len(lines) + len(drawn)))
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0.6 / width, 0.48 / height, 1 - 1.7 / width, 1 - 0.9 / height))
        draw_bands(axes, lines, colours, scale=scale)
        last = max(points[-1][0] for points in lines.values())
        for name, values in drawn.items():
            axes.plot(
                [last] * 2, [scale(min(values)), scale(max(values))], color=colours[name], lw=3, alpha=0.35
            )
            axes.plot([last], [scale(fmean(values))], color=colours[name], marker="D", markersize=4.5)
        axes.axhline(scale(optimum), color=MUTED, lw=1.1, linestyle=(0, (1.5, 2.0)))
        style_axes(axes, title=title, percent=False, title_x=-0.45 / (width - 1.7))
        shown = [value for points in lines.values() for _, values in points for value in values]
        shown += [value for values in drawn.values() for value in values]
        top = scale(optimum)
        bottom = min(min(map(scale, shown)), top - _LEAST_SPAN)
        axes.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
        ticks = _ticks(optimum, lowest=optimum - 10**-bottom, scale=scale)
        axes.yaxis.set_major_locator(FixedLocator([scale(tick) for tick in ticks]))
        axes.yaxis.set_major_formatter(
            FixedFormatter([f"{tick:.2f}" if tick == optimum else f"{tick:g}" for tick in ticks])
        )
        axes.yaxis.get_major_ticks()[0].label1.set_color(INK)
        ends = {name: fmean(points[-1][1]) for name, points in lines.items()}
        ends |= {name: fmean(values) for name, values in drawn.items()}
        name_ends(
            axes,
            {name: ((last, scale(value)), colours[name]) for name, value in ends.items()},
            texts={name: f"{value:.2f}" for name, value in ends.items()},
        )
        axes.spines["bottom"].set_color(MUTED)
        return figure


def draw_bands(
    axes: Axes,
    lines: Mapping[str, Sequence[tuple[float, Sequence[float]]]],
    colours: Mapping[str, str],
    *,
    scale: Callable[[float], float] = float,
) -> None:
    """Draw a line along the means and a band from the lowest to the highest, brought to the axis by `scale`."""
    for name, points in lines.items():
        epochs = [epoch for epoch, _ in points]
        lows, middles, highs = ([scale(of(values)) for _, values in points] for of in (min, fmean, max))
        if len(epochs) > 1:
            axes.fill_between(epochs, lows, highs, color=colours[name], alpha=0.14, lw=0)
        else:  # a band along one epoch has no width
            axes.plot(epochs * 2, [*lows, *highs], color=colours[name], lw=3, alpha=0.35)
        axes.plot(epochs, middles, color=colours[name], marker="o", markersize=3)


def _ticks(optimum: float, *, lowest: float, scale: Callable[[float], float]) -> list[float]:
    """The optimum, and below it round accuracies that lie far enough apart on the axis."""
    least = _LEAST_GAP * (scale(optimum) - scale(lowest))
    ticks = [optimum]
    for step, reach in _STEPS:
        tick = math.floor(ticks[-1] / step) * step
        while tick >= max(0.0, lowest, optimum - reach):
            if scale(ticks[-1]) - scale(tick) >= least:
                ticks.append(round(tick, 1))
            tick -= step
    return ticks
