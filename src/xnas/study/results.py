"""A study's results: a record for each network that was trained or looked up, summed up by variant and by cell.

Never the best of several: what failed or is missing is counted as missing, and named. study.json holds the same
numbers, study.csv those of the table.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from xnas.config.schema import Config
from xnas.io.errors import exit_code
from xnas.io.safe_read import check_folder, is_folder
from xnas.io.text import short_repr
from xnas.report.stats import standard_deviation
from xnas.runs.finished_files import RunFiles
from xnas.runs.folder import (
    GENOTYPE,
    TIMING,
    Result,
    RunRecord,
    read_architecture,
    read_result,
    read_run_config,
)
from xnas.space.architecture import Architecture
from xnas.study.nasbench201.score import TableScore, derived_values, score_search
from xnas.study.nasbench201.table import DATA_SETS, Nasbench201Table
from xnas.study.scheduler import Failure
from xnas.study.spec import COLUMNS, StudySpec, Variant, read_spec
from xnas.study.tasks import StudyCell, read_selection, search_folder, selection_folder, study_cells, tasks

JSON, CSV = "study.json", "study.csv"
GROUPS = {"found": "all found cells", "random": "all random cells"}
MOST_NAMED = 6
"""Tasks that are not done yet and are named; more are counted."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A network that was trained from scratch with a seed and tested once, or a cell that was looked up."""

    cell: StudyCell
    folder: str
    seed: int
    """The seed of the training, or of the search where nothing is trained."""
    accuracy: float
    """On the test images, in [0, 1]."""
    numbers: Mapping[str, float]
    """Others by name: parameters, multiply_adds, train_seconds; of a table the accuracies on other data sets."""


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """A search that has started."""

    variant: Variant
    seed: int
    folder: str
    ended: bool
    numbers: Mapping[str, float]
    """By name: search_seconds, peak_memory_bytes, steps."""
    run: RunRecord | None = None
    """With its history, where searches are drawn side by side or looked up."""
    score: TableScore | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A search whose cell can be selected, and how its network did on held-out training images."""

    variant: Variant
    seed: int
    accuracy: float | None
    """In [0, 1]; None where there is none yet."""
    samples: int
    """Held-out images."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """A mean over n values."""

    n: int
    mean: float
    spread: float | None
    """Sample standard deviation; None for fewer than two."""
    lowest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Statistics":
        """Return those of at least one value."""
        return cls(n=len(values), mean=fmean(values), spread=standard_deviation(values), lowest=min(values))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A row of the table: the statistics of one or several cells' networks."""

    title: str
    source: str
    variant: Variant | None
    cells: int
    """Cells with a network, as many as searches found them."""
    accuracies: tuple[float, ...]
    """On the test images, in [0, 1], cell by cell."""
    cell_means: tuple[float, ...]
    """Mean accuracy of each cell."""
    numbers: Mapping[str, Statistics]
    """By the names of the records' numbers, of networks and of searches, and accuracy."""
    part: bool = False
    """A single cell that is in another row, too."""

    @property
    def n(self) -> int:
        """The number of networks."""
        return len(self.accuracies)

    @property
    def accuracy(self) -> Statistics | None:
        """Statistics of the accuracies; None without any."""
        return self.numbers.get("accuracy")

    @property
    def spread_of_cells(self) -> float | None:
        """Sample standard deviation of the cells' means; None for fewer than two.

        Networks of one cell are no trials of others.
        """
        return standard_deviation(self.cell_means)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers of the table's row: shares in [0, 1], times in seconds."""
        accuracy, others = self.accuracy, (*SEARCH_NUMBERS, "parameters", "multiply_adds", "train_seconds")
        return {
            "title": self.title,
            "source": self.source,
            **{name: getattr(self.variant, name, "") for name in COLUMNS},
            "test_accuracy": accuracy and accuracy.mean,
            "spread": accuracy and accuracy.spread,
            "spread_of_cells": self.spread_of_cells,
            "worst": accuracy and accuracy.lowest,
            "n": self.n,
            "cells": self.cells,
            **{name: self.numbers[name].mean if name in self.numbers else None for name in others},
        }


