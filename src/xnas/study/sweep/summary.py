"""A sweep in words: how its numbers come about, a line for each cell of the grid, and who is ahead."""

from xnas.report.format import duration
from xnas.report.ranking import Score, aligned, ranking
from xnas.report.results_table import count_text, share_text
from xnas.study.sweep.plan import SweepSpec
from xnas.study.sweep.results import SweepResults, SweepRow


def head(plan: SweepSpec) -> tuple[str, ...]:
    """The titles of the columns."""
    return (*plan.columns, "test accuracy", "worst", "n", "searches", "parameters", "mult-adds", "search")


def cells_of(row: SweepRow, plan: SweepSpec) -> tuple[str, ...]:
    """A row as text, below `head`."""
    numbers = row.numbers

    def count(name: str) -> str:
        value = numbers[name]
        return "" if value is None else count_text(value)

    seconds = numbers["search_seconds"]
    return (
        *(getattr(row.cell, column) for column in plan.columns),
        share_text(row.accuracy, row.spread),
        share_text(row.worst),
        str(row.n),
        str(row.searches),
        count("parameters"),
        count("multiply_adds"),
        "" if seconds is None else duration(seconds),
    )


def protocol(plan: SweepSpec) -> str:
    """How the numbers come about, whatever they are."""
    count = len(plan.cells)
    searched = f"{count} cell{'s' * (count > 1)} of the grid, searched with {_seeds(plan.search_seeds)} each"
    if not plan.retrain_seeds:
        return f"{searched}; nothing is trained."
    return (
        f"{searched}. Every architecture found was trained from scratch with {_seeds(plan.retrain_seeds)}, and each "
        "trained network was tested once. All of them count; none is chosen."
    )


NOTES = (
    "Test accuracy: mean ± sample standard deviation over n trained networks of so many searches; worst is the lowest "
    "of them. Parameters, multiply-adds and the wall time of a search are means."
)


def verdict(results: SweepResults) -> str:
    """In words: which cells have the highest mean, and by how much more than chance would give it.

    Those of different data sets are not compared with each other.
    """
    said = []
    for data in dict.fromkeys(row.cell.data for row in results.rows):
        standings = []
        for row in results.rows:
            if row.cell.data != data or row.accuracy is None:
                continue
            # Trainings of one architecture are no trials of others: several searches count as one trial each.
            several = row.searches > 1
            spread = row.spread_of_searches if several else row.spread
            standings.append(
                Score(
                    name=_named(row),
                    mean=100 * row.accuracy,
                    spread=None if spread is None else 100 * spread,
                    n=row.searches if several else row.n,
                )
            )
        line = ranking(standings, what="test accuracy", noun="cells of the grid")
        said.append(f"On {data}: {line}" if data else line)
    return " ".join(said)


def format_results(results: SweepResults) -> str:
    """The table for a terminal, below the protocol, and above what it means."""
    plan = results.plan
    table = aligned([head(plan), *(cells_of(row, plan) for row in results.rows)], left=len(plan.columns))
    return "\n".join((protocol(plan), "", *table, "", NOTES, verdict(results), *results.missing))


def _named(row: SweepRow) -> str:
    names = row.cell.names[1:] if row.cell.data else row.cell.names
    return " ".join(names)


def _seeds(seeds: tuple[int, ...]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"{len(seeds)} seeds ({', '.join(map(str, seeds))})"
