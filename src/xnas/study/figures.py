"""The pictures of a study: every network's accuracy, what was selected by, the searches side by side, and the cells."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

from matplotlib.figure import Figure

from xnas.optimizers.group_info import GroupInfo
from xnas.report.figures.architecture import cells_of
from xnas.report.figures.curves import name_ends, style_axes
from xnas.report.figures.dots import PointRow, draw_points
from xnas.report.figures.run import Picture
from xnas.report.figures.style import MUTED, OTHERS, house_style
from xnas.report.health import Health, health_of
from xnas.runs.history import GroupWeights, SearchEpoch
from xnas.study.nasbench201.oracle_curves import Lines, draw_bands, draw_oracle
from xnas.study.nasbench201.table import DATA_SETS
from xnas.study.results import SearchRecord, StudyResults

MOST_CELLS = 12
"""Found cells that are drawn; the folders of the searches hold all of them."""
MOST_ROWS = 40
"""Variants in one picture."""
SOURCES = {"selected": "#2a6fc9", "found": "#2a6fc9", "random": "#d4622a", "published": "#15916f"}
_COLOURS = ("#2a6fc9", "#d4622a", "#15916f", "#8e44bd", "#d9a21b", "#4fa8e0", "#cf7fd6", *OTHERS)

Values = Callable[[SearchRecord], Iterator[tuple[int, float | None]]]
"""Returns the epochs of a search, and a value at each."""


def study_pictures(results: StudyResults) -> Iterator[Picture]:
    """Yield the pictures, in the order of the page."""
    if results.table is None:
        yield from _accuracies(results)
    yield from _selection(results)
    if results.spec.compares_methods:
        yield from _searches(results)
    if results.table is None:
        yield from _cells(results)


def _accuracies(results: StudyResults) -> Iterator[Picture]:
    """Yield a picture for each data set: their accuracies share no scale."""
    colours = method_colours(results)
    named = results.spec.has_axes
    summaries = [row for row in results.summaries if row.n and (row.variant or row.cells == 1)]
    if not named:  # of which each is in a row of its own
        summaries = [row for row in summaries if row.cells == 1]
    by_data: dict[str, list[PointRow]] = {}
    for row in summaries:
        label, colour, data = row.title, SOURCES[row.source], ""
        if row.variant is not None and named:
            data, colour = row.variant.data, colours[row.variant.method]
            label = " ".join(row.variant.names[bool(data) :])
        by_data.setdefault(data, []).append(PointRow(label=label, values=row.accuracies, colour=colour))
    for number, (data, rows) in enumerate(by_data.items(), start=1):
        of = f" of {data}" if data else ""
        first = f"The first {MOST_ROWS}: t" if len(rows) > MOST_ROWS else "T"
        yield Picture(
            f"test-accuracy-{number}",
            "accuracy",
            f"Test accuracy{of} of every trained network, with mean and standard deviation",
            draw_points(
                rows[:MOST_ROWS],
                title=f"{first}est accuracy{of}: a dot for each network, mean ± standard deviation",
                spread=True,
            ),
        )


def _selection(results: StudyResults) -> Iterator[Picture]:
    selected = {(cell.variant, cell.search_seed) for cell in results.cells if cell.source == "selected"}
    rows = []
    for each in results.candidates:
        chosen = (each.variant, each.seed) in selected
        of = f"{each.variant.title}, " if results.spec.has_axes else ""
        label = f"{of}search seed {each.seed}{' (selected)' * chosen}"
        values = () if each.accuracy is None else (each.accuracy,)
        rows.append(PointRow(label=label, values=values, colour=SOURCES["selected"] if chosen else "#5d6670"))
    if any(row.values for row in rows):
        yield Picture(
            "selection",
            "selection",
            "Accuracy on held-out training images, a row for the cell of each search",
            draw_points(rows, title="Accuracy on held-out training images", spread=False),
        )


def _searches(results: StudyResults) -> Iterator[Picture]:
    colours = method_colours(results)
    for number, (key, name) in enumerate(DATA_SETS.items() if results.table is not None else ()):
        assert results.table is not None
        lines, drawn = _oracle(results, key)
        if lines:
            yield Picture(
                f"oracle-{key.replace('_', '-')}",
                "others" if number else "first",
                f"{name}: accuracy of the cell that would be derived after each epoch, a line for each method",
                draw_oracle(
                    f"{name}: accuracy of the cell of each epoch, by the table (%)",
                    lines,
                    drawn,
                    colours,
                    optimum=getattr(results.table.best, key),
                    size=(5.2, 3.3) if number else (11.0, 4.6),
                ),
            )
    for name, title, values, percent in CURVES:
        if lines := gather(results, values):
            description = f"{title} by epoch, a line for each method"
            yield Picture(name, "curves", description, draw_curves(title, lines, colours, percent))


def _cells(results: StudyResults) -> Iterator[Picture]:
    """Yield those of single cells, of methods the first."""
    seen = set()
    cells = [cell for cell in results.cells if cell.name in results.genotypes]
    for cell in cells:
        if not results.spec.has_axes or cell.variant not in seen:
            seen.add(cell.variant)
            for drawn in cells_of(results.genotypes[cell.name]) if len(seen) <= MOST_CELLS else ():
                title = f"{cell.title}: {drawn.title.lower()}"
                yield Picture(f"{cell.name}-{drawn.name}", "cells", title, drawn.draw(title))


def method_colours(results: StudyResults) -> dict[str, str]:
    """Return a colour for each method, the same in every picture."""
    methods = dict.fromkeys(variant.method for variant in results.spec.variants(results.config))
    return {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(methods)}


def gather(results: StudyResults, values: Values) -> Lines:
    """Return the values of each method's searches, those of an epoch together.

    A method that has nothing to show after epoch 0 is left out.
    """
    lines: Lines = {}
    for variant in results.spec.variants(results.config):
        by_epoch: dict[int, list[float]] = {}
        for search in results.of(variant):
            for epoch, value in values(search):
                if value is not None:
                    by_epoch.setdefault(epoch, []).append(value)
        if any(epoch > 0 for epoch in by_epoch):
            lines[variant.method] = [(float(epoch), by_epoch[epoch]) for epoch in sorted(by_epoch)]
    return lines


def _oracle(results: StudyResults, key: str) -> tuple[Lines, Mapping[str, list[float]]]:
    """Return the accuracies of the searches by epoch, and of the cells that were found without any."""

    def accuracies(search: SearchRecord) -> Iterator[tuple[int, float | None]]:
        if search.score is not None:
            for epoch in search.score.epochs:
                yield epoch, search.score.accuracy(epoch, key)

    lines = gather(results, accuracies)
    drawn: dict[str, list[float]] = {}
    for search in results.searches:
        if search.variant.method not in lines and search.score is not None and (found := search.score.found):
            drawn.setdefault(search.variant.method, []).append(float(getattr(found.accuracies, key)))
    return lines, drawn


def draw_curves(
    title: str,
    lines: Mapping[str, Sequence[tuple[float, Sequence[float]]]],
    colours: Mapping[str, str],
    percent: bool,
) -> Figure:
    """Draw the mean over a method's searches, and a band from the lowest to the highest."""
    with house_style():
        height = max(2.9, 0.9 + 0.34 * len(lines))
        figure = Figure(figsize=(5.2, height))
        axes = figure.add_axes((0.11, 0.45 / height, 0.69, 1 - 0.84 / height))
        draw_bands(axes, lines, colours)
        style_axes(axes, title=title, percent=percent)
        ends = {
            name: ((points[-1][0], fmean(points[-1][1])), colours[name]) for name, points in lines.items()
        }
        name_ends(axes, ends, percent=percent)
        axes.spines["bottom"].set_color(MUTED)
        return figure