SEARCH_NUMBERS = ("search_seconds", "peak_memory_bytes", "steps")


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """All that a study's folder tells."""

    name: str
    spec: StudySpec
    config: Config
    cells: tuple[StudyCell, ...]
    """All cells, selected ones with the seed of their search once it is known."""
    genotypes: Mapping[str, Architecture]
    """The genotypes of cells that were found or selected, by the cells' names."""
    records: tuple[Record, ...]
    searches: tuple[SearchRecord, ...]
    candidates: tuple[Candidate, ...]
    """The searches whose cells can be selected, where one of several is."""
    failures: Mapping[str, Failure]
    """The reasons why tasks have no result, by the names of their folders."""
    missing: tuple[str, ...]
    """Lines on what has failed, and why; and on what is not done yet."""
    table: Nasbench201Table | None = field(default=None, repr=False)

    @cached_property
    def summaries(self) -> tuple[Summary, ...]:
        """The rows of the table."""
        return tuple(summarise(self))

    @cached_property
    def by_cell(self) -> Mapping[str, list[Record]]:
        """The records by the names of their cells."""
        found: dict[str, list[Record]] = {cell.name: [] for cell in self.cells}
        for record in self.records:
            found[record.cell.name].append(record)
        return found

    @property
    def exit_code(self) -> int:
        """The exit code: 2 if a task's numbers broke down or a mistake ended it, 3 if memory did, else 0."""
        return max((exit_code(each.error) for each in self.failures.values() if each.error), default=0)

    def of(self, variant: Variant) -> tuple[SearchRecord, ...]:
        """Return a variant's searches, in the order of the seeds."""
        return tuple(search for search in self.searches if search.variant == variant)

    def to_json(self) -> str:
        """Return the numbers, with those of every network and search."""
        values = {
            "format": "xnas-study",
            "version": 1,
            "search_seeds": self.spec.search_seeds,
            "train_seeds": self.spec.train_seeds,
            "rows": [summary.to_dict() | {"numbers": _plain(summary.numbers)} for summary in self.summaries],
            "cells": [
                {
                    "name": cell.name,
                    "title": cell.title,
                    "source": cell.source,
                    "search_seed": cell.search_seed,
                    "genotype": json.loads(found.to_json())
                    if (found := cell.genotype or self.genotypes.get(cell.name))
                    else None,
                    "networks": [
                        {
                            "folder": each.folder,
                            "seed": each.seed,
                            "test_accuracy": each.accuracy,
                            **each.numbers,
                        }
                        for each in self.by_cell[cell.name]
                    ],
                }
                for cell in self.cells
            ],
            "searches": [_search_values(search) for search in self.searches],
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "missing": self.missing,
        }
        if self.table is not None:
            table = self.table
            values["table"] = {
                "source": table.source.name,
                "form": table.form,
                "best": asdict(table.best),
            }
        return json.dumps(values, indent=2) + "\n"

    def to_csv(self) -> str:
        """Return the table for a spreadsheet: empty where there is no number."""
        text = io.StringIO()
        rows = [summary.to_dict() for summary in self.summaries]
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def read_study(
    folder: Path,
    spec: StudySpec | None = None,
    config: Config | None = None,
    *,
    failures: Mapping[str, Failure] | None = None,
    table: Nasbench201Table | None = None,
) -> StudyResults:
    """Return the results in a study's folder, by its own specification and settings unless they are given.

    `failures` say of tasks, by their folders' names, why they have no result. Raises ValueError, naming the file, if
    one is damaged or another run's.
    """
    spec, config, failures = spec or read_spec(folder), config or read_run_config(folder), failures or {}
    variants = spec.variants(config)
    searches = tuple(
        search
        for variant in variants
        for seed in spec.search_seeds
        if (search := _read_search(folder, spec, variant, seed, table)) is not None
    )
    selected = read_selection(folder, spec) if spec.chooses else {}
    cells = tuple(_with_selection(cell, selected) for cell in study_cells(spec, config))
    candidates = tuple(
        _read_candidate(folder, variant, seed)
        for variant in variants
        for seed in (spec.search_seeds if spec.chooses else ())
    )
    records = tuple(_read_records(folder, spec, cells) if table is None else _looked_up(cells, searches))
    done = {record.folder for record in records} | {search.folder for search in searches if search.ended}
    done |= {selection_folder(each.variant, each.seed) for each in candidates if each.accuracy is not None}
    genotypes = {
        cell.name: genotype
        for cell in cells
        if cell.variant is not None
        and cell.search_seed is not None
        and not (spec.data or spec.space or spec.settings)
        if (genotype := read_architecture(folder / search_folder(cell.variant, cell.search_seed))) is not None
    }
    return StudyResults(
        name=folder.resolve().name,
        spec=spec,
        config=config,
        cells=cells,
        genotypes=genotypes,
        records=records,
        searches=searches,
        candidates=candidates,
        failures=failures,
        missing=tuple(_missing(spec, config, done, failures)),
        table=table,
    )


