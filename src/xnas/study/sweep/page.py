"""The page of a sweep: the answer, a line for each cell of the grid, every training's accuracy, and the settings.

It is a function of the folder and the plan: the same give the same bytes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from xnas.report.figures.dots import PointRow, draw_points
from xnas.report.figures.run import Picture
from xnas.report.html import escape, figure, folded, section, table
from xnas.report.page import PAGE, document, inline_pictures
from xnas.runs.finished_files import RunFiles
from xnas.study.comparison.figures import method_colours
from xnas.study.sweep.plan import SweepSpec
from xnas.study.sweep.results import CSV, JSON, SweepResults, read_results
from xnas.study.sweep.summary import NOTES, cells_of, head, protocol, verdict

SETTINGS = ("sweep.toml", "config.toml")
MOST_ROWS = 40
"""Cells of the grid in one picture."""
MOST_NOTES = 20
"""Lines on what is missing; sweep.json has all of them."""


def write_sweep(folder: Path, plan: SweepSpec, *, failures: Mapping[str, str] | None = None) -> Path:
    """Write sweep.json, sweep.csv, report.html and pictures/ into the folder of a sweep; returns the page's path.

    `failures` say of tasks, by their folders' names, why they have no result. Raises ValueError, in one line that
    names the file, if something in the folder is damaged, and CannotWrite.
    """
    results = read_results(folder, plan, failures=failures)
    tables = {JSON: results.to_json().encode(), CSV: results.to_csv().encode()}
    files, inlined = inline_pictures(sweep_pictures(results))
    settings = {name: RunFiles(folder).settings_text(name) or "" for name in SETTINGS}
    RunFiles(folder).write({**tables, **files, PAGE: render(results, inlined, settings).encode()})
    return folder / PAGE


def sweep_pictures(results: SweepResults) -> Iterator[Picture]:
    """Every training's accuracy, in a picture for each data set: their accuracies share no scale."""
    colours = method_colours(list(dict.fromkeys(row.cell.method for row in results.rows)))
    for number, data in enumerate(dict.fromkeys(row.cell.data for row in results.rows), start=1):
        rows = [row for row in results.rows if row.cell.data == data and row.n]
        points = [
            PointRow(
                label=" ".join(row.cell.names[bool(data) :]),
                values=tuple(row.accuracies),
                colour=colours[row.cell.method],
            )
            for row in rows[:MOST_ROWS]
        ]
        if points:
            of = f" of {data}" if data else ""
            first = f"The first {MOST_ROWS} cells of the grid: t" if len(rows) > MOST_ROWS else "T"
            yield Picture(
                f"test-accuracy-{number}",
                "accuracy",
                f"Test accuracy{of} of every training, a row for each cell of the grid, mean and standard deviation",
                draw_points(
                    points,
                    title=f"{first}est accuracy{of}, a dot for each training, mean ± standard deviation",
                    spread=True,
                ),
            )


def render(results: SweepResults, pictures: Mapping[str, list[str]], settings: Mapping[str, str]) -> str:
    """The page's HTML. `pictures` are SVG elements by section."""
    plan = results.plan
    lines = [("", tuple(map(escape, cells_of(row, plan)))) for row in results.rows]
    left = tuple(range(len(plan.columns)))
    body = table(head(plan), lines, left=left) + f'<p class="lesser">{escape(NOTES)}</p>'
    parts = (
        _header(results),
        section("SweepResults", body + "".join(map(figure, pictures.get("accuracy", [])))),
        section("Settings", "".join(folded(name, text) for name, text in settings.items())),
    )
    return document(results.name, parts)


def _header(results: SweepResults) -> str:
    missing = list(results.missing)
    if len(missing) > MOST_NOTES:
        missing = [*missing[:MOST_NOTES], f"and {len(missing) - MOST_NOTES:,} more: {JSON} has all of them"]
    notes = "".join(f'<p class="note">{escape(line)}</p>\n' for line in missing)
    return (
        f'<header>\n<h1>{escape(results.name)}</h1>\n<p class="lesser">{escape(protocol(results.plan))}</p>\n{notes}'
        f'<p class="verdict">{escape(verdict(results))}</p>\n</header>'
    )
