"""Reports that draw nothing: pictures take four fifths of a small run, and tests of runs look at none.

What is drawn, and that it is the same every time, is tested with the reports.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from xnas.report import page
from xnas.report.figures.run import Picture
from xnas.study import page as study_page


def draw_blank(replace: Callable[[object, str, object], None] = setattr) -> None:
    """From now on reports in this process have one picture, which is blank."""
    for module in (page, study_page):
        replace(module, "inline_pictures", _blank)


def _blank(pictures: Iterable[Picture]) -> tuple[dict[str, bytes], dict[str, list[str]]]:
    del pictures  # a generator, which draws as it is read
    files = {"pictures/cell-normal.svg": b"<svg></svg>", "pictures/cell-normal.png": b"PNG"}
    return files, defaultdict(list, cells=["<svg></svg>"])