def summarise(results: StudyResults) -> Iterator[Summary]:
    """Sum up the records: a row for each variant and control; without axes for each cell, and for all of a source."""
    spec = results.spec
    if spec.has_axes:
        for variant in spec.variants(results.config):
            cells = [cell for cell in results.cells if cell.variant == variant]
            if cells:
                yield _summary(results, variant.title, cells)
    rest = [cell for cell in results.cells if not (spec.has_axes and cell.variant is not None)]
    for source in dict.fromkeys(cell.source for cell in rest):
        alike = [cell for cell in rest if cell.source == source]
        grouped = source in GROUPS and len(alike) > 1
        if grouped:
            yield _summary(results, GROUPS[source], alike)
        for cell in alike:
            yield _summary(results, cell.title, [cell], part=grouped)


def _summary(results: StudyResults, title: str, cells: Sequence[StudyCell], *, part: bool = False) -> Summary:
    by_cell = [found for cell in cells if (found := results.by_cell[cell.name])]
    records = [record for records in by_cell for record in records]
    sources = {(cell.variant, cell.search_seed) for cell in cells if cell.source == "found"}
    variants = {cell.variant for cell in cells if cell.source == "selected"}
    searches = [
        each
        for each in results.searches
        if each.ended and ((each.variant, each.seed) in sources or each.variant in variants)
    ]
    values: dict[str, list[float]] = {}
    for record in records:
        for name, value in {"accuracy": record.accuracy, **record.numbers}.items():
            values.setdefault(name, []).append(value)
    for search in searches:
        for name, value in search.numbers.items():
            values.setdefault(name, []).append(value)
    return Summary(
        title=title,
        source=cells[0].source,
        variant=cells[0].variant,
        cells=len(by_cell),
        accuracies=tuple(record.accuracy for record in records),
        cell_means=tuple(fmean([record.accuracy for record in records]) for records in by_cell),
        numbers={name: Statistics.of(found) for name, found in values.items()},
        part=part,
    )


def _read_search(
    folder: Path, spec: StudySpec, variant: Variant, seed: int, table: Nasbench201Table | None
) -> SearchRecord | None:
    name = search_folder(variant, seed)
    path = folder / name
    if not is_folder(path, inside=folder):
        return None
    run = RunRecord.read(path) if table is not None or spec.compares_methods else None
    if run is not None:
        found = (run.setting("search", "method"), run.setting(None, "seed"))
        if run.config_text is not None and found != (variant.method, seed):
            raise ValueError(
                f"{path} holds a run of method {short_repr(found[0])} with seed {short_repr(found[1])}; "
                "put it back where it was"
            )
    timing = RunFiles(path).json_object(TIMING)
    spent = timing.optional_inner("search") if timing else None
    numbers = {
        "search_seconds": spent.optional_number("seconds") if spent else None,
        "peak_memory_bytes": spent.optional_number("peak_memory_bytes") if spent else None,
        "steps": float(run.history.search[-1].step) if run is not None and run.history.search else None,
    }
    return SearchRecord(
        variant=variant,
        seed=seed,
        folder=name,
        ended=RunFiles(path).has(GENOTYPE),
        numbers={key: value for key, value in numbers.items() if value is not None},
        run=run,
        score=None if run is None or table is None else score_search(run, path, table),
    )


