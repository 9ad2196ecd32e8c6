"""The page of a bench: what the methods reach, epoch by epoch too, then the searches' health and the cells found.

It is a function of the folder and the table: the same give the same bytes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from xnas.report.html import answer, escape, figure, folded, pairs, section, table
from xnas.report.page import PAGE, document, inline_pictures
from xnas.runs.finished_files import RunFiles
from xnas.study.nasbench201.figures import bench_pictures
from xnas.study.nasbench201.json_form import JSON, bench_json
from xnas.study.nasbench201.score import Bench, BenchmarkedCell, BenchRun, read_bench
from xnas.study.nasbench201.summary import head, line, notes, other_title, protocol, verdict
from xnas.study.nasbench201.table import DATA_SETS, Nasbench201Table

MOST_TILES = 6


def write_bench(
    folder: Path, accuracies: Nasbench201Table, *, failures: Mapping[str, str] | None = None
) -> Path:
    """Write bench.json, report.html and pictures/ into the folder of a bench; returns the page's path.

    `failures` say of runs, by their folders' names, why they have no result. Raises ValueError, in one line that names
    the file, if something in the folder is damaged, and CannotWrite.
    """
    bench = read_bench(folder, accuracies, failures=failures)
    files, inlined = inline_pictures(bench_pictures(bench))
    settings = RunFiles(folder).settings_text("config.toml") or ""
    page = render(bench, inlined, settings)
    RunFiles(folder).write({JSON: bench_json(bench).encode(), **files, PAGE: page.encode()})
    return folder / PAGE


def render(bench: Bench, pictures: Mapping[str, list[str]], settings: str) -> str:
    """The page's HTML. `pictures` are SVG elements by section."""
    oracle = "".join(map(figure, pictures.get("first", []))) + pairs(pictures.get("others", []))
    health = pairs(pictures.get("health", []))
    parts = (
        _header(bench),
        section("Results", _results(bench)),
        section("What was found when", oracle and _lesser(_ORACLE_NOTE) + oracle),
        section("The searches", health and _lesser(_HEALTH_NOTE) + health),
        section("Cells found", _cells(bench)),
        section("Settings of all searches", folded("config.toml", settings)),
    )
    return document(bench.name, parts)


_ORACLE_NOTE = (
    "Test accuracy, by the table, of the cell that would have been derived at the end of each epoch. Lines are means "
    "over an method's seeds, bands reach from the lowest to the highest; the dotted line is the table's optimum. "
    "The scale is logarithmic in the distance to it. What is drawn at random has no epochs and stands at the end."
)
_HEALTH_NOTE = "Lines are means over an method's seeds; bands reach from the lowest to the highest run."


def _header(bench: Bench) -> str:
    tiles = []
    for number, entry in enumerate(bench.entries[:MOST_TILES]):
        if found := entry.by_none.get(bench.choose_none):
            summary = found["cifar10"]
            spread = "" if summary.spread is None else f"± {summary.spread:.2f}, "
            detail = f"{spread}worst {summary.worst:.2f}, n = {summary.n}"
            kind = "" if number else "first"
            tiles.append((kind, f"{entry.method}, CIFAR-10 (%)", f"{summary.mean:.2f}", detail))
    missing = "".join(f'<p class="note">{escape(said)}</p>\n' for said in bench.missing)
    seeds = ", ".join(map(str, bench.plan.seeds))
    return (
        f"<header>\n<h1>{escape(bench.name)}</h1>\n"
        f'<p class="lesser">NAS-Bench-201, {len(bench.plan.methods)} methods, seeds {escape(seeds)}</p>\n'
        f'{answer(tiles)}{missing}<p class="verdict">{escape(verdict(bench))}</p>\n{_lesser(protocol(bench))}</header>'
    )


def _results(bench: Bench) -> str:
    lines = [("", tuple(map(escape, line(bench, entry)))) for entry in bench.entries]
    return table(tuple(map(escape, head(bench))), lines) + _lesser(notes(bench))


def _cells(bench: Bench) -> str:
    """A line for each search, and below it a lesser one where the other derivation gives another cell."""
    lines = [row for run in bench.runs if run.found for row in _cell_lines(bench, run)]
    if not lines:
        return ""
    columns = ("search", *DATA_SETS.values(), "place of 15,625", "skips", "cell")
    note = f"In lesser print: {other_title(bench)}, where the same search then gives another cell."
    return table(columns, lines, left=(6,)) + _lesser(note)


def _cell_lines(bench: Bench, run: BenchRun) -> Iterator[tuple[str, tuple[str, ...]]]:
    found, other = run.found[bench.choose_none], run.found[not bench.choose_none]
    yield "", _cell_line(f"{run.method}, seed {run.seed}", found)
    if other.text != found.text:
        yield "random", _cell_line(other_title(bench), other)


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
