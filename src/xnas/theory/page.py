"""What a demonstration leaves on the disk: its picture, as SVG and PNG, its numbers, and one page for all of them."""

import io
import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from xnas.io.atomic import atomic_write
from xnas.report.figures.style import inline_svg, png_bytes, svg_bytes
from xnas.report.html import Row, Table, render
from xnas.theory.demonstration import Demonstration, Numbers

PAGE = "index.html"
FORMAT, VERSION = "xnas-theory", 1
_PACKAGES = ("xnas", "torch")
_COLOURS = 96
"""Of a PNG: lines and text need no more, and the file is a third as large."""


def write_demonstration(folder: Path, demonstration: Demonstration, numbers: Numbers) -> list[Path]:
    """Write NAME.svg, NAME.png and NAME.json. Raises CannotWrite if the disk takes them not."""
    drawn = demonstration.draw(numbers)
    files = {
        "svg": svg_bytes(drawn, name=demonstration.name),
        "png": _small_png(drawn),
        "json": to_json(demonstration.name, numbers).encode("utf-8"),
    }
    paths = []
    for suffix, content in files.items():
        path = folder / f"{demonstration.name}.{suffix}"
        atomic_write(path, content)
        paths.append(path)
    return paths


def to_json(name: str, numbers: Numbers) -> str:
    """The numbers with what made them, as JSON."""
    versions = {package: metadata.version(package) for package in _PACKAGES}
    head = {"format": FORMAT, "version": VERSION, "name": name, "versions": versions}
    text = json.dumps({**head, **numbers}, indent=1)
    # A list of numbers in one line.
    return (
        re.sub(r"\[\s+([-+.\deE,\s]|null)+\]", lambda found: f"[{' '.join(found[0][1:-1].split())}]", text)
        + "\n"
    )


def write_page(folder: Path, found: Mapping[str, tuple[Demonstration, Numbers]]) -> Path:
    """Write index.html, which needs nothing else: every picture with its text and its table."""
    path = folder / PAGE
    atomic_write(path, render_page(found).encode("utf-8"))
    return path


def render_page(found: Mapping[str, tuple[Demonstration, Numbers]]) -> str:
    """The page's HTML."""
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in _PACKAGES)
    return render("theory.html", versions=versions, parts=[_part(*each) for each in found.values()])


def _part(demonstration: Demonstration, numbers: Numbers) -> dict[str, Any]:
    """What the template shows of a demonstration."""
    svg = svg_bytes(demonstration.draw(numbers), name=demonstration.name)
    head, rows = demonstration.table(numbers)
    times = "" if demonstration.seeds is None else f" n = {numbers['n']}."
    return {
        "name": demonstration.name,
        "title": demonstration.title,
        "claim": demonstration.claim,
        "setting": demonstration.setting + times,
        "to_see": demonstration.to_see,
        "picture": inline_svg(svg, name=demonstration.name, description=demonstration.to_see),
        "table": Table(head, [Row(row) for row in rows], left=(1,)),
        "settings": json.dumps(numbers["settings"], indent=1),
    }


def _small_png(drawn: Figure) -> bytes:
    picture = Image.open(io.BytesIO(png_bytes(drawn))).convert("RGB")
    few = picture.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    few.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
