"""The result beside its controls: who is ahead, and whether by more than chance.

Accuracies are of one training each, on one test set. Two kinds of chance are told apart: that of the test images
(the 95 % interval of Wilson) and that of architecture and training (the spread of the random controls).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from xnas.report.stats import standard_deviation, wilson_interval
from xnas.runs.folder import Result, read_controls, read_result
from xnas.space.published import PUBLISHED

Kind = Literal["found", "random mean", "random", "other"]


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """A line of the table: one trained network, or the mean of the random controls."""

    kind: Kind
    name: str
    test_accuracy: float
    """In [0, 1]."""
    interval: tuple[float, float] | None
    """Where the true accuracy lies with 95 % confidence as far as the test images go; None for a mean."""
    spread: float | None
    """Sample standard deviation of the random controls; None for a single network, or fewer than two."""
    count: int
    """n: how many trained networks the line is about."""
    parameters: float
    multiply_adds: float
    epochs: int
    seed: int
    notes: str


def result_table(folder: Path) -> list[ResultRow]:
    """The found network, the random controls' mean, each of them, then other controls. Empty if nothing was tested.

    Raises ValueError, naming the file, if a result is damaged.
    """
    return rows_of(read_result(folder), read_controls(folder))


def rows_of(result: Result | None, controls: Mapping[str, Result]) -> list[ResultRow]:
    """The rows of results that were read already."""
    rows = []
    if result is not None:
        name = "found cell" if result.name == "found" else result.name
        rows.append(_row("found", name, result))
    randoms = {name: control for name, control in controls.items() if _random_seed(name) is not None}
    if randoms:
        ordered = sorted(randoms, key=lambda name: _random_seed(name) or 0)
        rows.append(_mean_row([randoms[name] for name in ordered]))
        rows += [_row("random", name, randoms[name]) for name in ordered]
    rows += [
        _row("other", _other_name(name), control) for name, control in controls.items() if name not in randoms
    ]
    return rows


def format_table(rows: list[ResultRow]) -> str:
    """The table for a terminal, and below it what it says."""
    if not rows:
        return "No network of this run has been trained from scratch and tested yet."
    head = ("", "test accuracy", "95 % interval", "parameters", "mult-adds", "")
    cells = [
        head,
        *(
            (
                ("  " if row.kind == "random" else "") + row.name,
                accuracy_text(row),
                interval_text(row),
                count_text(row.parameters),
                count_text(row.multiply_adds),
                row.notes,
            )
            for row in rows
        ),
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(width) if column in (0, len(head) - 1) else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join((*lines, "", verdict(rows)))


def verdict(rows: list[ResultRow]) -> str:
    """In words: who is ahead, by how much, and whether that is more than chance would do."""
    found = next((row for row in rows if row.kind == "found"), None)
    if found is None:
        return "The cell of this run has not been trained from scratch and tested yet."
    centre = next((row for row in rows if row.kind == "random mean"), None)
    others = [row for row in rows if row.kind == "other"]
    said = [_against_random(found, centre, rows)] if centre else []
    said += [_against_other(found, other) for other in others]
    if said and found.interval is not None:
        said.append(f"The test images alone leave {interval_text(found)} open for it.")
    if not said:
        return "There are no controls to compare with: whether the search helped cannot be said from this run alone."
    compared = [row for row in rows if row.kind in ("found", "random", "other")]
    if len({row.epochs for row in compared}) > 1:
        said.append(
            "The networks were trained for different numbers of epochs, so this comparison is not fair."
        )
    return " ".join(said)


def accuracy_text(row: ResultRow) -> str:
    """Such as "92.35 %", or "91.80 ± 0.42 %" with the spread."""
    return share_text(row.test_accuracy, row.spread)


def share_text(share: float | None, spread: float | None = None) -> str:
    """A share in per cent, such as "92.35 %", with its spread such as "91.80 ± 0.42 %"; nothing for None."""
    if share is None:
        return ""
    behind = "" if spread is None else f" ± {100 * spread:.2f}"
    return f"{100 * share:.2f}{behind} %"


def interval_text(row: ResultRow) -> str:
    """Such as "91.1 to 93.5 %"; empty for a mean."""
    return "" if row.interval is None else "{:.1f} to {:.1f} %".format(*(100 * end for end in row.interval))


def count_text(number: float) -> str:
    """A count to three digits: 950, 84.1 k, 3.79 M, 1.15 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        # 999,950 is 1.00 M, not 1000 k
        if abs(number) >= size * 0.9995:
            value = number / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{number:.0f}"


