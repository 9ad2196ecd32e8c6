"""Pictures of a search's promise and health: regret beneath its bound, and how far it has decided and for what."""

# ruff: noqa: RUF001

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from xnas.report.figures.curves import Points, draw_lines, name_ends, style_axes
from xnas.report.figures.style import GROUPS, INK, MUTED, house_style
from xnas.report.health import MOST_SKIP, Health, health_of
from xnas.report.regret import RegretCheck, check_regret
from xnas.runs.history import History

MOST_GROUPS = len(GROUPS)
"""That are drawn: as many as there are colours."""

_FAR = 4.0
"""A bound this many times above theorem 1's and the regret leaves the picture: beneath it they would all be zero."""

_PANEL, _GAP = (3.55, 2.2), (1.5, 0.95)
_SMALL_PANEL, _SMALL_GAP = (2.75, 1.4), (0.65, 0.66)
_DASHES = ("-", (0, (4, 1.6)))
"""Of groups, in turn: a line under another shows between its dashes."""


def heard_groups(history: History) -> list[str]:
    """The first groups whose experts have been rewarded."""
    rewarded = {name for row in history.search for name, weights in row.groups.items() if weights.feedbacks}
    return [name for name in history.groups if name in rewarded][:MOST_GROUPS]


def regret_checks(history: History) -> dict[str, list[tuple[int, RegretCheck]]]:
    """For each of the first groups that have a ledger: the epochs and what it says then."""
    found: dict[str, list[tuple[int, RegretCheck]]] = {}
    for name in heard_groups(history):
        ledgers = [(row.epoch, row.groups[name].ledger) for row in history.search if name in row.groups]
        told = [
            (epoch, check_regret(ledger, scaled=history.groups[name].scaled))
            for epoch, ledger in ledgers
            if ledger
        ]
        if kept := [(epoch, promise) for epoch, promise in told if promise]:
            found[name] = kept
    return found


def draw_regret(found: Mapping[str, Sequence[tuple[int, RegretCheck]]]) -> Figure:
    """Regret of the mean and of the worst forecaster by epoch, and its bounds: a panel for each group."""
    columns = min(2, len(found))
    rows = math.ceil(len(found) / columns)
    left, top, bottom = 0.62, 0.42, 0.5
    width = left + columns * (_PANEL[0] + _GAP[0])
    height = top + rows * (_PANEL[1] + _GAP[1]) - _GAP[1] + bottom
    with house_style():
        figure = Figure(figsize=(width, height))
        for number, (name, told) in enumerate(found.items()):
            row, column = divmod(number, columns)
            x = left + column * (_PANEL[0] + _GAP[0])
            y = height - top - row * (_PANEL[1] + _GAP[1]) - _PANEL[1]
            axes = figure.add_axes((x / width, y / height, _PANEL[0] / width, _PANEL[1] / height))
            _draw_promise(axes, name, told, GROUPS[number])
        return figure


def _draw_promise(axes: Axes, name: str, told: Sequence[tuple[int, RegretCheck]], colour: str) -> None:
    def points(value: Callable[[RegretCheck], float]) -> Points:
        return [(epoch, value(promise)) for epoch, promise in told]

    lines: dict[str, tuple[Points, str, str]] = {}
    lines["bound"] = (points(lambda promise: promise.bound), INK, "-")
    if any(promise.several_at_once for _, promise in told):
        lines["theorem 1's"] = (points(lambda promise: promise.theorem), MUTED, ":")
    lines["worst regret"] = (points(lambda promise: promise.regret), colour, "-")
    lines["mean regret"] = (points(lambda promise: promise.mean_regret), colour, "--")
    for line, line_colour, dash in lines.values():
        axes.plot(
            *zip(*line, strict=True), color=line_colour, ls=dash, marker="D" if len(line) == 1 else "",
            markersize=4.5,
        )  # fmt: skip
    unit = "units of √V" if told[-1][1].scaled else "nats"
    style_axes(axes, title=f"Group {name}: regret ({unit})", percent=False)
    highest = max(max(promise.theorem, promise.regret) for _, promise in told)
    low = min(0.0, *(min(promise.regret, promise.mean_regret) for _, promise in told))
    above = max(promise.bound for _, promise in told)
    high = highest if above > _FAR * highest > 0 else max(above, highest)
    axes.set_ylim(1.05 * low, max(1.08 * high, 1e-9))
    top = axes.get_ylim()[1]
    name_ends(
        axes,
        {
            f"{name} \N{UPWARDS ARROW}" if line[-1][1] > top else name: (line[-1], line_colour)
            for name, (line, line_colour, _) in lines.items()
        },
    )


def draw_wipeout_factor(found: Mapping[str, Sequence[tuple[int, RegretCheck]]]) -> Figure:
    """gamma_T by epoch, the mean over a group's forecasters."""
    return _by_group("Wipeout factor γ", found, lambda promise: promise.gamma)


