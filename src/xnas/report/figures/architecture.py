"""Pictures of an architecture, whatever its space: one for each of its kinds of cells."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from xnas.io.text import short_repr
from xnas.report.figures.cell import draw_cell, draw_cells
from xnas.report.figures.nasbench201_cell import draw_nasbench201_cell
from xnas.report.figures.style import save_figure
from xnas.space.architecture import Architecture
from xnas.space.genotype import Genotype
from xnas.space.nasbench201.genotype import Nasbench201Genotype


@dataclass(frozen=True)
class DrawnCell:
    """A kind of cell: the name of its file, its title, what its nodes read, and its picture below a title."""

    name: str
    title: str
    inputs: dict[int, list[tuple[str, int]]]
    """(operation, source) of every node."""
    draw: Callable[[str], Figure]


def cells_of(architecture: Architecture) -> list[DrawnCell]:
    """The cells of an architecture, in the order in which they are shown."""
    if isinstance(architecture, Nasbench201Genotype):
        inputs: dict[int, list[tuple[str, int]]] = {}
        for (source, node), operation in architecture.by_edge.items():
            inputs.setdefault(node, []).append((operation, source))
        return [
            DrawnCell("cell", "Cell", inputs, lambda title: draw_nasbench201_cell(architecture, title=title))
        ]
    return [
        DrawnCell(
            f"cell-{kind}",
            f"{kind.capitalize()} cell",
            {node: [(edge.operation, edge.source) for edge in cell.inputs_of(node)] for node in cell.nodes},
            lambda title, cell=cell: draw_cell(cell, title=title),  # type: ignore[misc]
        )
        for kind, cell in (("normal", architecture.normal), ("reduction", architecture.reduction))
    ]


def draw_genotype(architecture: Architecture, path: str | Path) -> None:
    """Write a picture of all cells, as SVG or PNG by the suffix of `path`.

    Raises ValueError for another suffix, a place that cannot be written to, or what is no architecture.
    """
    path = Path(path)
    if not isinstance(architecture, Genotype | Nasbench201Genotype):
        raise ValueError(
            f"a picture is drawn of a genotype; got {short_repr(architecture)}; read_genotype reads names and files"
        )
    if isinstance(architecture, Nasbench201Genotype):
        save_figure(draw_nasbench201_cell(architecture, title="Cell"), path)
    else:
        save_figure(
            draw_cells({"Normal cell": architecture.normal, "Reduction cell": architecture.reduction}), path
        )
