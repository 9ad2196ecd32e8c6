"""Pictures of cells: which node reads which, by which operation.

From left to right: the two cells before (c_{k-2} is node 0, c_{k-1} node 1), the nodes, each with its two operations
before it, and the output. Thick lines carry features to operations; thin ones are concatenated to the output.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve
from matplotlib.textpath import TextPath

from xnas.report.figures.cell_layout import OPERATION_HEIGHT, OUTPUT, EdgeLine, Item, Layout, lay_out
from xnas.report.figures.style import CARD, INK, MUTED, house_style, operation_style
from xnas.space.genotype import CellGenotype

RADIUS = 0.155
_FONT, _TITLE_FONT = 8.5, 10.5
_FAN = 0.2  # from an operation to its node
_MARGIN = 0.16
_TITLE = 0.36
_INPUT_NAMES = {0: "cₖ₋₂", 1: "cₖ₋₁"}


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A picture's measures, in inches; y grows downwards."""

    cell: CellGenotype
    title: str
    layout: Layout
    operation_width: float
    columns: list[tuple[float, float]]
    """Where each layer begins, and where the centres of its nodes are."""
    width: float
    top: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @classmethod
    def of(cls, cell: CellGenotype, title: str) -> "_Plan":
        layout = lay_out(cell)
        labels = {operation_style(edge.operation).label for edge in cell.edges}
        operation_width = max(map(_text_width, labels)) + 0.17
        columns = _columns(layout, operation_width)
        return cls(
            cell=cell,
            title=title,
            layout=layout,
            operation_width=operation_width,
            columns=columns,
            width=max(columns[-1][1] + RADIUS, _text_width(title, size=_TITLE_FONT, weight="bold") + _MARGIN)
            + _MARGIN,
            top=min(y - item.height / 2 for item, y in layout.y.items()) - _TITLE,
            bottom=max(y + item.height / 2 for item, y in layout.y.items()) + 0.04,
        )


def draw_cell(cell: CellGenotype, *, title: str) -> Figure:
    """A figure of one cell, as large as it needs to be."""
    return draw_cells({title: cell})


def draw_cells(cells: Mapping[str, CellGenotype]) -> Figure:
    """A figure of cells by their titles, one above the other."""
    with house_style():
        plans = [_Plan.of(cell, title) for title, cell in cells.items()]
        width, height = max(plan.width for plan in plans), sum(plan.height for plan in plans)
        figure = Figure(figsize=(width, height))
        top = height
        for plan in plans:
            top -= plan.height
            axes = figure.add_axes((0, top / height, plan.width / width, plan.height / height))
            _paint(axes, plan)
        return figure


def _paint(axes: Axes, plan: _Plan) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, plan.width)
    axes.set_ylim(plan.bottom, plan.top)
    axes.text(_MARGIN, plan.top + 0.2, plan.title, fontsize=_TITLE_FONT, weight="bold", va="center")
    nets = sorted({line.net for line in plan.layout.lines}, key=lambda net: (not net[1], net))
    for order, net in enumerate(nets):
        for line in plan.layout.lines:
            if line.net == net:
                _draw_line(axes, plan, line, order=1 + order / 100)
    for item in plan.layout.y:
        _draw_item(axes, plan, item)


def _columns(layout: Layout, operation_width: float) -> list[tuple[float, float]]:
    """Where each layer begins and where the centres of its nodes are, wide enough apart for the lines between."""
    columns = [(_MARGIN, _MARGIN + 0.24)]
    for layer in range(1, len(layout.layers)):
        climbs = [
            abs(layout.y[line.start] - layout.end_y(line))
            for line in layout.lines
            if line.start.layer == layer - 1
        ]
        begin = columns[-1][1] + RADIUS + min(1.0, 0.36 + 0.2 * max(climbs, default=0.0))
        is_output = layer == len(layout.layers) - 1
        columns.append((begin, begin + (RADIUS if is_output else operation_width + _FAN + RADIUS)))
    return columns


def _draw_line(axes: Axes, plan: _Plan, line: EdgeLine, *, order: float) -> None:
    layout, columns = plan.layout, plan.columns
    start, end = layout.y[line.start], layout.end_y(line)
    left, right = columns[line.start.layer][1], columns[line.end.layer][0]
    bend_from = left + RADIUS
    middle = (bend_from + right) / 2
    points = [(left, start), (bend_from, start), (middle, start), (middle, end), (right, end)]
    codes = [Curve.MOVETO, Curve.LINETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
    if line.end.net is not None:
        points.append((columns[line.end.layer][1], end))
        codes.append(Curve.LINETO)
    curve = Curve(points, codes)
    # A rim in the background's colour, below all lines of the same net, keeps nets apart where they cross.
    axes.add_patch(PathPatch(curve, fill=False, edgecolor=CARD, lw=4, zorder=order, capstyle="butt"))
    thin = {"lw": 0.8, "linestyle": (0, (1.5, 2.0))} if line.net[1] else {"lw": 1.25}
    axes.add_patch(
        PathPatch(curve, fill=False, edgecolor=MUTED, zorder=order + 0.005, capstyle="butt", **thin)
    )


def _draw_item(axes: Axes, plan: _Plan, item: Item) -> None:
    if item.node is None:
        return
    begin, centre = plan.columns[item.layer]
    y = plan.layout.y[item]
    if item.node >= 2:
        for port, edge in enumerate(plan.cell.inputs_of(item.node)):
            port_y = plan.layout.port_y(item, port)
            _draw_operation(axes, edge.operation, begin, port_y, plan.operation_width, (centre, y))
    label = "cₖ" if item.node == OUTPUT else _INPUT_NAMES.get(item.node, str(item.node))
    if item.node in _INPUT_NAMES:
        box = FancyBboxPatch(
            (centre - 0.24, y - 0.15), 0.24 + RADIUS, 0.3, boxstyle="round,pad=0,rounding_size=0.15",
            facecolor=CARD, edgecolor=INK, lw=1.1, zorder=4,
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(
            centre - (0.24 - RADIUS) / 2, y, label, fontsize=10, ha="center", va="center_baseline", zorder=5
        )
        axes.text(
            centre - (0.24 - RADIUS) / 2, y + 0.235, f"node {item.node}",
            fontsize=6.5, color=MUTED, ha="center", va="center", zorder=5,
        )  # fmt: skip
        return
    axes.add_patch(Circle((centre, y), RADIUS, facecolor=CARD, edgecolor=INK, lw=1.1, zorder=4))
    axes.text(centre, y, label, fontsize=10, ha="center", va="center_baseline", zorder=5)


def _draw_operation(
    axes: Axes, operation: str, begin: float, y: float, width: float, node: tuple[float, float]
) -> None:
    style = operation_style(operation)
    end = begin + width
    middle = end + _FAN / 2
    points = [(end, y), (middle, y), (middle, node[1]), (node[0] - RADIUS, node[1])]
    curve = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
    axes.add_patch(PathPatch(curve, fill=False, edgecolor=MUTED, lw=1.25, zorder=3))
    axes.add_patch(
        FancyBboxPatch(
            (begin, y - OPERATION_HEIGHT / 2), width, OPERATION_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.06", facecolor=style.fill, edgecolor="none", zorder=4,
        )
    )  # fmt: skip
    axes.text(
        begin + width / 2,
        y,
        style.label,
        color="#ffffff",
        fontsize=_FONT,
        ha="center",
        va="center_baseline",
        zorder=5,
    )


def _text_width(text: str, *, size: float = _FONT, weight: str = "normal") -> float:
    """In inches."""
    font = FontProperties(weight=weight)
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width) / 72