def _looked_up(cells: Iterable[StudyCell], searches: Sequence[SearchRecord]) -> Iterator[Record]:
    by_name = {(search.variant, search.seed): search for search in searches if search.ended}
    for cell in cells:
        search = by_name.get((cell.variant, cell.search_seed))  # type: ignore[arg-type]
        if search is None or search.score is None or search.score.found is None:
            continue
        found, other = search.score.found, search.score.other
        accuracies = {key: getattr(found.accuracies, key) / 100 for key in DATA_SETS}
        yield Record(
            cell=cell,
            folder=search.folder,
            seed=search.seed,
            accuracy=accuracies.pop("cifar10"),
            numbers={
                **accuracies,
                "skips": found.skips,
                "rank": found.rank,
                "other": 0.0 if other is None else other.accuracies.cifar10 / 100,
            },
        )


def _read_records(folder: Path, spec: StudySpec, cells: Iterable[StudyCell]) -> Iterator[Record]:
    for cell in cells:
        for seed in spec.control_seeds if cell.source != "found" else spec.seeds_for(cell.search_seed or 0):
            name = cell.folder(seed)
            result = _read_result(folder, name)
            if result is None:
                continue
            if result.seed != seed:
                raise ValueError(
                    f"{folder / name} holds a training with seed {result.seed}; put it back where it was"
                )
            numbers: dict[str, float] = {
                "parameters": result.parameters,
                "multiply_adds": result.multiply_adds,
            }
            timing = RunFiles(folder / name).json_object(TIMING)
            if timing is not None and timing.values:
                phases = map(timing.nested, timing.values)
                numbers["train_seconds"] = sum(phase.number("seconds") for phase in phases)
            yield Record(cell=cell, folder=name, seed=seed, accuracy=result.test_accuracy, numbers=numbers)


def _read_candidate(folder: Path, variant: Variant, seed: int) -> Candidate:
    result = _read_result(folder, selection_folder(variant, seed))
    return Candidate(
        variant=variant,
        seed=seed,
        accuracy=result.test_accuracy if result else None,  # on the held-out images
        samples=result.test_samples if result else 0,
    )


def _read_result(folder: Path, name: str) -> Result | None:
    check_folder(folder / name, inside=folder)
    return read_result(folder / name)


def _with_selection(cell: StudyCell, selected: Mapping[str, int]) -> StudyCell:
    if (
        cell.source != "selected"
        or cell.variant is None
        or (seed := selected.get(cell.variant.folder)) is None
    ):
        return cell
    return replace(cell, title=f"{cell.title} (search seed {seed})", search_seed=seed)


def _missing(
    spec: StudySpec, config: Config, done: set[str], failures: Mapping[str, Failure]
) -> Iterator[str]:
    left = [task for task in tasks(spec, config) if task.name not in done]
    for task in left:
        if task.name in failures:
            yield f"{task.title}: {failures[task.name].reason}"
    waiting = [task.title for task in left if task.name not in failures]
    if len(waiting) > MOST_NAMED:
        yield f"{len(waiting):,} searches and trainings not done yet"
    else:
        yield from (f"{title}: not done yet" for title in waiting)


def _plain(numbers: Mapping[str, Statistics]) -> dict[str, Any]:
    return {name: asdict(statistics) for name, statistics in numbers.items()}


def _search_values(search: SearchRecord) -> dict[str, Any]:
    values = {
        "folder": search.folder,
        **asdict(search.variant),
        "seed": search.seed,
        "ended": search.ended,
        **search.numbers,
    }
    if search.run is not None:
        scored = search.score.epochs if search.score else {}
        values |= derived_values(search.score.cells) if search.score else {}
        values["epochs"] = [
            {"epoch": row.epoch, "step": row.step, "val_loss": row.val_loss, "val_accuracy": row.val_accuracy}
            | (derived_values(scored[row.epoch]) if row.epoch in scored else {})
            for row in search.run.history.search
        ]
    return values
