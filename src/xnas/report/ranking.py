"""Who is ahead among several, such as methods or cells, and by how much more than chance would give it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Score:
    """The mean of one's results, in per cent; their sample standard deviation, None for fewer than two; n."""

    name: str
    mean: float
    spread: float | None
    n: int


def ranking(scores: Iterable[Score], *, what: str, noun: str = "methods") -> str:
    """In words: who has the highest mean of `what`, and by how much more than chance would give it.

    Means that are equal to the two decimals shown share the first place.
    """
    ranked = sorted(scores, key=lambda score: -score.mean)
    if len(ranked) < 2:
        return f"Fewer than two {noun} have a result: there is nothing to compare yet."
    first = ranked[0]
    level = [score for score in ranked if f"{first.mean - score.mean:.2f}" == "0.00"]
    said = []
    for other in ranked[len(level) :]:
        error = ""
        if first.spread is not None and other.spread is not None:
            error = f" ± {(first.spread**2 / first.n + other.spread**2 / other.n) ** 0.5:.2f}"
        said.append(f"{first.mean - other.mean:.2f}{error} points more than {other.name}")
    line = f"{first.name} has the highest mean {what}"
    if len(level) > 1:
        names = f"{', '.join(score.name for score in level[:-1])} and {level[-1].name}"
        line = f"{names} share the highest mean {what}"
    line += f": {', '.join(said)}." if said else "."
    if any("±" in part for part in said):
        line += (
            " Behind ± stands the standard error of the difference; with so few seeds, one of less than three of them "
            "may well be chance."
        )
    return line


def aligned(lines: Iterable[tuple[str, ...]], *, left: int = 1) -> list[str]:
    """A table's lines for a terminal: the first `left` columns to the left, numbers to the right."""
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if column < left else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
