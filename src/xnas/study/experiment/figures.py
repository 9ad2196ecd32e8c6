"""The pictures of an experiment: every training's accuracy, what the choice was made by, and the cells."""

from collections.abc import Iterator

from xnas.report.figures.architecture import cells_of
from xnas.report.figures.dots import PointRow, draw_points
from xnas.report.figures.run import Picture
from xnas.study.experiment.plan import Kind
from xnas.study.experiment.results import ExperimentResults

MOST_CELLS = 6
"""Found cells that are drawn; the folders of the searches hold all of them."""
COLOURS: dict[Kind, str] = {
    "selected": "#2a6fc9",
    "found": "#2a6fc9",
    "random": "#d4622a",
    "published": "#15916f",
}


def experiment_pictures(results: ExperimentResults) -> Iterator[Picture]:
    """The pictures, in the order of the page."""
    rows = [
        PointRow(label=cell.title, values=tuple(cell.accuracies), colour=COLOURS[cell.cell.kind])
        for cell in results.cells
    ]
    if any(row.values for row in rows):
        yield Picture(
            "test-accuracy",
            "accuracy",
            "Test accuracy of every training, a row for each cell, with mean and standard deviation",
            draw_points(
                rows, title="Test accuracy: a dot for each training, mean ± standard deviation", spread=True
            ),
        )
    judged = [
        PointRow(
            label=f"search seed {candidate.seed}"
            + (" (selected)" if candidate.seed == results.chosen else ""),
            values=() if candidate.accuracy is None else (candidate.accuracy,),
            colour=COLOURS["selected"] if candidate.seed == results.chosen else "#5d6670",
        )
        for candidate in results.candidates
    ]
    if any(row.values for row in judged):
        yield Picture(
            "selection",
            "selection",
            "Accuracy on held-out training images, a row for the cell of each search",
            draw_points(judged, title="Accuracy on held-out training images", spread=False),
        )
    found = [cell for cell in results.cells if cell.cell.kind in ("selected", "found")]
    for cell in found[:MOST_CELLS]:
        for drawn in cells_of(cell.genotype) if cell.genotype else ():
            title = f"{cell.title}: {drawn.title.lower()}"
            yield Picture(f"{cell.cell.name}-{drawn.name}", "cells", title, drawn.draw(title))
