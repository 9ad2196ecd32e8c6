"""The picture of a NAS-Bench-201 cell: four nodes in a row, and six operations on the ways between them.

The graph is the same for every architecture, so places are fixed. What `none` cuts is drawn faint. Units are inches.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from xnas.report.figures.style import CARD, GRID, INK, MUTED, house_style, operation_style
from xnas.space.nasbench201.genotype import EDGES, NUM_NODES, Nasbench201Genotype

_RADIUS, _STEP, _LEFT = 0.155, 1.75, 0.4
_BOX = (0.86, 0.235)
_HEIGHTS = {(0, 2): 0.5, (1, 3): -0.5, (0, 3): 0.95}
"""Of the operations that are not between neighbours."""


def draw_nasbench201_cell(genotype: Nasbench201Genotype, *, title: str) -> Figure:
    """A figure of the cell; node 0 is its input, node 3 its output."""
    width, top, bottom = 2 * _LEFT + NUM_NODES * _STEP, 1.6, -0.75
    with house_style():
        figure = Figure(figsize=(width, top - bottom))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(bottom, top)
        axes.text(0.16, top - 0.2, title, fontsize=10.5, weight="bold", va="center")
        for (source, node), operation in zip(EDGES, genotype.operations, strict=True):
            _draw_edge(axes, source, node, operation)
        for node in range(1 + NUM_NODES):
            x = _LEFT + node * _STEP
            axes.add_patch(Circle((x, 0), _RADIUS, facecolor=CARD, edgecolor=INK, lw=1.1, zorder=4))
            axes.text(x, 0, str(node), fontsize=10, ha="center", va="center_baseline", zorder=5)
        return figure


def _draw_edge(axes: Axes, source: int, node: int, operation: str) -> None:
    start, end = _LEFT + source * _STEP, _LEFT + node * _STEP
    x, y = (start + end) / 2, _HEIGHTS.get((source, node), 0.0)
    style, cut = operation_style(operation), operation == "none"
    for near, far, side in ((start, x - _BOX[0] / 2, 1), (end, x + _BOX[0] / 2, -1)):
        begin = near + side * _RADIUS * (0.7 if y else 1.0)
        height = _RADIUS * 0.7 * (y > 0) - _RADIUS * 0.7 * (y < 0)
        middle = begin + side * 0.3
        curve = Curve(
            [(begin, height), (middle, y), (middle, y), (far, y)],
            [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
        )
        line = {"lw": 0.8, "linestyle": (0, (1.5, 2.0))} if cut else {"lw": 1.25}
        axes.add_patch(PathPatch(curve, fill=False, edgecolor=GRID if cut else MUTED, zorder=3, **line))
    axes.add_patch(
        FancyBboxPatch(
            (x - _BOX[0] / 2, y - _BOX[1] / 2), *_BOX, boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=CARD if cut else style.fill, edgecolor=GRID if cut else "none", zorder=4,
        )
    )  # fmt: skip
    colour = MUTED if cut else "#ffffff"
    axes.text(x, y, style.label, color=colour, fontsize=8.5, ha="center", va="center_baseline", zorder=5)
