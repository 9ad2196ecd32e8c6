"""An experiment's results as values: every cell with the trainings of all its seeds; never the best of several.

experiment.json holds the same numbers. A training that failed or is missing is counted as missing, and named.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xnas.io.safe_read import check_folder
from xnas.report.stats import mean, standard_deviation
from xnas.runs.finished_files import RunFiles
from xnas.runs.folder import Result, read_architecture, read_result
from xnas.space.architecture import Architecture
from xnas.study.experiment.plan import (
    SELECTION,
    ExperimentSpec,
    Kind,
    PlannedCell,
    search_folder,
    selection_folder,
    training_folder,
)

JSON = "experiment.json"

GROUPS: Mapping[Kind, str] = {"found": "all found cells", "random": "all random cells"}
"""Kinds of cells that have a line together, where there are several."""


@dataclass(frozen=True, kw_only=True)
class ExperimentTraining:
    """A cell's network, trained from scratch with a seed on the whole training set, and tested once."""

    seed: int
    folder: str
    result: Result


@dataclass(frozen=True, kw_only=True)
class CellResults:
    """A cell, and its trainings that have ended."""

    cell: PlannedCell
    title: str
    genotype: Architecture | None
    trainings: tuple[ExperimentTraining, ...]

    @property
    def accuracies(self) -> list[float]:
        """On the test set, in [0, 1], in the order of the seeds."""
        return [training.result.test_accuracy for training in self.trainings]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A search whose cell could be chosen, and how its network did on held-out training images."""

    seed: int
    accuracy: float | None
    """In [0, 1]; None where there is none yet."""
    samples: int
    """Held-out images."""


@dataclass(frozen=True, kw_only=True)
class ExperimentRow:
    """A line of the table: means over trained networks, n of them."""

    kind: Kind
    title: str
    cells: int
    """How many cells have a part in it."""
    n: int
    accuracy: float | None
    """Mean test accuracy, in [0, 1]."""
    spread: float | None
    """Sample standard deviation over the trained networks; None for fewer than two."""
    worst: float | None
    cell_means: tuple[float, ...]
    """Mean test accuracy of each cell."""
    parameters: float | None
    multiply_adds: float | None

    @property
    def spread_of_cells(self) -> float | None:
        """Sample standard deviation of the cells' means; None for fewer than two."""
        return standard_deviation(self.cell_means)


@dataclass(frozen=True, kw_only=True)
class ExperimentResults:
    """All that an experiment's folder tells."""

    name: str
    plan: ExperimentSpec
    cells: tuple[CellResults, ...]
    candidates: tuple[Candidate, ...]
    """Where one of several cells is chosen."""
    chosen: int | None
    """The seed of its search, once it is."""
    failures: Mapping[str, str]
    """Why tasks have no result, by the names of their folders."""

    @property
    def rows(self) -> tuple[ExperimentRow, ...]:
        """A line for each cell, and before the cells of a kind one for all, where there are several."""
        rows: list[ExperimentRow] = []
        for cell in self.cells:
            kind = cell.cell.kind
            alike = [other for other in self.cells if other.cell.kind == kind]
            if kind in GROUPS and len(alike) > 1 and cell is alike[0]:
                rows.append(_row(kind, GROUPS[kind], alike))
            rows.append(_row(kind, cell.title, [cell]))
        return tuple(rows)

    @property
    def whole_kinds(self) -> tuple[ExperimentRow, ...]:
        """The rows without those of single cells that are in another one."""
        grouped = {row.kind for row in self.rows if row.cells > 1}
        return tuple(row for row in self.rows if row.cells > 1 or row.kind not in grouped)

    @property
    def missing(self) -> tuple[str, ...]:
        """What has no result, and why."""
        return tuple(self._missing())

    def _missing(self) -> Iterator[str]:
        waiting: dict[str, list[int]] = {}
        for seed in self.plan.search_seeds:
            if reason := self.failures.get(search_folder(seed)):
                yield f"search, seed {seed}: {reason}"
            if reason := self.failures.get(selection_folder(seed)):
                yield f"judging the cell of search seed {seed}: {reason}"
        for cell in self.cells:
            done = {training.seed for training in cell.trainings}
            for seed in self.plan.retrain_seeds:
                if reason := self.failures.get(training_folder(cell.cell.name, seed)):
                    yield f"{cell.title}, seed {seed}: {reason}"
                elif seed not in done:
                    waiting.setdefault(cell.title, []).append(seed)
        for title, seeds in waiting.items():
            yield f"{title}: seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))} not done yet"

    def to_json(self) -> str:
        """The numbers, with every training's own."""
        values = {
            "format": "xnas-experiment",
            "version": 1,
            "plan": asdict(self.plan),
            "chosen_search_seed": self.chosen,
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "rows": [{**asdict(row), "spread_of_cells": row.spread_of_cells} for row in self.rows],
            "cells": [_cell_values(cell) for cell in self.cells],
            "missing": list(self.missing),
        }
        return json.dumps(values, indent=2) + "\n"


