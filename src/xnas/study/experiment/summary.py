"""An experiment in words: by which protocol, a line for each cell, and who is ahead."""

from collections.abc import Sequence

from xnas.report.ranking import Score, aligned, ranking
from xnas.report.results_table import count_text, share_text
from xnas.study.experiment.plan import ExperimentSpec
from xnas.study.experiment.results import ExperimentResults, ExperimentRow

HEAD = ("cell", "test accuracy", "worst", "n", "cells", "parameters", "mult-adds")


def protocol(plan: ExperimentSpec) -> str:
    """How the numbers come about, whatever they are."""
    parts = []
    if plan.search_seeds:
        parts.append(
            f"Searched by {plan.method} with {_seeds(plan.search_seeds)} on the training images of {plan.data}."
        )
    if plan.chooses:
        parts.append(
            f"Each cell that was found was trained once for {_epochs(plan.selection_epochs)} on all but "
            f"{100 * plan.held_out:.3g} % of the training images, and the one with the highest accuracy on that "
            "part was selected; the test images had no say in it. (The searches had seen all training images.)"
        )
    elif plan.search_seeds:
        one = len(plan.search_seeds) == 1
        parts.append(
            "There is no choice: it found one cell."
            if one
            else "Every cell that was found counts; none is chosen."
        )
    parts.append(
        f"Each cell below was trained from scratch for {_epochs(plan.epochs)} on the whole training set of {plan.data} "
        f"with {_seeds(plan.retrain_seeds)}, and each trained network was tested once. All of them count."
    )
    return " ".join(parts)


def notes(results: ExperimentResults) -> str:
    """What the columns are."""
    said = "Test accuracy: mean ± sample standard deviation over n trained networks; worst is the lowest of them."
    if results.plan.chooses:
        said += " They tell the luck of the training; of that of the selection nothing, as it was made once."
    for row in results.rows:
        if row.spread_of_cells is not None:
            said += (
                f" The means of {row.title} differ from each other by {100 * row.spread_of_cells:.2f} points "
                f"(sample standard deviation, n = {row.cells} cells)."
            )
    return said


def format_results(results: ExperimentResults) -> str:
    """The table for a terminal, below the protocol, and above what it means."""
    whole = results.whole_kinds
    lines = [
        (("" if row in whole else "  ") + title, *numbers)
        for row, (title, *numbers) in zip(results.rows, map(cells_of, results.rows), strict=True)
    ]
    table = aligned([HEAD, *lines])
    chosen = selection_lines(results)
    return "\n".join(
        (protocol(results.plan), *chosen, "", *table, "", notes(results), verdict(results), *results.missing)
    )


def selection_lines(results: ExperimentResults) -> list[str]:
    """What the choice was made by."""
    scores = [
        f"search seed {candidate.seed}: {share_text(candidate.accuracy)}"
        for candidate in results.candidates
        if candidate.accuracy is not None
    ]
    if not scores:
        return []
    samples = max(candidate.samples for candidate in results.candidates)
    said = "not selected yet" if results.chosen is None else f"search seed {results.chosen} was selected"
    return [f"Accuracy on {samples:,} held-out training images: {', '.join(scores)}; {said}."]


def cells_of(row: ExperimentRow) -> tuple[str, ...]:
    """A row as text, below HEAD."""
    return (
        row.title,
        share_text(row.accuracy, row.spread),
        share_text(row.worst),
        str(row.n),
        str(row.cells),
        "" if row.parameters is None else count_text(row.parameters),
        "" if row.multiply_adds is None else count_text(row.multiply_adds),
    )


def verdict(results: ExperimentResults) -> str:
    """In words: which cells have the highest mean, and by how much more than chance would give it."""
    standings = []
    for row in results.whole_kinds:
        if row.accuracy is None:
            continue
        # The trainings of one cell are no trials of others: several cells count as one trial each.
        spread, n = (row.spread_of_cells, row.cells) if row.cells > 1 else (row.spread, row.n)
        standings.append(
            Score(
                name=f"the {row.title}" if row.cells == 1 else f"the mean of {row.title}",
                mean=100 * row.accuracy,
                spread=None if spread is None else 100 * spread,
                n=n,
            )
        )
    said = ranking(standings, what="test accuracy", noun="kinds of cells")
    return said[0].upper() + said[1:]


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"{len(seeds)} seeds ({', '.join(map(str, seeds))})"


def _epochs(count: int) -> str:
    return f"{count:,} epoch{'' if count == 1 else 's'}"
