"""Results as files: one JSON file for each benchmark, and a table of them all.

A file says what was measured where: figures with all their values, hardware, threads, versions, date and command.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, shown
from xnas.io.atomic import atomic_write

TABLE = "README.md"
BUSY = 0.2
"""Cores kept busy by other work from which on a run says so."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The figures of one benchmark, and what they were measured on."""

    benchmark: str
    about: str
    """One line."""
    figures: tuple[Figure, ...]
    date: str
    command: str
    small: bool
    """Whether the sizes were too small for the figures to mean anything."""
    busy_cores: float
    """Cores that other work kept busy when it began."""
    environment: Mapping[str, Any]
    """As a run folder's environment.json."""

    @property
    def machine(self) -> str:
        """Hardware, threads and versions."""
        where = self.environment
        return (
            f"{where['device_name']}, {where['cores']} cores, {where['threads']} threads, "
            f"torch {where['versions']['torch']}, xnas {where['commit'] or where['versions']['xnas']}"
        )


def write_result(result: Result, folder: Path) -> Path:
    """Put a result into its file, and all results of the folder into its table."""
    figures = [
        {
            "name": figure.name,
            "median": figure.value,
            "unit": figure.unit,
            "spread": figure.spread,
            "by_processor": figure.by_processor,
            "worst": figure.worst,
            "n": figure.n,
            "better": figure.better,
            "target": figure.target,
            "met": figure.met,
            "values": figure.values,
            "processor_values": figure.processor,
        }
        for figure in result.figures
    ]
    path = folder / f"{result.benchmark}.json"
    content = {**vars(result), "environment": dict(result.environment), "figures": figures}
    atomic_write(path, (json.dumps(content, indent=2) + "\n").encode())
    atomic_write(folder / TABLE, table(read_results(folder)).encode())
    return path


def read_results(folder: Path) -> list[Result]:
    """All results of a folder, by name. Raises ValueError for a file that is none."""
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def _read(path: Path) -> Result:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        figures = tuple(
            Figure(
                name=given["name"],
                values=tuple(given["values"]),
                processor=tuple(given["processor_values"]),
                unit=given["unit"],
                better=given["better"],
                target=given["target"],
            )
            for given in content.pop("figures")
        )
        return Result(**content, figures=figures)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no benchmark's result ({error}); remove it or measure again") from error


def table(results: Iterable[Result]) -> str:
    """Those figures that have targets, all others, and beneath them what each was measured on."""
    results = list(results)
    rows = [(figure, number) for number, result in enumerate(results, start=1) for figure in result.figures]
    lines = [
        "# Results of `make bench`",
        "",
        "Made from the JSON files beside it. A figure is the median of n; its spread is the distance between the "
        "quartiles. What is divided was measured in turn, in one run. Processor time is that of all threads.",
        "",
        "## Targets",
        "",
        "| figure | median | of | spread | worst | by processor time | n | target | run |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(figure, number, verdict=True) for figure, number in rows if figure.met is not None),
        "",
        "## Other figures",
        "",
        "| figure | median | of | spread | worst | by processor time | n | run |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(figure, number, verdict=False) for figure, number in rows if figure.met is None),
        "",
        "## Runs",
        "",
    ]
    for number, result in enumerate(results, start=1):
        small = " **At the smallest sizes: the figures mean nothing.**" if result.small else ""
        busy = f" Other work kept {result.busy_cores:.1f} cores busy." if result.busy_cores >= BUSY else ""
        lines.append(
            f"{number}. `{result.benchmark}`: {result.about} {result.date}, {result.machine}; `{result.command}`."
            f"{busy}{small}"
        )
    return "\n".join(lines) + "\n"


def _row(figure: Figure, run: int, *, verdict: bool) -> str:
    def cell(value: float | None) -> str:
        return "" if value is None else shown(value)

    cells = [
        figure.name,
        shown(figure.value),
        figure.unit,
        cell(figure.spread),
        shown(figure.worst),
        cell(figure.by_processor),
        str(figure.n),
        *([f"{figure.wanted}, {'met' if figure.met else '**missed**'}"] if verdict else []),
        str(run),
    ]
    return f"| {' | '.join(cells)} |"
