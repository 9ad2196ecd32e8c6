"""A comparison as values: every method with the runs of all its seeds; never the best of several.

comparison.json holds the same numbers. A run that failed or is missing is counted as missing, and named.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xnas.report.ranking import Score, aligned, ranking
from xnas.report.results_table import count_text, share_text
from xnas.report.stats import mean, standard_deviation
from xnas.runs.folder import RunRecord
from xnas.study.comparison.plan import ComparisonSpec

JSON = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One search and the training of what it found."""

    method: str
    seed: int
    record: RunRecord

    @property
    def accuracy(self) -> float | None:
        """On the test set, in [0, 1]."""
        return self.record.result.test_accuracy if self.record.result else None


@dataclass(frozen=True, kw_only=True)
class ComparisonEntry:
    """An method's line: means over its finished runs, n of them."""

    method: str
    n: int
    accuracy: float | None
    """Mean test accuracy, in [0, 1]."""
    spread: float | None
    """Sample standard deviation of the accuracies; None for fewer than two."""
    worst: float | None
    parameters: float | None
    multiply_adds: float | None
    steps: float | None
    """Of the search."""
    search_seconds: float | None
    """Wall time of the search."""
    peak_memory_bytes: float | None
    """Most that the process held during the search."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that a comparison's folder tells."""

    name: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    """Those that have begun."""
    failures: Mapping[str, str]
    """Why runs have no result, by the names of their folders."""

    def of(self, method: str) -> tuple[Run, ...]:
        """An method's runs, in the order of the seeds."""
        return tuple(run for run in self.runs if run.method == method)

    @property
    def entries(self) -> tuple[ComparisonEntry, ...]:
        """A line for each method, in the order in which they were asked for."""
        return tuple(_entry(method, self.of(method)) for method in self.methods)

    @property
    def missing(self) -> tuple[str, ...]:
        """The runs without a result, and why."""
        done = {(run.method, run.seed) for run in self.runs if run.accuracy is not None}
        return ComparisonSpec(methods=self.methods, seeds=self.seeds).missing(done, self.failures)

    def to_json(self) -> str:
        """The numbers, with every run's own."""
        values = {
            "format": "xnas-comparison",
            "version": 1,
            "methods": list(self.methods),
            "seeds": list(self.seeds),
            "entries": [asdict(entry) for entry in self.entries],
            "runs": [_run_values(run) for run in self.runs],
            "missing": list(self.missing),
        }
        return json.dumps(values, indent=2) + "\n"


def read_comparison(folder: Path, *, failures: Mapping[str, str] | None = None) -> Comparison:
    """The comparison in `folder`; `failures` say of runs, by their folders' names, why they have no result.

    Raises ValueError if the folder is none of a comparison, or a file in it is damaged, naming the file.
    """
    plan = ComparisonSpec.read(folder, noun="comparison", verb="compare")
    return Comparison(
        name=folder.resolve().name,
        methods=plan.methods,
        seeds=plan.seeds,
        runs=tuple(
            Run(method=method, seed=seed, record=record) for method, seed, _, record in plan.members(folder)
        ),
        failures=failures or {},
    )


def format_comparison(comparison: Comparison) -> str:
    """The table for a terminal, and below it what it says."""
    table = aligned([HEAD, *map(cells_of, comparison.entries)])
    return "\n".join((*table, "", verdict(comparison), *comparison.missing))


HEAD = (
    "method", "test accuracy", "worst", "n", "parameters", "mult-adds", "steps", "search", "peak memory",
)  # fmt: skip


def cells_of(entry: ComparisonEntry) -> tuple[str, ...]:
    """An entry as text, below HEAD."""

    def shown(value: float | None, form: str = "{}") -> str:
        return "" if value is None else form.format(value)

    return (
        entry.method,
        share_text(entry.accuracy, entry.spread),
        share_text(entry.worst),
        str(entry.n),
        "" if entry.parameters is None else count_text(entry.parameters),
        "" if entry.multiply_adds is None else count_text(entry.multiply_adds),
        shown(entry.steps, "{:,.0f}"),
        shown(entry.search_seconds, "{:,.0f} s"),
        "" if entry.peak_memory_bytes is None else f"{entry.peak_memory_bytes / 2**30:.2f} GiB",
    )


def verdict(comparison: Comparison) -> str:
    """In words: who has the highest mean, and by how much more than chance would give it."""
    standings = [
        Score(
            name=entry.method,
            mean=100 * entry.accuracy,
            spread=None if entry.spread is None else 100 * entry.spread,
            n=entry.n,
        )
        for entry in comparison.entries
        if entry.accuracy is not None
    ]
    return ranking(standings, what="test accuracy")


def _entry(method: str, runs: tuple[Run, ...]) -> ComparisonEntry:
    done = [run.record for run in runs if run.accuracy is not None]
    results = [record.result for record in done if record.result is not None]

    def centre(values: list[float]) -> float | None:
        return mean(values) if values else None

    accuracies = [result.test_accuracy for result in results]
    return ComparisonEntry(
        method=method,
        n=len(done),
        accuracy=centre(accuracies),
        spread=standard_deviation(accuracies),
        worst=min(accuracies, default=None),
        parameters=centre([result.parameters for result in results]),
        multiply_adds=centre([result.multiply_adds for result in results]),
        steps=centre([record.history.search[-1].step for record in done if record.history.search]),
        search_seconds=centre([record.seconds["search"] for record in done if "search" in record.seconds]),
        peak_memory_bytes=centre(
            [record.peak_memory["search"] for record in done if "search" in record.peak_memory]
        ),
    )


def _run_values(run: Run) -> dict[str, Any]:
    record, result = run.record, run.record.result
    return {
        "method": run.method,
        "seed": run.seed,
        "folder": record.name,
        "result": asdict(result) if result else None,
        "genotype": json.loads(record.genotype.to_json()) if record.genotype else None,
        "search_steps": record.history.search[-1].step if record.history.search else None,
        "seconds": dict(record.seconds),
        "peak_memory_bytes": dict(record.peak_memory),
        "search": [
            {"epoch": row.epoch, "val_loss": row.val_loss, "val_accuracy": row.val_accuracy}
            for row in record.history.search
        ],
    }