def read_results(
    folder: Path, plan: ExperimentSpec, *, failures: Mapping[str, str] | None = None
) -> ExperimentResults:
    """The results in `folder`; `failures` say of tasks, by their folders' names, why they have none.

    Raises ValueError, naming the file, if one is damaged or is another run's.
    """
    chosen = None
    candidates: tuple[Candidate, ...] = ()
    if plan.chooses:
        said = RunFiles(folder).json_object(SELECTION)
        chosen = None if said is None else said.integer("chosen")
        if chosen is not None and chosen not in plan.search_seeds:
            raise ValueError(
                f"{folder / SELECTION} chooses the search with seed {chosen}, which there is not"
            )
        judged = {seed: _read_result(folder, selection_folder(seed)) for seed in plan.search_seeds}
        candidates = tuple(
            Candidate(
                seed=seed,
                accuracy=result.test_accuracy if result else None,  # of the held-out images
                samples=result.test_samples if result else 0,
            )
            for seed, result in judged.items()
        )
    return ExperimentResults(
        name=folder.resolve().name,
        plan=plan,
        cells=tuple(_read_cell(folder, plan, cell, chosen) for cell in plan.cells),
        candidates=candidates,
        chosen=chosen,
        failures=failures or {},
    )


def _read_cell(folder: Path, plan: ExperimentSpec, cell: PlannedCell, chosen: int | None) -> CellResults:
    trainings = []
    genotype = None
    for seed in plan.retrain_seeds:
        name = training_folder(cell.name, seed)
        result = _read_result(folder, name)
        genotype = genotype or read_architecture(folder / name)
        if result is None:
            continue
        if result.seed != seed:
            raise ValueError(
                f"{folder / name} holds a training with seed {result.seed}; put it back where it was"
            )
        trainings.append(ExperimentTraining(seed=seed, folder=name, result=result))
    title = (
        cell.title if cell.kind != "selected" or chosen is None else f"{cell.title} (search seed {chosen})"
    )
    return CellResults(cell=cell, title=title, genotype=genotype, trainings=tuple(trainings))


def _read_result(folder: Path, name: str) -> Result | None:
    check_folder(folder / name, inside=folder)
    return read_result(folder / name)


def _row(kind: Kind, title: str, cells: Iterable[CellResults]) -> ExperimentRow:
    cells = [cell for cell in cells if cell.trainings]
    results = [training.result for cell in cells for training in cell.trainings]
    accuracies = [result.test_accuracy for result in results]
    return ExperimentRow(
        kind=kind,
        title=title,
        cells=len(cells),
        n=len(results),
        accuracy=mean(accuracies) if results else None,
        spread=standard_deviation(accuracies),
        worst=min(accuracies, default=None),
        cell_means=tuple(mean(cell.accuracies) for cell in cells),
        parameters=mean([result.parameters for result in results]) if results else None,
        multiply_adds=mean([result.multiply_adds for result in results]) if results else None,
    )


def _cell_values(cell: CellResults) -> dict[str, Any]:
    return {
        "kind": cell.cell.kind,
        "name": cell.cell.name,
        "title": cell.title,
        "genotype": json.loads(cell.genotype.to_json()) if cell.genotype else None,
        "trainings": [asdict(training) for training in cell.trainings],
    }
