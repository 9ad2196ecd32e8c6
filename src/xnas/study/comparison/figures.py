"""The pictures of a comparison: every run's accuracy, and the course of the searches, all methods side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xnas.report.figures.architecture import cells_of
from xnas.report.figures.curves import name_ends, style_axes
from xnas.report.figures.dots import PointRow, draw_points
from xnas.report.figures.run import Picture
from xnas.report.figures.style import MUTED, OTHERS, house_style
from xnas.report.health import Health, health_of
from xnas.report.stats import mean
from xnas.runs.history import History, SearchEpoch
from xnas.study.comparison.results import Comparison

Value = Callable[[History, SearchEpoch], float | None]
"""What a picture shows of an epoch of a search."""

Lines = dict[str, list[tuple[float, list[float]]]]
"""For each method the epochs, and at each what its runs have to show."""

_COLOURS = ("#2a6fc9", "#d4622a", "#15916f", "#8e44bd", "#d9a21b", "#4fa8e0", "#cf7fd6", *OTHERS)


def comparison_pictures(comparison: Comparison) -> Iterator[Picture]:
    """The pictures, in the order of the page."""
    colours = method_colours(comparison.methods)
    if any(run.accuracy is not None for run in comparison.runs):
        yield Picture(
            "test-accuracy",
            "accuracy",
            "Test accuracy of every run, a row for each method",
            draw_points(
                [
                    PointRow(
                        label=name,
                        values=tuple(run.accuracy for run in comparison.of(name) if run.accuracy is not None),
                        colour=colours[name],
                    )
                    for name in comparison.methods
                ],
                title="Test accuracy: a dot for each seed, a bar at the mean",
                spread=False,
            ),
        )
    for name, title, value, percent in _CURVES:
        lines = course_lines(comparison, value)
        if lines:
            yield Picture(
                name,
                "curves",
                f"{title} by epoch, a line for each method",
                draw_courses(title, lines, colours, percent),
            )
    for method in comparison.methods:
        found = next((run for run in comparison.of(method) if run.record.genotype is not None), None)
        if found is not None and found.record.genotype is not None:
            for cell in cells_of(found.record.genotype):
                title = f"{method}, seed {found.seed}: {cell.title.lower()}"
                yield Picture(f"{method}-{cell.name}", "cells", title, cell.draw(title))


def method_colours(methods: Sequence[str]) -> dict[str, str]:
    """A colour for each method, the same in every picture that they are in together."""
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(methods)}


def course_lines(comparison: Comparison, value: Value) -> Lines:
    """For each method the epochs, and at each what its runs have to show."""
    return gather(
        {
            method: [
                [(row.epoch, value(run.record.history, row)) for row in run.record.history.search]
                for run in comparison.of(method)
            ]
            for method in comparison.methods
        }
    )


def gather(courses: Mapping[str, Sequence[Sequence[tuple[int, float | None]]]]) -> Lines:
    """Of each method's runs, each a course of epochs and values, the values of an epoch together.

    An method that has nothing to show after epoch 0 is left out.
    """
    lines: Lines = {}
    for method, runs in courses.items():
        by_epoch: dict[int, list[float]] = {}
        for run in runs:
            for epoch, value in run:
                if value is not None:
                    by_epoch.setdefault(epoch, []).append(value)
        if any(epoch > 0 for epoch in by_epoch):
            lines[method] = [(float(epoch), by_epoch[epoch]) for epoch in sorted(by_epoch)]
    return lines


def draw_courses(
    title: str,
    lines: Mapping[str, Sequence[tuple[float, Sequence[float]]]],
    colours: Mapping[str, str],
    percent: bool,
) -> Figure:
    """The mean over an method's runs, and a band from the lowest to the highest."""
    with house_style():
        height = max(2.9, 0.9 + 0.34 * len(lines))
        figure = Figure(figsize=(5.2, height))
        axes = figure.add_axes((0.11, 0.45 / height, 0.69, 1 - 0.84 / height))
        draw_bands(axes, lines, colours)
        style_axes(axes, title=title, percent=percent)
        ends = {name: ((points[-1][0], mean(points[-1][1])), colours[name]) for name, points in lines.items()}
        name_ends(axes, ends, percent=percent)
        axes.spines["bottom"].set_color(MUTED)
        return figure


def draw_bands(
    axes: Axes,
    lines: Mapping[str, Sequence[tuple[float, Sequence[float]]]],
    colours: Mapping[str, str],
    *,
    scale: Callable[[float], float] = float,
) -> None:
    """A line along the means and a band from the lowest to the highest, brought to the axis by `scale`."""
    for name, points in lines.items():
        epochs = [epoch for epoch, _ in points]
        lows, middles, highs = ([scale(of(values)) for _, values in points] for of in (min, mean, max))
        if len(epochs) > 1:
            axes.fill_between(epochs, lows, highs, color=colours[name], alpha=0.14, lw=0)
        else:  # a band along one epoch has no width
            axes.plot(epochs * 2, [*lows, *highs], color=colours[name], lw=3, alpha=0.35)
        axes.plot(epochs, middles, color=colours[name], marker="o", markersize=3)


def _of_health(what: Callable[[Health], float]) -> Value:
    def value(history: History, row: SearchEpoch) -> float | None:
        found = [health_of(history.groups[name], weights) for name, weights in row.groups.items()]
        values = [what(health) for health in found if health is not None]
        return mean(values) if values else None

    return value


_CURVES: tuple[tuple[str, str, Value, bool], ...] = (
    ("val-accuracy", "Supernet: validation accuracy", lambda _, row: row.val_accuracy, True),
    ("val-loss", "Supernet: validation loss (nats)", lambda _, row: row.val_loss, False),
    ("entropy", "Mean normalised entropy of u", _of_health(lambda health: health.entropy), False),
    ("skip", "Edges led by a skip connection", _of_health(lambda health: health.skip), True),
)