def _of_rows(value: Callable[[SearchEpoch], float | None]) -> Values:
    def values(search: SearchRecord) -> Iterator[tuple[int, float | None]]:
        for row in search.run.history.search if search.run else ():
            yield row.epoch, value(row)

    return values


def _of_groups(value: Callable[[GroupInfo, GroupWeights], float | None]) -> Values:
    """Return the mean over a search's groups."""

    def values(search: SearchRecord) -> Iterator[tuple[int, float | None]]:
        if search.run is None:
            return
        groups = search.run.history.groups
        for row in search.run.history.search:
            found = [value(groups[name], weights) for name, weights in row.groups.items()]
            known = [each for each in found if each is not None]
            yield row.epoch, fmean(known) if known else None

    return values


def _of_health(value: Callable[[Health], float]) -> Values:
    def of(group: GroupInfo, weights: GroupWeights) -> float | None:
        return None if (health := health_of(group, weights)) is None else value(health)

    return _of_groups(of)


def _alive(group: GroupInfo, weights: GroupWeights) -> float | None:
    del group
    return fmean([lives for alive_K in weights.alive_EK for lives in alive_K])


CURVES: tuple[tuple[str, str, Values, bool], ...] = (
    ("val-accuracy", "Supernet: validation accuracy", _of_rows(lambda row: row.val_accuracy), True),
    ("val-loss", "Supernet: validation loss (nats)", _of_rows(lambda row: row.val_loss), False),
    ("entropy", "Mean normalised entropy of u", _of_health(lambda health: health.entropy), False),
    ("skip", "Edges led by a skip connection", _of_health(lambda health: health.skip), True),
    ("survivors", "Experts alive", _of_groups(_alive), True),
)
