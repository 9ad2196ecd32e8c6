"""Pictures of cells: which node reads which, by which operation.

From left to right: the two cells before (c_{k-2} is node 0, c_{k-1} node 1), the nodes, each with its two operations
before it, and the output. Thick lines carry features to operations; thin ones are concatenated to the output.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve
from matplotlib.textpath import TextPath

from xnas.report.cell_layout import OPERATION_HEIGHT, OUTPUT, Item, Layout, Line, lay_out
from xnas.report.figures import house_style, save_figure
from xnas.report.palette import CARD, INK, MUTED, operation_style
from xnas.space.genotype import CellGenotype, Genotype

RADIUS = 0.155
_FONT = 8.5
_FAN = 0.2  # from an operation to its node
_MARGIN = 0.16
_TITLE = 0.36
_INPUT_NAMES = {0: "cₖ₋₂", 1: "cₖ₋₁"}


def draw_cell(cell: CellGenotype, *, title: str) -> Figure:
    """A figure of one cell, as large as it needs to be."""
    with house_style():
        layout = lay_out(cell)
        operation_width = max(_text_width(operation_style(edge.operation).label) for edge in cell.edges) + 0.17
        columns = _columns(layout, operation_width)
        top = min(y - item.height / 2 for item, y in layout.y.items()) - _TITLE
        bottom = max(y + item.height / 2 for item, y in layout.y.items()) + 0.04
        width = columns[-1][1] + RADIUS + _MARGIN
        figure = Figure(figsize=(max(width, _text_width(title) * 1.3 + 0.4), bottom - top))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, figure.get_figwidth())
        axes.set_ylim(bottom, top)
        axes.text(_MARGIN, top + 0.2, title, fontsize=10.5, weight="bold", va="center")
        for line in sorted(layout.lines, key=lambda line: not line.net[1]):
            _draw_line(axes, layout, line, columns)
        for layer in layout.layers:
            for item in layer:
                _draw_item(axes, layout, item, columns[item.layer], cell, operation_width)
        return figure


def draw_genotype(genotype: Genotype, path: Path) -> None:
    """Write a picture of both cells, one above the other, as SVG or PNG by the suffix of `path`.

    Raises ValueError for another suffix, or a place that cannot be written to.
    """
    with house_style():
        figures = [
            draw_cell(cell, title=title)
            for cell, title in ((genotype.normal, "Normal cell"), (genotype.reduction, "Reduction cell"))
        ]
        width = max(figure.get_figwidth() for figure in figures)
        height = sum(figure.get_figheight() for figure in figures)
        both = Figure(figsize=(width, height))
        top = height
        for figure in figures:
            part_width, part_height = figure.get_size_inches()
            top -= part_height
            # An Axes belongs to one figure for good: the parts are drawn anew in the common one.
            axes = figure.axes[0]
            axes.remove()
            axes.figure = None  # type: ignore[assignment]
            axes.set_figure(both)
            both.add_axes(axes)
            axes.set_position((0, top / height, part_width / width, part_height / height))
        save_figure(both, path)


def _columns(layout: Layout, operation_width: float) -> list[tuple[float, float]]:
    """Where each layer begins and where the centres of its nodes are, wide enough apart for the lines between."""
    columns = [(_MARGIN, _MARGIN + 0.24)]
    for layer in range(1, len(layout.layers)):
        climbs = [
            abs(layout.y[line.start] - layout.end_y(line)) for line in layout.lines if line.start.layer == layer - 1
        ]
        begin = columns[-1][1] + RADIUS + min(1.0, 0.36 + 0.2 * max(climbs, default=0.0))
        is_output = layer == len(layout.layers) - 1
        columns.append((begin, begin + (RADIUS if is_output else operation_width + _FAN + RADIUS)))
    return columns


def _draw_line(axes: Axes, layout: Layout, line: Line, columns: list[tuple[float, float]]) -> None:
    start, end = layout.y[line.start], layout.end_y(line)
    left, right = columns[line.start.layer][1], columns[line.end.layer][0]
    bend_from = left + RADIUS
    middle = (bend_from + right) / 2
    points = [(left, start), (bend_from, start), (middle, start), (middle, end), (right, end)]
    codes = [Curve.MOVETO, Curve.LINETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
    if line.end.net is not None:
        points.append((columns[line.end.layer][1], end))
        codes.append(Curve.LINETO)
    to_output = line.net[1]
    _add_curve(axes, points, codes, thin=to_output)


def _add_curve(axes: Axes, points: list[tuple[float, float]], codes: list[int], *, thin: bool = False) -> None:
    curve = Curve(points, codes)  # type: ignore[arg-type]
    order = 1 if thin else 2
    # A rim in the background's colour keeps lines apart where they cross.
    axes.add_patch(PathPatch(curve, fill=False, edgecolor=CARD, lw=3.6, zorder=order, capstyle="butt"))
    axes.add_patch(
        PathPatch(
            curve, fill=False, edgecolor=MUTED, lw=0.7 if thin else 1.25, zorder=order,
            linestyle=(0, (1.5, 2.0)) if thin else "-", capstyle="butt",
        )
    )  # fmt: skip


def _draw_item(
    axes: Axes,
    layout: Layout,
    item: Item,
    column: tuple[float, float],
    cell: CellGenotype,
    operation_width: float,
) -> None:
    if item.node is None:
        return
    begin, centre = column
    y = layout.y[item]
    if item.node >= 2:
        for port, edge in enumerate(cell.inputs_of(item.node)):
            _draw_operation(axes, edge.operation, begin, layout.port_y(item, port), operation_width, (centre, y))
    label = "cₖ" if item.node == OUTPUT else _INPUT_NAMES.get(item.node, str(item.node))
    if item.node in _INPUT_NAMES:
        box = FancyBboxPatch(
            (centre - 0.24, y - 0.15), 0.24 + RADIUS, 0.3, boxstyle="round,pad=0,rounding_size=0.15",
            facecolor=CARD, edgecolor=INK, lw=1.1, zorder=4,
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(centre - (0.24 - RADIUS) / 2, y, label, fontsize=_FONT, ha="center", va="center_baseline", zorder=5)
        axes.text(
            centre - (0.24 - RADIUS) / 2, y + 0.235, f"node {item.node}",
            fontsize=6.5, color=MUTED, ha="center", va="center", zorder=5,
        )  # fmt: skip
        return
    axes.add_patch(Circle((centre, y), RADIUS, facecolor=CARD, edgecolor=INK, lw=1.1, zorder=4))
    axes.text(centre, y, label, fontsize=_FONT, ha="center", va="center_baseline", zorder=5)


def _draw_operation(
    axes: Axes, operation: str, begin: float, y: float, width: float, node: tuple[float, float]
) -> None:
    style = operation_style(operation)
    end = begin + width
    middle = end + _FAN / 2
    _add_curve(
        axes,
        [(end, y), (middle, y), (middle, node[1]), (node[0] - RADIUS, node[1])],
        [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
    )
    axes.add_patch(
        FancyBboxPatch(
            (begin, y - OPERATION_HEIGHT / 2), width, OPERATION_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.06", facecolor=style.fill, edgecolor="none", zorder=4,
        )
    )  # fmt: skip
    axes.text(
        begin + width / 2, y, style.label, color="#ffffff", fontsize=_FONT, ha="center", va="center_baseline", zorder=5
    )


def _text_width(text: str) -> float:
    """In inches."""
    return float(TextPath((0, 0), text, size=_FONT).get_extents().width) / 72