def draw_clip_rate(found: Mapping[str, Sequence[tuple[int, RegretCheck]]]) -> Figure:
    """The share of the rewards so far that were clipped, by epoch."""
    most = max(promise.clip_rate for told in found.values() for _, promise in told)
    return _by_group(
        "Rewards clipped so far", found, lambda promise: promise.clip_rate, percent=True, top=max(1.2 * most, 0.01)
    )  # fmt: skip


def _by_group(
    title: str,
    found: Mapping[str, Sequence[tuple[int, RegretCheck]]],
    value: Callable[[RegretCheck], float],
    *,
    percent: bool = False,
    top: float | None = None,
) -> Figure:
    lines = {name: [(epoch, value(promise)) for epoch, promise in told] for name, told in found.items()}
    colours = dict(zip(lines, GROUPS, strict=False))
    return draw_lines(title, lines, colours, percent=percent, top=top)


def draw_health(history: History) -> Figure | None:
    """Small panels of shares by epoch, with a line for each of the first groups; None if there is nothing to show."""
    panels = {title: lines for title, lines in _health_lines(history).items() if lines}
    if not panels:
        return None
    last = max(row.epoch for row in history.search)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    left, top, bottom, right = 0.55, 0.62, 0.45, 0.2
    width = left + columns * (_SMALL_PANEL[0] + _SMALL_GAP[0]) - _SMALL_GAP[0] + right
    height = top + rows * (_SMALL_PANEL[1] + _SMALL_GAP[1]) - _SMALL_GAP[1] + bottom
    styles = {name: (GROUPS[i], _DASHES[i % 2]) for i, name in enumerate(heard_groups(history))}
    with house_style():
        figure = Figure(figsize=(width, height))
        for number, (title, lines) in enumerate(panels.items()):
            row, column = divmod(number, columns)
            x = left + column * (_SMALL_PANEL[0] + _SMALL_GAP[0])
            y = height - top - row * (_SMALL_PANEL[1] + _SMALL_GAP[1]) - _SMALL_PANEL[1]
            axes = figure.add_axes((x / width, y / height, _SMALL_PANEL[0] / width, _SMALL_PANEL[1] / height))
            for name, points in lines.items():
                colour, dash = styles.get(name, (INK, "-"))
                axes.plot(
                    *zip(*points, strict=True), color=colour, ls=dash, clip_on=False, lw=1.6,
                    marker="o" if len(points) <= 12 else "", markersize=2.8,
                )  # fmt: skip
            if title == _SKIP_PANEL:
                axes.axhline(MOST_SKIP, color=MUTED, lw=0.8, ls=(0, (1, 2)), zorder=1)
            _style_small(axes, title, last=last)
        handles = {name: Line2D([], [], color=colour, ls=dash) for name, (colour, dash) in styles.items()}
        figure.legend(
            list(handles.values()), list(handles), loc="upper left", ncols=len(handles) or 1, fontsize=8.5,
            bbox_to_anchor=(0.1 / width, 1 - 0.1 / height), borderaxespad=0, borderpad=0, handlelength=2.6,
        )  # fmt: skip
        return figure


_SKIP_PANEL = "Led by a skip connection"


def _health_lines(history: History) -> dict[str, dict[str, Points]]:
    """Lines of the panels, by title and group."""
    by_group: dict[str, list[tuple[int, Health]]] = {}
    for name in heard_groups(history):
        for row in history.search:
            weights = row.groups.get(name)
            if weights and (health := health_of(history.groups[name], weights)):
                by_group.setdefault(name, []).append((row.epoch, health))

    def lines(value: Callable[[Health], float | None]) -> dict[str, Points]:
        found = {
            name: [(epoch, said) for epoch, health in told if (said := value(health)) is not None]
            for name, told in by_group.items()
        }
        return {name: points for name, points in found.items() if points}

    counted = [(row.epoch, row.multiply_adds) for row in history.search if row.multiply_adds is not None]
    whole = counted[0][1] if counted and counted[0][0] == 0 else 0
    cost: dict[str, Points] = {}
    if whole:
        cost["supernet"] = [(epoch, min(1.0, left / whole)) for epoch, left in counted]
    return {
        "Entropy of the weights": lines(lambda health: health.entropy),
        _SKIP_PANEL: lines(lambda health: health.skip),
        "Led by a pooling": lines(lambda health: health.pooling),
        "Decided": lines(lambda health: health.decided),
        "Lead, of what can still change": lines(lambda health: health.lead),
        "Multiply-adds still computed": cost,
    }


def _style_small(axes: Axes, title: str, *, last: int) -> None:
    axes.set_title(title, loc="left", fontsize=8.5, color=INK, pad=8, weight="bold")
    axes.set_ylim(0, 1)
    axes.set_xlim(-0.02 * max(1, last), 1.02 * max(1, last))
    axes.grid(axis="y", lw=0.5)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.tick_params(labelsize=7.5, pad=3)
    axes.set_xlabel("epoch", loc="right", fontsize=7.5, labelpad=1)
