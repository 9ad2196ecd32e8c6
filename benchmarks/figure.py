"""What a benchmark finds: a number that was measured n times, what it is wanted to be, and how the two compare."""

import statistics
from dataclasses import dataclass
from typing import Literal

Better = Literal["more", "less"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure. Raises ValueError without values."""

    name: str
    values: tuple[float, ...]
    """Of every repetition; of a ratio, the ratios of neighbours in time."""
    processor: tuple[float, ...] = ()
    """The same by the work of the processor instead of the clock; empty for what is no time."""
    unit: str
    """Of the values: for a ratio what is divided by what, as "plain / fast"."""
    better: Better | None = None
    """Which way is better; None where it is neither."""
    target: float | None = None
    """The least that is wanted, or the most where less is better."""

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"the figure {self.name!r} has no values; measure it at least once")
        if self.target is not None and self.better is None:
            raise ValueError(f"the figure {self.name!r} has a target; say whether more or less is better")

    @property
    def n(self) -> int:
        """Repetitions."""
        return len(self.values)

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float | None:
        """Between the quartiles; None for a single value."""
        if self.n < 2:
            return None
        lower, _, upper = statistics.quantiles(self.values, n=4, method="inclusive")
        return upper - lower

    @property
    def by_processor(self) -> float | None:
        """The median by the work of the processor; None for what is no time."""
        return statistics.median(self.processor) if self.processor else None

    @property
    def worst(self) -> float:
        """The least, or the largest unless more is better."""
        return min(self.values) if self.better == "more" else max(self.values)

    @property
    def wanted(self) -> str:
        """The target in words, empty if there is none."""
        if self.target is None:
            return ""
        return f"{'≥' if self.better == 'more' else '≤'} {self.target:g}"

    @property
    def met(self) -> bool | None:
        """Whether the median is on the right side of the target; None if there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "more" else self.value <= self.target

    def __str__(self) -> str:
        spread = "" if self.spread is None else f", spread {shown(self.spread)}, worst {shown(self.worst)}"
        work = "" if self.by_processor is None else f", by processor time {shown(self.by_processor)}"
        aim = "" if self.met is None else f"; {'met' if self.met else 'MISSED'}: {self.wanted}"
        return f"{self.name}: {shown(self.value)} {self.unit} (n = {self.n}{spread}{work}){aim}"


def shown(value: float) -> str:
    """A number with three digits, or all that it has before the point."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}" if value == 0 or abs(value) >= 0.1 else f"{value:.2g}"
