"""A bench as values: what every search would have found at the end of each epoch, and what it found, by the table.

Every cell is looked up twice: the strongest operation of each edge, and the strongest but `none`. The setting
`space.choose_none` of the runs says which of the two is the result; the other is told beside it.

E: edges; K: experts of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from xnas.io.toml import parse_toml
from xnas.report.format import source_name
from xnas.report.health import health_of
from xnas.report.stats import mean, standard_deviation
from xnas.runs.finished_files import RunFiles
from xnas.runs.folder import GENOTYPE, RunRecord
from xnas.runs.history import History, SearchEpoch
from xnas.space.architecture import architecture_text
from xnas.space.nasbench201.space import Nasbench201Space
from xnas.space.nasbench201.stack import GROUP
from xnas.study.comparison.plan import ComparisonSpec
from xnas.study.nasbench201.table import DATA_SETS, Accuracies, Nasbench201Table


@dataclass(frozen=True, kw_only=True)
class BenchmarkedCell:
    """A cell, and what it reaches in per cent by the table."""

    text: str
    accuracies: Accuracies
    skips: int
    """Of its six edges, those with a skip connection."""
    rank: int
    """Its place by CIFAR-10 among all cells, 1 the best."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A search at the end of an epoch."""

    epoch: int
    step: int
    cells: Mapping[bool, BenchmarkedCell]
    """What would be derived now, by whether `none` may be. Empty before the first feedback, unless cells are drawn."""
    entropy: float
    """Mean over the edges of the weights' entropy, 1 where all are equal."""
    skip: float
    """Share of the edges that a skip connection leads."""
    alive: float
    """Share of the experts that no wipeout has removed."""


@dataclass(frozen=True, kw_only=True)
class BenchRun:
    """One search."""

    method: str
    seed: int
    record: RunRecord
    moments: tuple[Moment, ...]
    """From its start, epoch 0, on."""
    found: Mapping[bool, BenchmarkedCell]
    """By whether `none` may be chosen; empty before the search has ended."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Accuracies of n cells in per cent, on one data set."""

    n: int
    mean: float
    spread: float | None
    """Sample standard deviation; None for fewer than two."""
    worst: float


@dataclass(frozen=True, kw_only=True)
class BenchmarkEntry:
    """An method's line: of all its searches that have ended."""

    method: str
    n: int
    by_none: Mapping[bool, Mapping[str, Summary]]
    """By whether `none` may be chosen, and by data set. Empty without a search that has ended."""
    skips: float | None
    """Skip connections of the cells found, of six edges; the mean."""
    seconds: float | None
    """Wall time of a search; the mean."""
    peak_memory_bytes: float | None
    """Most that the process held during a search; the mean."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """All that a bench's folder tells, with a table."""

    name: str
    source: str
    """The data that was searched on, as `source_name` has it."""
    choose_none: bool
    """Which derivation is the result."""
    plan: ComparisonSpec
    runs: tuple[BenchRun, ...]
    """Those that have begun."""
    failures: Mapping[str, str]
    """Why runs have no result, by the names of their folders."""
    best: Accuracies
    """The table's optimum on each data set."""
    table: str
    """The name of the table's file."""
    form: str
    """Of the table."""

    def of(self, method: str) -> tuple[BenchRun, ...]:
        """An method's runs, in the order of the seeds."""
        return tuple(run for run in self.runs if run.method == method)

    @property
    def entries(self) -> tuple[BenchmarkEntry, ...]:
        """A line for each method, in the order in which they were asked for."""
        return tuple(_entry(method, self.of(method), self) for method in self.plan.methods)

    @property
    def missing(self) -> tuple[str, ...]:
        """The runs without a result, and why."""
        done = {(run.method, run.seed) for run in self.runs if run.found}
        return self.plan.missing(done, self.failures)


def read_bench(folder: Path, table: Nasbench201Table, *, failures: Mapping[str, str] | None = None) -> Bench:
    """The bench in `folder`, its cells looked up in `table`; `failures` say, by folder, why runs have no result.

    Raises ValueError if the folder is none of a bench, or a file in it is damaged, naming the file.
    """
    plan = ComparisonSpec.read(folder, noun="bench", verb="bench")
    path = folder / "config.toml"
    text = RunFiles(folder).settings_text(path.name)
    if text is None:
        raise ValueError(f"{folder} has no {path.name}; give a folder that xnas bench has written")
    settings = parse_toml(text, where=str(path))
    choose_none = _setting(settings, "space", "choose_none", False)
    source = _setting(settings, "data", "source", "")
    if not isinstance(choose_none, bool) or not isinstance(source, str):
        raise ValueError(f"{path}: space.choose_none must be true or false, and data.source a text")
    return Bench(
        name=folder.resolve().name,
        source=source_name(source),
        choose_none=choose_none,
        plan=plan,
        runs=tuple(
            _run(method, seed, place, record, table, choose_none=choose_none)
            for method, seed, place, record in plan.members(folder)
        ),
        failures=failures or {},
        best=table.best,
        table=table.source.name,
        form=table.form,
    )


