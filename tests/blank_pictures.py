"""Reports whose pictures are blank: pictures take four fifths of a small run, and tests of runs look at none.

What is drawn, and that it is the same every time, is tested with the reports.
"""

from collections.abc import Callable, Iterator

from matplotlib.figure import Figure

from xnas.report import page
from xnas.report.figures.run import Picture
from xnas.runs.folder import RunRecord

Replace = Callable[[object, str, object], None]
SVG = b'<svg width="9pt" height="9pt" viewBox="0 0 9 9"></svg>'


def blank_pictures_of(run: RunRecord) -> Iterator[Picture]:
    del run
    yield Picture("cell-normal", "cells", "A blank picture", Figure())


def blank_svg(figure: Figure, *, name: str) -> bytes:
    del figure, name
    return SVG


def blank_png(figure: Figure) -> bytes:
    del figure
    return b"PNG"


def write_blank(replace: Replace = setattr) -> None:
    """From now on reports in this process draw their pictures, and write blank ones."""
    replace(page, "svg_bytes", blank_svg)
    replace(page, "png_bytes", blank_png)


def draw_blank(replace: Replace = setattr) -> None:
    """From now on reports in this process draw nothing, either."""
    write_blank(replace)
    draw_blank_runs(replace)


def draw_blank_runs(replace: Replace = setattr) -> None:
    """From now on reports of runs in this process draw an empty picture; reports of many runs draw all of theirs."""
    replace(page, "pictures_of", blank_pictures_of)
