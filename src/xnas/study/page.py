"""The page of a study: the answer and its protocol, the table, the selection, the searches side by side, the cells.

It is a function of the folder: the same gives the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from xnas.config.schema import CONFIG
from xnas.report.html import answer, escape, figure, folded, pairs, section, table
from xnas.report.page import PAGE, document, inline_pictures
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

_ORACLE_NOTE = (
    "Test accuracy, by the table, of the cell that would have been derived at the end of each epoch. Lines are means "
    "over a method's seeds, bands reach from the lowest to the highest; the dotted line is the table's optimum. "
    "The scale is logarithmic in the distance to it. What is drawn at random has no epochs and stands at the end."
)
_CURVES_NOTE = "Lines are means over a method's seeds; bands reach from the lowest to the highest search."


def write_study(folder: Path, results: StudyResults) -> None:
    """Write study.json, study.csv, report.html and pictures/ into the folder of a study. Raises CannotWrite."""
    files, inlined = inline_pictures(study_pictures(results))
    settings = {name: RunFiles(folder).settings_text(name) or "" for name in (FILE, CONFIG)}
    page = render_study(results, inlined, settings)
    tables = {JSON: results.to_json().encode(), CSV: results.to_csv().encode()}
    RunFiles(folder).write({**tables, **files, PAGE: page.encode()})


def render_study(
    results: StudyResults, pictures: Mapping[str, Sequence[str]], settings: Mapping[str, str]
) -> str:
    """Return the page's HTML. `pictures` are SVG elements by section, `settings` texts by file."""
    found = {
        name: pictures.get(name, ())
        for name in ("accuracy", "selection", "first", "others", "curves", "cells")
    }
    selection = "".join(map(_lesser, selection_lines(results))) + "".join(map(figure, found["selection"]))
    oracle = "".join(map(figure, found["first"])) + pairs(found["others"])
    curves = pairs(found["curves"])
    parts = (
        _header(results),
        section("Results", _table(results) + "".join(map(figure, found["accuracy"]))),
        section("How the cell was selected", selection),
        section("What was found when", oracle and _lesser(_ORACLE_NOTE) + oracle),
        section("The searches", curves and _lesser(_CURVES_NOTE) + curves),
        section("Cells found", pairs(found["cells"]) if results.table is None else _looked_up(results)),
        section("Settings", "".join(folded(name, text) for name, text in settings.items())),
    )
    return document(results.name, parts)


def _header(results: StudyResults) -> str:
    what = "CIFAR-10" if results.table is not None else "test accuracy"
    shown = [row for row in results.summaries if not row.part and row.n][:MOST_TILES]
    tiles = [
        ("" if number else "first", f"{row.title}, {what} (%)", *tile(row))
        for number, row in enumerate(shown)
    ]
    missing = list(results.missing)
    if len(missing) > MOST_NOTES:
        missing = [*missing[:MOST_NOTES], f"and {len(missing) - MOST_NOTES:,} more: {JSON} has all of them"]
    said = "".join(f'<p class="note">{escape(line)}</p>\n' for line in missing)
    return (
        f"<header>\n<h1>{escape(results.name)}</h1>\n{_lesser(protocol(results))}\n"
        f'{answer(tiles)}{said}<p class="verdict">{escape(verdict(results))}</p>\n</header>'
    )


def _table(results: StudyResults) -> str:
    head, lines = rows(results)
    styled = [
        ("random" if summary.part else "", tuple(map(escape, line)))
        for summary, line in zip(results.summaries, lines, strict=True)
    ]
    left = tuple(range(len(name_columns(results))))
    return table(tuple(map(escape, head)), styled, left=left) + _lesser(notes(results))


def _looked_up(results: StudyResults) -> str:
    """Return a line for each search, and below it a lesser one where the other derivation gives another cell."""
    lines: list[tuple[str, tuple[str, ...]]] = []
    for search in results.searches:
        if search.score and (found := search.score.found) and (other := search.score.other):
            lines.append(("", _cell_line(f"{search.variant.title}, seed {search.seed}", found)))
            if other.text != found.text:
                lines.append(("random", _cell_line(other_title(results), other)))
    if not lines:
        return ""
    columns = ("search", *DATA_SETS.values(), "rank of 15,625", "skips", "cell")
    note = f"In lesser print: {other_title(results)}, where the same search then gives another cell."
    return table(columns, lines, left=(6,)) + _lesser(note)


def _cell_line(title: str, cell: BenchmarkedCell) -> tuple[str, ...]:
    return (
        escape(title),
        *(f"{getattr(cell.accuracies, key):.2f}" for key in DATA_SETS),
        f"{cell.rank:,}",
        str(cell.skips),
        f"<code>{escape(cell.text).replace('|+|', '|+<wbr>|')}</code>",
    )


def _lesser(text: str) -> str:
    return f'<p class="lesser">{escape(text)}</p>'
