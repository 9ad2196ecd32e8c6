"""The page of an experiment: the answer and its protocol, the table, every training's accuracy, the choice, the cells.

It is a function of the folder and the plan: the same give the same bytes.
"""

from collections.abc import Mapping
from pathlib import Path

from xnas.report.html import answer, escape, figure, folded, pairs, section, table
from xnas.report.page import PAGE, document, inline_pictures
from xnas.runs.finished_files import RunFiles
from xnas.study.experiment.figures import experiment_pictures
from xnas.study.experiment.plan import ExperimentSpec
from xnas.study.experiment.results import JSON, ExperimentResults, read_results
from xnas.study.experiment.summary import HEAD, cells_of, notes, protocol, selection_lines, verdict

MOST_TILES = 6
SETTINGS = ("experiment.toml", "config.toml")


def write_experiment(
    folder: Path, plan: ExperimentSpec, *, failures: Mapping[str, str] | None = None
) -> Path:
    """Write experiment.json, report.html and pictures/ into the folder of an experiment; returns the page's path.

    `failures` say of tasks, by their folders' names, why they have no result. Raises ValueError, in one line that
    names the file, if something in the folder is damaged, and CannotWrite.
    """
    results = read_results(folder, plan, failures=failures)
    files, inlined = inline_pictures(experiment_pictures(results))
    settings = {name: RunFiles(folder).settings_text(name) or "" for name in SETTINGS}
    page = render(results, inlined, settings)
    RunFiles(folder).write({JSON: results.to_json().encode(), **files, PAGE: page.encode()})
    return folder / PAGE


def render(results: ExperimentResults, pictures: Mapping[str, list[str]], settings: Mapping[str, str]) -> str:
    """The page's HTML. `pictures` are SVG elements by section."""
    parts = (
        _header(results),
        section("ExperimentResults", _table(results) + "".join(map(figure, pictures.get("accuracy", [])))),
        section("How the cell was selected", _selection(results, pictures.get("selection", []))),
        section("Cells found", pairs(pictures.get("cells", []))),
        section("Settings", "".join(folded(name, text) for name, text in settings.items())),
    )
    return document(results.name, parts)


def _header(results: ExperimentResults) -> str:
    shown = [row for row in results.whole_kinds if row.accuracy is not None][:MOST_TILES]
    tiles = []
    for number, row in enumerate(shown):
        assert row.accuracy is not None
        assert row.worst is not None
        spread = "" if row.spread is None else f"± {100 * row.spread:.2f}, "
        detail = f"{spread}worst {100 * row.worst:.2f}, n = {row.n}"
        tiles.append(
            (
                "" if number else "first",
                f"{row.title}, test accuracy (%)",
                f"{100 * row.accuracy:.2f}",
                detail,
            )
        )
    missing = "".join(f'<p class="note">{escape(line)}</p>\n' for line in results.missing)
    return (
        f"<header>\n<h1>{escape(results.name)}</h1>\n{_lesser(protocol(results.plan))}\n"
        f'{answer(tiles)}{missing}<p class="verdict">{escape(verdict(results))}</p>\n</header>'
    )


def _table(results: ExperimentResults) -> str:
    whole = results.whole_kinds
    lines = [("" if row in whole else "random", tuple(map(escape, cells_of(row)))) for row in results.rows]
    return table(HEAD, lines) + _lesser(notes(results))


def _selection(results: ExperimentResults, pictures: list[str]) -> str:
    return "".join(map(_lesser, selection_lines(results))) + "".join(map(figure, pictures))


def _lesser(text: str) -> str:
    return f'<p class="lesser">{escape(text)}</p>'
