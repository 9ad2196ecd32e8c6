"""A sweep's results as values: every cell of the grid with all its searches and trainings; never the best of several.

sweep.json holds the same numbers, sweep.csv those of the table. What failed or is missing is counted as missing, and
named.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from xnas.io.safe_read import check_folder
from xnas.report.stats import mean, standard_deviation
from xnas.runs.finished_files import RunFiles
from xnas.runs.folder import Result, read_result
from xnas.study.sweep.plan import COLUMNS, SweepSpec, Variant

JSON, CSV = "sweep.json", "sweep.csv"


@dataclass(frozen=True, kw_only=True)
class SweepTraining:
    """What one search has found, trained from scratch with a seed, and tested once."""

    search_seed: int
    seed: int
    folder: str
    seconds: float | None
    """Wall time of training and test."""
    result: Result


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """A cell of the grid: means over its trained networks, n of them."""

    cell: Variant
    searches: int
    """How many searches have found what was trained."""
    trainings: tuple[SweepTraining, ...]
    search_seconds: tuple[float, ...]
    """Wall time of each search that has ended."""

    @property
    def accuracies(self) -> list[float]:
        """On the test set, in [0, 1], search by search."""
        return [training.result.test_accuracy for training in self.trainings]

    @property
    def n(self) -> int:
        """Trained networks."""
        return len(self.trainings)

    @property
    def accuracy(self) -> float | None:
        """Mean test accuracy, in [0, 1]."""
        return _mean(self.accuracies)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over the trained networks; None for fewer than two."""
        return standard_deviation(self.accuracies)

    @property
    def worst(self) -> float | None:
        """The lowest of them."""
        return min(self.accuracies, default=None)

    @property
    def search_means(self) -> list[float]:
        """Mean test accuracy of what each search has found: trainings of one architecture are no trials of others."""
        seeds = dict.fromkeys(training.search_seed for training in self.trainings)
        return [
            mean([each.result.test_accuracy for each in self.trainings if each.search_seed == seed])
            for seed in seeds
        ]

    @property
    def spread_of_searches(self) -> float | None:
        """Sample standard deviation of the searches' means; None for fewer than two."""
        return standard_deviation(self.search_means)

    @property
    def numbers(self) -> dict[str, float | None]:
        """The columns of the table: shares in [0, 1], times in seconds."""
        results = [training.result for training in self.trainings]
        return {
            "test_accuracy": self.accuracy,
            "spread": self.spread,
            "spread_of_searches": self.spread_of_searches,
            "worst": self.worst,
            "n": self.n,
            "searches": self.searches,
            "parameters": _mean([result.parameters for result in results]),
            "multiply_adds": _mean([result.multiply_adds for result in results]),
            "search_seconds": _mean(self.search_seconds),
            "training_seconds": _mean([each.seconds for each in self.trainings if each.seconds is not None]),
        }


@dataclass(frozen=True, kw_only=True)
class SweepResults:
    """All that a sweep's folder tells."""

    name: str
    plan: SweepSpec
    rows: tuple[SweepRow, ...]
    """A line for each cell of the grid."""
    failures: Mapping[str, str]
    """Why tasks have no result, by the names of their folders."""
    waiting: int
    """Tasks that have no result and did not fail."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What has failed, and why; and how much is not done yet."""
        return tuple(self._missing())

    def _missing(self) -> Iterator[str]:
        for seed in self.plan.search_seeds:
            for cell in self.plan.cells:
                if reason := self.failures.get(cell.search_folder(seed)):
                    yield f"search, {cell.title}, seed {seed}: {reason}"
                for other in self.plan.retrain_seeds:
                    if reason := self.failures.get(cell.training_folder(seed, other)):
                        yield f"training, {cell.title}, search seed {seed}, seed {other}: {reason}"
        if self.waiting:
            yield f"{self.waiting:,} searches and trainings not done yet"

    def to_json(self) -> str:
        """The numbers, with every training's own."""
        values = {
            "format": "xnas-sweep",
            "version": 1,
            "plan": asdict(self.plan),
            "rows": [
                {
                    **asdict(row.cell),
                    **row.numbers,
                    "trainings": [asdict(training) for training in row.trainings],
                }
                for row in self.rows
            ],
            "missing": list(self.missing),
        }
        return json.dumps(values, indent=2) + "\n"

    def to_csv(self) -> str:
        """The table for a spreadsheet: a line for each cell, empty where there is no number."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow((*COLUMNS, *self.rows[0].numbers))
        for row in self.rows:
            writer.writerow(
                (
                    *(getattr(row.cell, column) for column in COLUMNS),
                    *("" if value is None else value for value in row.numbers.values()),
                )
            )
        return text.getvalue()


def read_results(folder: Path, plan: SweepSpec, *, failures: Mapping[str, str] | None = None) -> SweepResults:
    """The results in `folder`; `failures` say of tasks, by their folders' names, why they have none.

    Raises ValueError, naming the file, if one is damaged or is another run's.
    """
    failures = failures or {}
    rows = tuple(_read_row(folder, plan, cell) for cell in plan.cells)
    tasks = len(plan.cells) * len(plan.search_seeds) * (1 + len(plan.retrain_seeds))
    done = sum(len(row.search_seconds) + row.n for row in rows)
    return SweepResults(
        name=folder.resolve().name,
        plan=plan,
        rows=rows,
        failures=failures,
        waiting=max(tasks - done - len(failures), 0),
    )


def _read_row(folder: Path, plan: SweepSpec, cell: Variant) -> SweepRow:
    trainings, seconds = [], []
    for search_seed in plan.search_seeds:
        name = cell.search_folder(search_seed)
        check_folder(folder / name, inside=folder)
        if RunFiles(folder / name).has("genotype.json"):
            seconds.append(_seconds(folder, name) or 0.0)
        for seed in plan.retrain_seeds:
            name = cell.training_folder(search_seed, seed)
            check_folder(folder / name, inside=folder)
            if (result := read_result(folder / name)) is None:
                continue
            if result.seed != seed:
                raise ValueError(
                    f"{folder / name} holds a training with seed {result.seed}; put it back where it was"
                )
            trainings.append(
                SweepTraining(
                    search_seed=search_seed,
                    seed=seed,
                    folder=name,
                    seconds=_seconds(folder, name),
                    result=result,
                )
            )
    return SweepRow(
        cell=cell,
        searches=len({training.search_seed for training in trainings}),
        trainings=tuple(trainings),
        search_seconds=tuple(seconds),
    )


def _seconds(folder: Path, name: str) -> float | None:
    """Wall time of a run; None where it does not say."""
    timing = RunFiles(folder / name).json_object("timing.json")
    if timing is None or not timing.values:
        return None
    return sum(timing.nested(phase).number("seconds") for phase in timing.values)


def _mean(values: "list[float] | list[int] | tuple[float, ...]") -> float | None:
    return mean(values) if values else None
