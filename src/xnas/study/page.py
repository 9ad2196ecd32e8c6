"""The page of a study: the answer and its protocol, the table, the selection, the searches side by side, the cells.

It is a function of the folder: the same gives the same bytes.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from markupsafe import Markup

from xnas.config.schema import CONFIG
from xnas.report.html import Row, Table, Tile, escape, render
from xnas.report.page import PAGE, inline_pictures
from xnas.runs.finished_files import RunFiles
from xnas.study.figures import study_pictures
from xnas.study.nasbench201.score import BenchmarkedCell
from xnas.study.nasbench201.table import DATA_SETS
from xnas.study.results import CSV, JSON, StudyResults
from xnas.study.spec import FILE
from xnas.study.summary import (
    name_columns,
    notes,
    other_title,
    protocol,
    rows,
    selection_lines,
    tile,
    verdict,
)

MOST_TILES = 6
MOST_NOTES = 20
"""Lines on what is missing; study.json has all of them."""


def write_study(folder: Path, results: StudyResults) -> None:
    """Write study.json, study.csv, report.html and pictures/ into the folder of a study. Raises CannotWrite."""
    files, inlined = inline_pictures(study_pictures(results))
    settings = {name: RunFiles(folder).settings_text(name) or "" for name in (FILE, CONFIG)}
    page = render_study(results, inlined, settings)
    tables = {JSON: results.to_json().encode(), CSV: results.to_csv().encode()}
    RunFiles(folder).write({**tables, **files, PAGE: page.encode()})


def render_study(
    results: StudyResults, pictures: Mapping[str, list[str]], settings: Mapping[str, str]
) -> str:
    """Return the page's HTML. `pictures` are SVG elements by section, `settings` texts by file."""
    head, lines = rows(results)
    kinds = ["random" if summary.part else "" for summary in results.summaries]
    shown = [row for row in results.summaries if not row.part and row.n][:MOST_TILES]
    what = "CIFAR-10" if results.table is not None else "test accuracy"
    missing = list(results.missing)
    if len(missing) > MOST_NOTES:
        missing = [*missing[:MOST_NOTES], f"and {len(missing) - MOST_NOTES:,} more: {JSON} has all of them"]
    return render(
        "study.html",
        name=results.name,
        protocol=protocol(results),
        tiles=[
            Tile(f"{row.title}, {what} (%)", *tile(row), first=not number) for number, row in enumerate(shown)
        ],
        missing=missing,
        verdict=verdict(results),
        results=Table(head, list(map(Row, lines, kinds)), left=range(len(name_columns(results)))),
        columns=notes(results),
        selection=selection_lines(results),
        looked_up=Table(_LOOKED_UP, list(_looked_up(results)), left=(6,)),
        other=other_title(results),
        pictures=defaultdict(list, pictures),
        settings=settings,
    )


_LOOKED_UP = ("search", *DATA_SETS.values(), "rank of 15,625", "skips", "cell")


def _looked_up(results: StudyResults) -> Iterator[Row]:
    """Yield a line for each search, and below it a lesser one where the other derivation gives another cell."""
    for search in results.searches:
        if search.score and (found := search.score.found) and (other := search.score.other):
            yield _cell_row(f"{search.variant.title}, seed {search.seed}", found)
            if other.text != found.text:
                yield _cell_row(other_title(results), other, kind="random")


def _cell_row(title: str, cell: BenchmarkedCell, *, kind: str = "") -> Row:
    accuracies = (f"{getattr(cell.accuracies, key):.2f}" for key in DATA_SETS)
    code = Markup(f"<code>{escape(cell.text).replace('|+|', '|+<wbr>|')}</code>")  # where it may break
    return Row((title, *accuracies, f"{cell.rank:,}", str(cell.skips), code), kind)
