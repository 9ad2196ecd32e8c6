"""The expert weights u over the search: one small panel for each edge of a group, all to the same scale.

The edges of a cell go from a node to a later one, so panels stand in a triangle: a row for each node, a column for
each source. Labels of another form are set in rows. A cross marks where an expert was wiped out.

E: edges of a group; K: experts of each.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from xnas.optimizers.group_info import GroupInfo
from xnas.report.figures.curves import rounds_of_epoch, wipeout_epoch
from xnas.report.figures.style import INK, MUTED, OperationStyle, house_style, operation_style
from xnas.runs.history import History, SearchEpoch, WipeoutRow

_PANEL = (1.62, 1.02)
_GAP = (0.2, 0.42)
_LEFT, _TOP, _BOTTOM, _RIGHT = 0.5, 0.78, 0.52, 0.15
_LEGEND_WIDTH = 1.5
_NEAR_UNIFORM = 2.0
"""If no weight exceeds this many times 1/K, the axis shows only the range that the weights have."""


class PlotArea(NamedTuple):
    """Where a panel stands."""

    row: int
    column: int


def draw_expert_weights(
    history: History, group: GroupInfo, *, chosen: Mapping[str, str] | None = None, panels: int | None = None
) -> Figure:
    """A figure of u over the epochs, for the first `panels` edges of `group`, by default all of them.

    The `chosen` operations, by the labels of their edges, are marked.

    The history must hold at least one search epoch that tells of the group.
    """
    rows = [row for row in history.search if group.name in row.groups]
    assert rows, "a group without weights has no curves"
    with house_style():
        edges = group.edges[:panels]
        places = panel_places(edges)
        num_rows, num_columns = (1 + max(numbers) for numbers in zip(*places, strict=True))
        free_corner = num_rows > 1 and PlotArea(0, num_columns - 1) not in places
        width = _LEFT + num_columns * (_PANEL[0] + _GAP[0]) - _GAP[0] + _RIGHT
        legend_x = width - _RIGHT - _PANEL[0] if free_corner else width
        width = width if free_corner else width + _LEGEND_WIDTH
        height = _TOP + num_rows * (_PANEL[1] + _GAP[1]) - _GAP[1] + _BOTTOM
        figure = Figure(figsize=(width, height))
        low, high, zoomed = _range_of_weights(rows, group)
        gone = _gone(history, group)
        steps_per_epoch = rounds_of_epoch(history.search)
        for edge, place in enumerate(places):
            left = _LEFT + place.column * (_PANEL[0] + _GAP[0])
            bottom = height - _TOP - place.row * (_PANEL[1] + _GAP[1]) - _PANEL[1]
            axes = figure.add_axes((left / width, bottom / height, _PANEL[0] / width, _PANEL[1] / height))
            _draw_panel(axes, rows, group, edge, gone.get(edge, {}), steps_per_epoch)
            picked = (chosen or {}).get(group.edges[edge])
            _style_panel(axes, group, edge, place, places, picked=picked, rows=rows, limits=(low, high))
        scale = "axis zoomed to their range" if zoomed else "axis from 0"
        unit = f"expert weights u, {scale}; dotted: uniform, 1/{len(group.experts)}"
        if len(edges) < len(group.edges):
            unit += f"; the first {len(edges)} of {len(group.edges):,} edges"
        figure.text(
            0.1 / width, 1 - 0.16 / height, f"Group {group.name}", weight="bold", fontsize=10.5, va="top"
        )
        figure.text(0.1 / width, 1 - 0.36 / height, unit, color=MUTED, fontsize=8, va="top")
        _draw_legend(figure, history, group, (legend_x / width, 1 - 0.2 / height), chosen is not None)
        return figure


def panel_places(edges: Sequence[str]) -> list[PlotArea]:
    """A place for each edge: by node and source where all labels say both, else in rows of five."""
    found = [re.fullmatch(r"(\d{1,3})→(\d{1,3})", edge) for edge in edges]
    if all(found):
        ends = [(int(match[1]), int(match[2])) for match in found if match]
        nodes = sorted({node for _, node in ends})
        sources = sorted({source for source, _ in ends})
        if len(set(ends)) == len(ends) and len(sources) <= 8 and len(nodes) <= 12:
            return [PlotArea(nodes.index(node), sources.index(source)) for source, node in ends]
    return [PlotArea(i // 5, i % 5) for i in range(len(edges))]


def _range_of_weights(rows: Sequence[SearchEpoch], group: GroupInfo) -> tuple[float, float, bool]:
    alive = [
        weight
        for row in rows
        for weights, flags in zip(row.groups[group.name].u_EK, row.groups[group.name].alive_EK, strict=True)
        for weight, stays in zip(weights, flags, strict=True)
        if stays
    ]
    uniform = 1 / max(1, len(group.experts))
    low, high = min(alive, default=0.0), max(alive, default=1.0)
    if high > _NEAR_UNIFORM * uniform:
        return 0.0, min(1.0, high * 1.05), False
    reach = max(high - low, 0.02 * uniform)
    return max(0.0, low - 0.1 * reach), min(1.0, high + 0.1 * reach), True


def _gone(history: History, group: GroupInfo) -> dict[int, dict[str, WipeoutRow]]:
    """The group's wipeouts by edge and expert."""
    gone: dict[int, dict[str, WipeoutRow]] = {}
    for wipeout in history.wipeouts:
        if wipeout.group == group.name:
            gone.setdefault(wipeout.edge, {})[wipeout.expert] = wipeout
    return gone


