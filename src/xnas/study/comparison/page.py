"""The page of a comparison: the table first, then every run's accuracy, the searches side by side, and the cells found.

It is a function of the folder, as a run's report is: the same folder gives the same bytes.
"""

from collections.abc import Mapping
from pathlib import Path

from xnas.report.html import escape, figure, folded, section, table
from xnas.report.page import PAGE, document, inline_pictures
from xnas.runs.finished_files import RunFiles
from xnas.study.comparison.figures import comparison_pictures
from xnas.study.comparison.results import HEAD, JSON, Comparison, cells_of, read_comparison, verdict


def write_comparison(folder: Path, *, failures: Mapping[str, str] | None = None) -> Path:
    """Write comparison.json, report.html and pictures/ into the folder of a comparison; returns the page's path.

    `failures` say of runs, by their folders' names, why they have no result. Raises ValueError, in one line that names
    the file, if something in the folder is damaged, and CannotWrite.
    """
    comparison = read_comparison(folder, failures=failures)
    files, inlined = inline_pictures(comparison_pictures(comparison))
    settings = RunFiles(folder).settings_text("config.toml")
    page = render(comparison, inlined, settings)
    RunFiles(folder).write({JSON: comparison.to_json().encode(), **files, PAGE: page.encode()})
    return folder / PAGE


def render(comparison: Comparison, pictures: Mapping[str, list[str]], settings: str | None) -> str:
    """The page's HTML. `pictures` are SVG elements by section."""
    parts = (
        _header(comparison),
        section("Results", _table(comparison) + "".join(map(figure, pictures.get("accuracy", [])))),
        section("The searches", _pair(pictures.get("curves", []), _CURVES_NOTE)),
        section("Cells found", _pair(pictures.get("cells", []), _CELLS_NOTE)),
        section("Settings of all runs", folded("config.toml", settings) if settings else ""),
    )
    return document(comparison.name, parts)


_CURVES_NOTE = "Lines are means over an method's seeds; bands reach from the lowest to the highest run."
_CELLS_NOTE = "Those of each method's first seed; the folders of the runs hold all of them."


def _header(comparison: Comparison) -> str:
    seeds = ", ".join(map(str, comparison.seeds))
    lesser = (
        f"{len(comparison.methods)} methods, seeds {seeds}: one supernet, the same batches, retrained alike"
    )
    notes = "".join(f'<p class="note">{escape(line)}</p>\n' for line in comparison.missing)
    return (
        f'<header>\n<h1>{escape(comparison.name)}</h1>\n<p class="lesser">{escape(lesser)}</p>\n{notes}'
        f'<p class="verdict">{escape(verdict(comparison))}</p>\n</header>'
    )


def _table(comparison: Comparison) -> str:
    lines = [("", tuple(map(escape, cells_of(entry)))) for entry in comparison.entries]
    note = (
        '<p class="lesser">Mean ± sample standard deviation over n seeds, each network trained once from scratch and '
        "tested once; worst is the lowest seed's. Rounds, wall time and the most memory that the process held are of "
        "the search, means over the seeds; memory is that of the process that ended the search, and where the system "
        "cannot forget an earlier peak (not Linux, not CUDA) of all that it did before.</p>"
    )
    return table(HEAD, lines) + note


def _pair(pictures: list[str], note: str) -> str:
    if not pictures:
        return ""
    return f'<p class="lesser">{escape(note)}</p><div class="pair">{"".join(map(figure, pictures))}</div>'
