"""Losses and accuracies by epoch, the experts that survive, and the size of the supernet."""

import itertools
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from xnas.report.figures.style import GROUPS, INK, PHASES, house_style
from xnas.runs.history import History, SearchEpoch, WipeoutRow

_SIZE = (5.2, 2.9)
_PLACE = (0.11, 0.155, 0.73, 0.71)
"""Room on the right for the names of the lines."""

MOST_GROUPS = 20
"""Lines that can be told apart by their names."""

Points = Sequence[tuple[float, float]]


def draw_search_loss(history: History) -> Figure:
    """Cross-entropy of both halves in the search."""
    return draw_lines("Search: loss (nats)", _search_lines(history, "loss"), PHASES)


def draw_search_accuracy(history: History) -> Figure:
    """Accuracy of both halves in the search."""
    return draw_lines("Search: accuracy", _search_lines(history, "accuracy"), PHASES, percent=True)


def draw_retrain_loss(history: History) -> Figure:
    """Cross-entropy of the training from scratch."""
    points = [(row.epoch, row.train_loss) for row in history.retrain]
    return draw_lines("Training from scratch: loss (nats)", {"train": points}, PHASES)


def draw_retrain_accuracy(history: History, *, test_accuracy: float | None) -> Figure:
    """Accuracy of the training from scratch, and the one test at its end."""
    points = [(row.epoch, row.train_accuracy) for row in history.retrain]
    lines = {"train": points}
    if test_accuracy is not None:
        lines["test"] = [(points[-1][0], test_accuracy)]
    colours = {**PHASES, "test": INK}
    return draw_lines("Training from scratch: accuracy", lines, colours, percent=True)


def draw_survivors(history: History) -> Figure:
    """The share of the experts that are alive, of each of the first groups, stepping down at every wipeout."""
    steps_per_epoch = rounds_of_epoch(history.search)
    last = history.search[-1].epoch
    gone_of: dict[str, list[WipeoutRow]] = {
        name: [] for name in itertools.islice(history.groups, MOST_GROUPS)
    }
    for gone in history.wipeouts:
        if gone.group in gone_of:
            gone_of[gone.group].append(gone)
    lines = {}
    for name, wipeouts in gone_of.items():
        group = history.groups[name]
        total = len(group.edges) * len(group.experts)
        alive = total
        points = [(0.0, 1.0)]
        for gone in sorted(wipeouts, key=lambda gone: gone.step):
            alive -= 1
            points.append((wipeout_epoch(gone.epoch, gone.step, steps_per_epoch), alive / total))
        lines[name] = [*points, (float(last), points[-1][1])]
    colours = dict(zip(lines, _cycle(len(lines)), strict=True))
    return draw_lines("Experts alive", lines, colours, percent=True, steps=True, top=1.04)


def draw_supernet_size(history: History) -> Figure:
    """Parameters of the supernet: what wipeouts have saved."""
    points = [(row.epoch, row.parameters / 1e6) for row in history.search]
    top = max(1e-6, *(size for _, size in points)) * 1.08
    return draw_lines(
        "Supernet: parameters (millions)", {"supernet": points}, {"supernet": GROUPS[2]}, top=top
    )


def rounds_of_epoch(search: Sequence[SearchEpoch]) -> float:
    """Rounds that one epoch of the search has; at least 1."""
    return max(1.0, *(row.step / row.epoch for row in search if row.epoch), 0.0)


def wipeout_epoch(epoch: int, step: int, steps_per_epoch: float) -> float:
    """When in the search, in epochs, a wipeout came; it lies within its epoch."""
    return min(float(epoch), max(epoch - 1.0, step / steps_per_epoch))


def _search_lines(history: History, what: str) -> dict[str, Points]:
    def points(part: str) -> Points:
        values = [(row.epoch, getattr(row, f"{part}_{what}")) for row in history.search]
        return [(epoch, value) for epoch, value in values if value is not None]

    lines = {"train": points("train"), "validation": points("val")}
    return {name: line for name, line in lines.items() if line}


def draw_lines(
    title: str,
    lines: Mapping[str, Points],
    colours: Mapping[str, str],
    *,
    percent: bool = False,
    steps: bool = False,
    top: float | None = None,
) -> Figure:
    """Lines over epochs. With `top` the axis goes from 0 to it."""
    with house_style():
        figure = Figure(figsize=_SIZE)
        axes = figure.add_axes(_PLACE)
        for name, points in lines.items():
            epochs, values = zip(*points, strict=True)
            axes.plot(
                epochs,
                values,
                color=colours[name],
                drawstyle="steps-post" if steps else "default",
                # Few points are shown as points: one alone would be no line at all.
                marker=("D" if len(points) == 1 else "o") if len(points) <= 12 and not steps else "",
                markersize=4.5 if len(points) == 1 else 3.5,
                clip_on=False,
            )
        if top is not None:
            axes.set_ylim(0, top)  # first: the ticks' decimals and the distance of the names depend on it
        style_axes(axes, title=title, percent=percent)
        name_ends(
            axes, {name: (points[-1], colours[name]) for name, points in lines.items()}, percent=percent
        )
        return figure


def style_axes(axes: Axes, *, title: str, percent: bool, title_x: float = -0.115) -> None:
    """Title to the left, hairlines across, whole epochs below."""
    axes.set_title(title, loc="left", weight="bold", color=INK, pad=9, x=title_x)
    axes.set_xlabel("epoch", loc="right", fontsize=8)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.margins(x=0.02, y=0.08)
    low, high = axes.get_xlim()
    if high - low < 1:
        axes.set_xlim(low - 0.5, high + 0.5)
    if percent:
        bottom, top = axes.get_ylim()
        decimals = 0 if top - bottom > 0.04 else 1
        axes.yaxis.set_major_formatter(_percent(decimals))


def name_ends(
    axes: Axes,
    ends: Mapping[str, tuple[tuple[float, float], str]],
    *,
    percent: bool = False,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write each line's name and last value, or its text of `texts`, beside its end, apart from each other."""
    bottom, top = axes.get_ylim()
    least = (top - bottom) * min(0.17, 1 / max(1, len(ends) - 1))
    order = sorted(ends, key=lambda name: ends[name][0][1])
    places = [min(ends[name][0][1], top) for name in order]
    for _ in range(60):  # push neighbours apart until they fit
        for i in range(len(places) - 1):
            if (missing := least - (places[i + 1] - places[i])) > 0:
                places[i] -= missing / 2
                places[i + 1] += missing / 2
        if below := max(0.0, bottom - min(places, default=bottom)):
            places = [place + below for place in places]
    for name, place in zip(order, places, strict=True):
        value = ends[name][0][1]
        said = texts[name] if texts else f"{value:.1%}" if percent else f"{value:.3g}"
        axes.annotate(
            f"{name}\n{said}", (1.03, place), xycoords=("axes fraction", "data"), color=ends[name][1],
            va="center", fontsize=8, annotation_clip=False, linespacing=1.15,
        )  # fmt: skip


def _percent(decimals: int) -> FuncFormatter:
    shown: Callable[[float, int | None], str] = lambda value, _: f"{value:.{decimals}%}"  # noqa: E731
    return FuncFormatter(shown)


def _cycle(count: int) -> list[str]:
    return [GROUPS[i % len(GROUPS)] for i in range(count)]