def _draw_panel(
    axes: Axes,
    rows: Sequence[SearchEpoch],
    group: GroupInfo,
    edge: int,
    gone: Mapping[str, WipeoutRow],
    steps_per_epoch: float,
) -> None:
    for expert, name in enumerate(group.experts):
        style = operation_style(name)
        points = [
            (float(row.epoch), row.groups[group.name].u_EK[edge][expert])
            for row in rows
            if row.groups[group.name].alive_EK[edge][expert]
        ]
        if name in gone and points:
            points = _ended(points, gone[name], steps_per_epoch)
        _draw_expert(axes, points, style, wiped=name in gone)
    axes.axhline(1 / max(1, len(group.experts)), color=MUTED, lw=0.8, ls=(0, (1, 2)), zorder=1)


def _ended(
    points: list[tuple[float, float]], gone: WipeoutRow, steps_per_epoch: float
) -> list[tuple[float, float]]:
    """The line up to the wipeout, at the last weight that was written down before it."""
    when = wipeout_epoch(gone.epoch, gone.step, steps_per_epoch)
    kept = [point for point in points if point[0] <= when] or points[:1]
    return [*kept, (when, kept[-1][1])]


def _draw_expert(
    axes: Axes, points: Sequence[tuple[float, float]], style: OperationStyle, *, wiped: bool
) -> None:
    if not points:
        return
    epochs, weights = zip(*points, strict=True)
    few = len(points) - wiped <= 3
    axes.plot(
        epochs, weights, color=style.line, ls=style.dash, lw=1.4, zorder=3,
        marker="o" if few else "", markersize=2.6, markevery=slice(0, len(points) - wiped),
    )  # fmt: skip
    if wiped:
        axes.plot(
            epochs[-1], weights[-1], color=style.line, marker="x", markersize=4.5, markeredgewidth=1.4, zorder=4,
            clip_on=False,
        )  # fmt: skip


def _style_panel(
    axes: Axes,
    group: GroupInfo,
    edge: int,
    place: PlotArea,
    places: Sequence[PlotArea],
    *,
    picked: str | None,
    rows: Sequence[SearchEpoch],
    limits: tuple[float, float],
) -> None:
    axes.set_ylim(*limits)
    last = max(rows[-1].epoch, 1)
    axes.set_xlim(-0.02 * last, last * 1.02)
    axes.grid(axis="y", lw=0.5)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, min_n_ticks=2, steps=[1, 2, 2.5, 5, 10]))
    decimals = 2 if limits[1] - limits[0] > 0.04 else 3
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{decimals}f}"))
    axes.xaxis.set_major_locator(FixedLocator(_epoch_ticks(last)))
    axes.tick_params(labelsize=7, pad=2)
    axes.tick_params(labelleft=place.column == min(p.column for p in places if p.row == place.row))
    lowest = place.row == max(p.row for p in places if p.column == place.column)
    axes.tick_params(labelbottom=lowest)
    if lowest and place.column == 0:
        axes.set_xlabel("epoch", fontsize=7.5, loc="left", labelpad=1)
    axes.set_title(
        group.edges[edge], loc="left", fontsize=8, color=INK, pad=4, weight="bold" if picked else "normal"
    )
    if picked:
        style = operation_style(picked)
        axes.set_title(style.label, loc="right", fontsize=8, color=style.line, pad=4, weight="bold")
    for side in ("left", "bottom"):
        axes.spines[side].set(color=INK if picked else MUTED, linewidth=1.3 if picked else 0.5)


def _epoch_ticks(last: int) -> list[int]:
    """Beginning, end, and the middle where it is a whole epoch."""
    return [0, last // 2, last] if last % 2 == 0 else [0, last]


def _draw_legend(
    figure: Figure, history: History, group: GroupInfo, corner: tuple[float, float], has_choice: bool
) -> None:
    handles: Mapping[str, Line2D] = {
        operation_style(name).label: Line2D(
            [], [], color=operation_style(name).line, ls=operation_style(name).dash
        )
        for name in group.experts
    }
    entries = dict(handles)
    if any(gone.group == group.name for gone in history.wipeouts):
        entries["wiped out"] = Line2D(
            [], [], color=MUTED, ls="", marker="x", markersize=4.5, markeredgewidth=1.4
        )
    if has_choice:
        entries["edge and operation chosen"] = Line2D(
            [], [], color=INK, ls="", marker="_", markersize=12, markeredgewidth=1.3
        )
    figure.legend(
        list(entries.values()), list(entries), loc="upper left", bbox_to_anchor=corner, fontsize=7.5,
        handlelength=2.6, borderaxespad=0, borderpad=0, labelspacing=0.35,
    )  # fmt: skip