def _setting(settings: Mapping[str, object], section: str, key: str, default: object) -> object:
    values = settings.get(section)
    return values.get(key, default) if isinstance(values, dict) else default


def _run(
    method: str, seed: int, folder: Path, record: RunRecord, table: Nasbench201Table, *, choose_none: bool
) -> BenchRun:
    try:
        found: Mapping[bool, BenchmarkedCell] = {}
        if record.genotype is not None and RunFiles(folder).has(GENOTYPE):
            if not record.history.search:
                raise ValueError("metrics.jsonl does not tell of the search")
            found = _cells(record.history, record.history.search[-1], table)
            text = architecture_text(record.genotype)
            if text != found[choose_none].text:
                raise ValueError(
                    f"{GENOTYPE} has {text}, but by metrics.jsonl the search has found {found[choose_none].text}"
                )
        return BenchRun(
            method=method,
            seed=seed,
            record=record,
            moments=tuple(
                _moment(record.history, row, table, drawn=method == "random") for row in record.history.search
            ),
            found=found,
        )
    except ValueError as error:
        raise ValueError(
            f"{folder}: {error}; put back what the search wrote, or take the folder away"
        ) from None


def _moment(history: History, row: SearchEpoch, table: Nasbench201Table, *, drawn: bool) -> Moment:
    cells = _cells(history, row, table)  # first: it raises where the group is missing
    group, weights = history.groups[GROUP], row.groups[GROUP]
    health = health_of(group, weights)
    if health is None:
        raise ValueError(f"epoch {row.epoch} has no experts left")
    alive = [lives for alive_K in weights.alive_EK for lives in alive_K]
    return Moment(
        epoch=row.epoch,
        step=row.step,
        cells=cells if weights.feedbacks or drawn else {},
        entropy=health.entropy,
        skip=health.skip,
        alive=sum(alive) / len(alive),
    )


def _cells(history: History, row: SearchEpoch, table: Nasbench201Table) -> Mapping[bool, BenchmarkedCell]:
    """Both cells that the search would derive at the end of an epoch, by whether `none` may be chosen."""
    if GROUP not in row.groups:
        raise ValueError(f"epoch {row.epoch} does not tell of the group {GROUP!r}")
    log_v_EK = torch.tensor([list(log_v_K) for log_v_K in row.groups[GROUP].log_v_EK], dtype=torch.float64)
    experts = history.groups[GROUP].experts
    return {
        choose_none: _cell(Nasbench201Space(experts=experts, choose_none=choose_none), log_v_EK, table)
        for choose_none in (True, False)
    }


def _cell(space: Nasbench201Space, log_v_EK: torch.Tensor, table: Nasbench201Table) -> BenchmarkedCell:
    genotype = space.derive({GROUP: log_v_EK})
    return BenchmarkedCell(
        text=genotype.text,
        accuracies=table[genotype.text],
        skips=genotype.operations.count("skip_connect"),
        rank=table.rank(genotype.text),
    )


def _entry(method: str, runs: tuple[BenchRun, ...], bench: Bench) -> BenchmarkEntry:
    done = [run for run in runs if run.found]

    def centre(values: list[float]) -> float | None:
        return mean(values) if values else None

    return BenchmarkEntry(
        method=method,
        n=len(done),
        by_none={
            choose_none: {
                key: _summary([getattr(run.found[choose_none].accuracies, key) for run in done])
                for key in DATA_SETS
            }
            for choose_none in (True, False)
            if done
        },
        skips=centre([run.found[bench.choose_none].skips for run in done]),
        seconds=centre([run.record.seconds["search"] for run in done if "search" in run.record.seconds]),
        peak_memory_bytes=centre(
            [run.record.peak_memory["search"] for run in done if "search" in run.record.peak_memory]
        ),
    )


def _summary(accuracies: list[float]) -> Summary:
    return Summary(
        n=len(accuracies),
        mean=mean(accuracies),
        spread=standard_deviation(accuracies),
        worst=min(accuracies),
    )