def _row(kind: Kind, name: str, result: Result) -> ResultRow:
    sampled = result.test_samples > 0
    return ResultRow(
        kind=kind,
        name=name,
        test_accuracy=result.test_accuracy,
        interval=wilson_interval(result.test_accuracy, samples=result.test_samples) if sampled else None,
        spread=None,
        count=1,
        parameters=result.parameters,
        multiply_adds=result.multiply_adds,
        epochs=result.epochs,
        seed=result.seed,
        notes=f"{result.epochs} epochs, seed {result.seed}",
    )


def _other_name(name: str) -> str:
    return f"published {name} cell" if name in PUBLISHED else f"{name} cell"


def _mean_row(results: list[Result]) -> ResultRow:
    accuracies = [result.test_accuracy for result in results]
    spread = standard_deviation(accuracies)
    return ResultRow(
        kind="random mean",
        name="random cells, mean" if spread is None else "random cells, mean ± sd",
        test_accuracy=fmean(accuracies),
        interval=None,
        spread=spread,
        count=len(results),
        parameters=fmean([result.parameters for result in results]),
        multiply_adds=fmean([result.multiply_adds for result in results]),
        epochs=results[0].epochs,
        seed=results[0].seed,
        notes=f"n = {len(results)}",
    )


def _random_seed(name: str) -> int | None:
    found = re.fullmatch(r"random-(\d{1,18})", name)
    return int(found[1]) if found else None


def _against_random(found: ResultRow, centre: ResultRow, rows: list[ResultRow]) -> str:
    controls = [row for row in rows if row.kind == "random"]
    better = sum(row.test_accuracy > found.test_accuracy for row in controls)
    gap = found.test_accuracy - centre.test_accuracy
    many = centre.count > 1
    against = f"the mean of {centre.count} random cells" if many else "the one random cell"
    said = f"{_standing(found.name, gap, against)}"
    if gap == 0:
        return f"{said}."
    if centre.spread is None:
        said += "; one control has no spread to measure that by"
    else:
        size = "more" if abs(gap) > centre.spread else "not more"
        said += f", which is {size} than their spread (sd {100 * centre.spread:.2f})"
    said += f" and {_test_chance(found, centre.test_accuracy)}"
    if many:
        said += f"; {better or 'none'} of the {centre.count} {'is' if better < 2 else 'are'} better than it"
    return f"{said}."


def _against_other(found: ResultRow, other: ResultRow) -> str:
    gap = found.test_accuracy - other.test_accuracy
    said = _standing(found.name, gap, f"the {other.name}")
    return f"{said}." if gap == 0 else f"{said}, {_test_chance(found, other.test_accuracy)}."


def _standing(name: str, gap: float, against: str) -> str:
    subject = f"The {name}" if name == "found cell" else name
    if gap == 0:
        return f"{subject} is level with {against}"
    return f"{subject} is {'ahead of' if gap > 0 else 'behind'} {against} by {100 * abs(gap):.2f} points"


def _test_chance(found: ResultRow, accuracy: float) -> str:
    if found.interval is None:
        return "of unknown weight, as the size of the test set is unknown"
    within = found.interval[0] <= accuracy <= found.interval[1]
    return f"{'within' if within else 'beyond'} its test interval"
