"""The report of a run: one HTML page that needs nothing else, and its pictures as files.

It is a function of the run folder: the same folder gives the same bytes. Whatever a run does not have yet is left out.
"""

from collections.abc import Iterable
from pathlib import Path

from xnas.report import sections as health_sections
from xnas.report import sections as sections
from xnas.report.figures.run import Picture, pictures_of
from xnas.report.figures.style import inline_svg, png_bytes, svg_bytes
from xnas.report.html import STYLE, escape
from xnas.report.results_table import rows_of
from xnas.runs.finished_files import RunFiles
from xnas.runs.folder import RunRecord

PAGE, PICTURES = "report.html", "pictures"


def write_report(folder: Path) -> Path:
    """Write report.html and pictures/ into the run folder, and return the page's path.

    Raises ValueError, in one line that names the file, if something in the folder is damaged or cannot be written.
    """
    run = RunRecord.read(folder)
    files, inlined = inline_pictures(pictures_of(run))
    RunFiles(folder).write({**files, PAGE: render_page(run, inlined).encode("utf-8")})
    return folder / PAGE


def inline_pictures(pictures: Iterable[Picture]) -> tuple[dict[str, bytes], dict[str, list[str]]]:
    """Pictures as SVG and PNG files of pictures/, by name, and as elements of a page, by section."""
    files: dict[str, bytes] = {}
    inlined: dict[str, list[str]] = {}
    for picture in pictures:
        svg = svg_bytes(picture.figure, name=picture.name)
        files[f"{PICTURES}/{picture.name}.svg"] = svg
        files[f"{PICTURES}/{picture.name}.png"] = png_bytes(picture.figure)
        html = inline_svg(svg, name=picture.name, description=escape(picture.description))
        inlined.setdefault(picture.section, []).append(html)
    return files, inlined


def render_page(run: RunRecord, pictures: dict[str, list[str]]) -> str:
    """The page's HTML. `pictures` are SVG elements by section."""
    rows = rows_of(run.result, run.controls)
    parts = (
        sections.header(run, rows),
        sections.cells(run.genotype, pictures.get("cells", [])),
        sections.results(rows),
        sections.curves(pictures.get("curves", [])),
        sections.experts(run, pictures.get("experts", []), pictures.get("survivors", [])),
        health_sections.promise(run, pictures.get("regret", []), pictures.get("promise", [])),
        health_sections.health(run, pictures.get("health", [])),
        sections.groups(run),
        sections.particulars(run),
    )
    return document(run.name, parts)


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page of the parts that are not empty."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}: xnas</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )
