"""What every demonstration offers: numbers, a picture of them, a table, and words about what is seen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

Numbers = dict[str, Any]
"""What a demonstration found, as JSON has it: settings, n, and results."""

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Head and rows."""

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

DIGITS = 6
"""Of numbers that are kept: the last bits of a sum differ from machine to machine."""


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One claim of the paper, played out."""

    name: str
    title: str
    claim: str
    """What the paper says, and where."""
    setting: str
    """What is played."""
    to_see: str
    """What the picture shows, whatever the claim."""
    seeds: int | None
    """How many are played unless told otherwise; None: nothing is drawn by chance."""
    play: Callable[[int], Numbers]
    """The numbers of so many seeds."""
    draw: Callable[[Numbers], Figure]
    table: Callable[[Numbers], Table]


def rounded(numbers: Numbers) -> Numbers:
    """Numbers as they are kept: floats of six digits, None for what is not finite, lists in place of tuples."""
    return {key: _rounded(value) for key, value in numbers.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return rounded(value)
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def table_lines(table: Table) -> list[str]:
    """The table as text: the first column to the left, the others to the right."""
    head, rows = table
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return [
        "  ".join(
            f"{cell:<{width}}" if column == 0 else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def markdown_table(table: Table) -> str:
    """The same as Markdown."""
    head, rows = table
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, marks, *rows))


def share_text(share: float | None) -> str:
    """Such as 93 %."""
    return "never" if share is None else f"{100 * share:.3g} %"


def power(value: float) -> str:
    """A number in words: small powers of ten as such, others as they are."""
    exponent = round(math.log10(value)) if value > 0 else 0
    if exponent < -2 and abs(value / 10**exponent - 1) < 1e-6:
        return f"10{str(exponent).translate(_RAISED)}"
    return f"{value:g}"
