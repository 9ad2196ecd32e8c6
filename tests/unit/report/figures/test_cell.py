import itertools
import math
import random
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch
from matplotlib.transforms import Bbox

from xnas.report.figures.architecture import draw_genotype
from xnas.report.figures.cell import draw_cell, draw_cells
from xnas.report.figures.cell_layout import lay_out
from xnas.report.figures.nasbench201_cell import draw_nasbench201_cell
from xnas.report.figures.style import operation_style
from xnas.space.architecture import Architecture
from xnas.space.genotype import OPERATIONS, CellGenotype, Edge
from xnas.space.nasbench201.genotype import EDGES, Nasbench201Genotype
from xnas.space.published import published_genotype, published_names


def overlap(one: Bbox, other: Bbox) -> bool:
    return (
        min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5
        and min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5
    )


def check_nothing_overlaps(figure: Figure) -> None:
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        texts = [text.get_window_extent(renderer) for text in axes.texts]
        for one, other in itertools.combinations(texts, 2):
            assert not overlap(one, other)
        shapes = [patch for patch in axes.patches if isinstance(patch, Circle | FancyBboxPatch)]
        boxes = [shape.get_window_extent(renderer) for shape in shapes]
        for one, other in itertools.combinations(boxes, 2):
            assert not overlap(one, other)
        for text in texts:
            # A label lies inside its own shape, or meets none.
            assert all(not overlap(text, box) or (box.x0 <= text.x0 and text.x1 <= box.x1) for box in boxes)
            assert figure.bbox.x0 <= text.x0
            assert text.x1 <= figure.bbox.x1


def random_cell(nodes: int, *, seed: int) -> CellGenotype:
    chance = random.Random(seed)
    edges = [
        Edge(chance.choice(OPERATIONS), source)
        for node in range(2, nodes + 2)
        for source in chance.sample(range(node), 2)
    ]
    return CellGenotype(edges=tuple(edges), concat=tuple(range(2, nodes + 2)))


@pytest.mark.parametrize("name", published_names())
def test_no_label_of_a_published_cell_meets_another_label_or_a_node(name: str) -> None:
    genotype = published_genotype(name)
    check_nothing_overlaps(draw_cells({"Normal": genotype.normal, "Reduction": genotype.reduction}))


@pytest.mark.parametrize("title", ["A cell", "selected cell (search seed 100): reduction cell"])
@pytest.mark.parametrize("nodes", range(1, 7))
def test_no_label_meets_another_or_the_border_in_cells_of_one_to_six_nodes(nodes: int, title: str) -> None:
    check_nothing_overlaps(draw_cell(random_cell(nodes, seed=nodes), title=title))


@pytest.mark.parametrize("name", published_names())
def test_every_edge_is_labelled_with_its_operation(name: str) -> None:
    cell = published_genotype(name).normal
    texts = [text.get_text() for text in draw_cell(cell, title="Normal").axes[0].texts]
    for edge in cell.edges:
        texts.remove(operation_style(edge.operation).label)


def test_the_lines_of_a_layout_lead_from_every_source_to_its_operations_and_to_the_output() -> None:
    cell = random_cell(6, seed=3)
    layout = lay_out(cell)
    arrived = {(line.end.node, line.port): line.net[0] for line in layout.lines if line.port is not None}
    assert arrived == {
        (node, port): edge.source for node in cell.nodes for port, edge in enumerate(cell.inputs_of(node))
    }
    assert {line.net[0] for line in layout.lines if line.end.node == -1} == set(cell.concat)
    assert all(line.end.layer == line.start.layer + 1 for line in layout.lines)


NASBENCH201 = Nasbench201Genotype(
    ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "nor_conv_3x3")
)


def test_in_a_cell_of_nasbench201_every_operation_stands_between_the_nodes_of_its_edge() -> None:
    figure = draw_nasbench201_cell(NASBENCH201, title="xnas, seed 0: cell")
    check_nothing_overlaps(figure)
    (axes,) = figure.axes
    nodes = {text.get_text(): text.get_position() for text in axes.texts if text.get_text().isdigit()}
    assert list(nodes) == ["0", "1", "2", "3"]
    labels = [text for text in axes.texts if text.get_text() not in ("xnas, seed 0: cell", *nodes)]
    for (source, node), operation, label in zip(EDGES, NASBENCH201.operations, labels, strict=True):
        middle = (nodes[str(source)][0] + nodes[str(node)][0]) / 2
        assert (label.get_text(), label.get_position()[0]) == (operation_style(operation).label, middle)


def test_the_edges_of_a_cell_of_nasbench201_lead_from_node_to_node_and_what_none_cuts_is_faint() -> None:
    (axes,) = draw_nasbench201_cell(NASBENCH201, title="Cell").axes
    centres = [patch.center for patch in axes.patches if isinstance(patch, Circle)]
    lines = [patch for patch in axes.patches if isinstance(patch, PathPatch)]
    for (source, node), operation, parts in zip(EDGES, NASBENCH201.operations, halves_of(lines), strict=True):
        for place, line in zip((source, node), parts, strict=True):
            x, y = line.get_path().vertices[0]
            assert math.hypot(x - centres[place][0], y - centres[place][1]) < 0.17  # on the circle
            assert (line.get_linestyle() != "solid") == (operation == "none")


def halves_of(lines: list[PathPatch]) -> list[tuple[PathPatch, PathPatch]]:
    """The two halves of every edge, before and behind its operation."""
    return list(zip(lines[::2], lines[1::2], strict=True))


@pytest.mark.parametrize("genotype", [published_genotype("xnas"), NASBENCH201], ids=["darts", "nasbench201"])
def test_a_picture_is_written_by_its_suffix_and_twice_the_same(
    genotype: Architecture, tmp_path: Path
) -> None:
    for suffix, start in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        contents = set()
        for folder in ("one", "two"):
            path = tmp_path / folder / f"cells.{suffix}"
            draw_genotype(genotype, path)
            contents.add(path.read_bytes())
        (content,) = contents
        assert content.startswith(start)
    with pytest.raises(ValueError, match=r"\.svg or \.png"):
        draw_genotype(genotype, tmp_path / "cells.pdf")
    with pytest.raises(
        ValueError, match="a picture is drawn of a genotype; got 'xnas'; read_genotype reads names"
    ):
        draw_genotype("xnas", tmp_path / "cells.svg")  # type: ignore[arg-type]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["cells.png", "cells.svg"]
