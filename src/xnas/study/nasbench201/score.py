"""The score of a search by the table of NAS-Bench-201: the cell it found, and that of every epoch.

Every cell is looked up twice: the strongest operation of each edge, and the strongest but `none`. The setting
`space.choose_none` of the search says which of the two is the result; the other is told beside it.

E: edges; K: experts of each.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from xnas.report.health import health_of
from xnas.runs.finished_files import RunFiles
from xnas.runs.folder import GENOTYPE, RunRecord
from xnas.runs.history import History, SearchEpoch
from xnas.space.architecture import architecture_text
from xnas.space.nasbench201.space import Nasbench201Space
from xnas.space.nasbench201.stack import GROUP
from xnas.study.nasbench201.table import Accuracies, Nasbench201Table

NAMES = {True: "none_allowed", False: "none_barred"}
"""The two derivations, by whether `none` may be chosen."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkedCell:
    """A cell, and what it reaches in per cent by the table."""

    text: str
    accuracies: Accuracies
    skips: int
    """The number of its six edges with a skip connection."""
    rank: int
    """Its rank by CIFAR-10 among all cells, 1 the best."""


Derived = Mapping[bool, BenchmarkedCell]
"""Both cells that would be derived, by whether `none` may be chosen."""


@dataclass(frozen=True, kw_only=True)
class TableScore:
    """The cells of a search, by the table."""

    choose_none: bool
    """Which derivation is the result."""
    cells: Derived
    """Empty before the search has ended."""
    epochs: Mapping[int, Derived]
    """By epoch, from 0, the start, on. Empty before the first feedback, unless cells are drawn."""

    @property
    def found(self) -> BenchmarkedCell | None:
        """The result."""
        return self.cells.get(self.choose_none)

    @property
    def other(self) -> BenchmarkedCell | None:
        """The cell of the other derivation."""
        return self.cells.get(not self.choose_none)

    def accuracy(self, epoch: int, key: str) -> float | None:
        """Return the accuracy in per cent of what would be derived after an epoch; None where that is nothing."""
        cell = self.epochs.get(epoch, {}).get(self.choose_none)
        return None if cell is None else float(getattr(cell.accuracies, key))


def score_search(run: RunRecord, folder: Path, table: Nasbench201Table) -> TableScore:
    """Look up the search in `folder`. Raises ValueError, naming it, if its files are damaged or contradict."""
    space = run.config.get("space")
    choose_none = space.get("choose_none", False) if isinstance(space, dict) else False
    try:
        if not isinstance(choose_none, bool):
            raise ValueError(f"space.choose_none must be true or false; got {choose_none!r}")
        history = run.history
        drawn = run.setting("search", "method") == "random"
        derived = {row.epoch: (row, _derive(history, row, table)) for row in history.search}
        cells: Derived = {}
        if run.genotype is not None and RunFiles(folder).has(GENOTYPE):
            if not history.search:
                raise ValueError("metrics.jsonl does not tell of the search")
            cells = derived[history.search[-1].epoch][1]
            text = architecture_text(run.genotype)
            if text != cells[choose_none].text:
                raise ValueError(
                    f"{GENOTYPE} has {text}, but by metrics.jsonl the search has found {cells[choose_none].text}"
                )
    except ValueError as error:
        raise ValueError(
            f"{folder}: {error}; put back what the search wrote, or take the folder away"
        ) from None
    epochs = {
        epoch: both if row.groups[GROUP].feedbacks or drawn else {} for epoch, (row, both) in derived.items()
    }
    return TableScore(choose_none=choose_none, cells=cells, epochs=epochs)


def derived_values(cells: Derived) -> dict[str, Any]:
    """Return both derivations for JSON; null where there is none."""
    return {
        name: {"cell": cell.text, **asdict(cell.accuracies), "skips": cell.skips, "rank": cell.rank}
        if (cell := cells.get(choose_none))
        else None
        for choose_none, name in NAMES.items()
    }


def _derive(history: History, row: SearchEpoch, table: Nasbench201Table) -> Derived:
    """Return both cells that the search would derive at the end of an epoch."""
    if GROUP not in row.groups:
        raise ValueError(f"epoch {row.epoch} does not tell of the group {GROUP!r}")
    group, weights = history.groups[GROUP], row.groups[GROUP]
    if health_of(group, weights) is None:
        raise ValueError(f"epoch {row.epoch} has no experts left")
    log_v_EK = torch.tensor([list(log_v_K) for log_v_K in weights.log_v_EK], dtype=torch.float64)
    cells = {}
    for choose_none in (True, False):
        genotype = Nasbench201Space(experts=group.experts, choose_none=choose_none).derive({GROUP: log_v_EK})
        cells[choose_none] = BenchmarkedCell(
            text=genotype.text,
            accuracies=table[genotype.text],
            skips=genotype.operations.count("skip_connect"),
            rank=table.rank(genotype.text),
        )
    return cells
