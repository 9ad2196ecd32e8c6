"""The report of a run: one HTML page that needs nothing else, and its pictures as files.

It is a function of the run folder: the same folder gives the same bytes. Whatever a run does not have yet is left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from xnas.report.figures.run import Picture, pictures_of
from xnas.report.figures.style import inline_svg, png_bytes, svg_bytes
from xnas.report.html import render
from xnas.report.sections import run_values
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
    inlined: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        svg = svg_bytes(picture.figure, name=picture.name)
        files[f"{PICTURES}/{picture.name}.svg"] = svg
        files[f"{PICTURES}/{picture.name}.png"] = png_bytes(picture.figure)
        html = inline_svg(svg, name=picture.name, description=picture.description)
        inlined[picture.section].append(html)
    return files, inlined


def render_page(run: RunRecord, pictures: Mapping[str, list[str]]) -> str:
    """The page's HTML. `pictures` are SVG elements by section."""
    return render("run.html", pictures=pictures, **run_values(run))
