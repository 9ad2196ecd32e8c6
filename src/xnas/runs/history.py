"""The history of a run: the rows of metrics.jsonl as values, in both directions.

Every line is a row with a "kind". A last line that was torn by a crash is left out; damage before it is an error.
Rows of a kind that nothing reads are passed over. Rows are read one by one, and only what they say is kept.

E: edges of a group; K: experts of each.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from xnas.config.limits import MOST_EPOCHS
from xnas.io.json import JsonObject, read_json_lines
from xnas.io.text import printable, short_repr
from xnas.optimizers.group_info import GroupInfo
from xnas.runs.finished_files import METRICS as METRICS
from xnas.runs.finished_files import RunFiles

MOST_GROUPS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageStatistics:
    """The statistics that a phase normalises its images by, one for each channel."""

    phase: str
    mean: Sequence[float]
    std: Sequence[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Regret and its bounds at the end of an epoch: what `RegretSummary` says of each forecaster, as numbers."""

    regret_E: Sequence[float]
    theorem_E: Sequence[float]
    bound_E: Sequence[float]
    bound_without_wipeout_E: Sequence[float]
    log_gamma_E: Sequence[float]
    clip_rate_E: Sequence[float]
    reward_size_E: Sequence[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupWeights:
    """The expert weights of a group at the end of an epoch."""

    feedbacks: int
    """t."""
    u_EK: Sequence[Sequence[float]]
    log_v_EK: Sequence[Sequence[float]]
    alive_EK: Sequence[Sequence[bool]]
    ledger: Ledger | None = None
    """None for rivals of XNAS."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchEpoch:
    """An epoch of the search; epoch 0 is its start, and has neither losses nor accuracies."""

    epoch: int
    step: int
    parameters: int
    multiply_adds: int | None
    """Of the supernet, for one image; None where each pass draws what it computes."""
    groups: Mapping[str, GroupWeights]
    learning_rate: float | None = None
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WipeoutRow:
    """An expert that left the search."""

    epoch: int
    step: int
    group: str
    edge: int
    expert: str
    feedbacks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainEpoch:
    """An epoch of the training from scratch."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalTest:
    """The test of the trained network."""

    accuracy: float
    loss: float
    samples: int


Epoch = SearchEpoch | RetrainEpoch
HistoryRow = GroupInfo | ImageStatistics | SearchEpoch | WipeoutRow | RetrainEpoch | FinalTest
_KINDS = {
    GroupInfo: "group",
    SearchEpoch: "search_epoch",
    WipeoutRow: "wipeout",
    RetrainEpoch: "retrain_epoch",
    FinalTest: "test",
}


def to_row(row: HistoryRow) -> dict[str, Any]:
    """Return a row as JSON has it; the shapes in the fields' names are left out."""
    kind = f"{row.phase}_images" if isinstance(row, ImageStatistics) else _KINDS[type(row)]
    values: dict[str, Any] = _plain(row)
    return {"kind": kind, **values}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {re.sub("_EK?$", "", item.name): _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """All that metrics.jsonl tells of a run."""

    groups: Mapping[str, GroupInfo] = field(default_factory=dict)
    search: tuple[SearchEpoch, ...] = ()
    wipeouts: tuple[WipeoutRow, ...] = ()
    retrain: tuple[RetrainEpoch, ...] = ()


def read_history(folder: Path) -> History:
    """Return the history of the run in `folder`; an empty one if it has no metrics.jsonl.

    Raises ValueError, naming file and line, for a row that is damaged or lacks something.
    """
    groups: dict[str, GroupInfo] = {}
    search: dict[int, SearchEpoch] = {}
    retrain: dict[int, RetrainEpoch] = {}
    wipeouts: dict[tuple[str, int, str], WipeoutRow] = {}
    for _, row in read_rows(folder):
        # An epoch that was done again after an interruption counts as it ended the last time.
        match row.name("kind"):
            case "group":
                group = _group(row)
                if len(groups) >= MOST_GROUPS and group.name not in groups:
                    raise ValueError(f"{row.where}: a run has at most {MOST_GROUPS:,} groups")
                if groups.setdefault(group.name, group) != group:
                    raise ValueError(f"{row.where}: group {group.name!r} is not as it was in a line before")
            case "search_epoch":
                search_epoch = _search_epoch(row, groups)
                search[search_epoch.epoch] = search_epoch
            case "wipeout":
                gone = _wipeout(row, groups)
                wipeouts[gone.group, gone.edge, gone.expert] = gone
            case "retrain_epoch":
                retrain_epoch = _retrain_epoch(row)
                retrain[retrain_epoch.epoch] = retrain_epoch
            case _:
                pass
    return History(
        groups=groups,
        search=tuple(search[epoch] for epoch in sorted(search)),
        wipeouts=tuple(wipeouts.values()),
        retrain=tuple(retrain[epoch] for epoch in sorted(retrain)),
    )


def read_rows(folder: Path) -> Iterator[tuple[bytes, JsonObject]]:
    """Yield the lines of the run's metrics.jsonl that are not blank, and what is in them; nothing without that file.

    Raises ValueError, naming file and line, for a line that is damaged.
    """
    if (opened := RunFiles(folder).open_metrics()) is not None:
        with opened as file:
            yield from read_json_lines(file, where=str(folder / METRICS))


def _group(row: JsonObject) -> GroupInfo:
    return GroupInfo(
        name=row.name("name"),
        method=row.name("method"),
        edges=row.names("edges"),
        experts=row.names("experts"),
        replicas=row.integer("replicas"),
        feedback=row.name("feedback"),
        horizon=row.integer("horizon"),
        step_size=row.number("step_size"),
        reward_bound=row.optional_number("reward_bound"),
        scaled=row.flag("scaled"),
        zeta=row.optional_number("zeta"),
        description=row.name("description"),
    )


def _search_epoch(row: JsonObject, groups: Mapping[str, GroupInfo]) -> SearchEpoch:
    weights = row.nested("groups")
    return SearchEpoch(
        epoch=row.integer("epoch", most=MOST_EPOCHS),
        step=row.integer("step"),
        parameters=row.integer("parameters"),
        multiply_adds=row.optional_integer("multiply_adds"),
        groups={
            printable(name): _weights(weights.nested(name), _known(printable(name), groups, where=row.where))
            for name in weights.values
        },
        learning_rate=row.optional_number("learning_rate"),
        train_loss=row.optional_number("train_loss"),
        train_accuracy=row.optional_share("train_accuracy"),
        val_loss=row.optional_number("val_loss"),
        val_accuracy=row.optional_share("val_accuracy"),
    )


def _weights(row: JsonObject, group: GroupInfo) -> GroupWeights:
    shape = (len(group.edges), len(group.experts))
    ledger = row.optional_inner("ledger")
    return GroupWeights(
        feedbacks=row.integer("feedbacks"),
        u_EK=row.shares_EK("u", shape=shape),
        log_v_EK=row.numbers_EK("log_v", shape=shape),
        alive_EK=row.flags_EK("alive", shape=shape),
        ledger=_ledger(ledger, len(group.edges)) if ledger else None,
    )


def _ledger(row: JsonObject, count: int) -> Ledger:
    return Ledger(
        regret_E=row.numbers_E("regret", count=count),
        theorem_E=row.numbers_E("theorem", count=count),
        bound_E=row.numbers_E("bound", count=count),
        bound_without_wipeout_E=row.numbers_E("bound_without_wipeout", count=count),
        log_gamma_E=row.numbers_E("log_gamma", count=count),
        clip_rate_E=row.shares_E("clip_rate", count=count),
        reward_size_E=row.sizes_E("reward_size", count=count),
    )


def _wipeout(row: JsonObject, groups: Mapping[str, GroupInfo]) -> WipeoutRow:
    wipeout = WipeoutRow(
        epoch=row.integer("epoch", most=MOST_EPOCHS),
        step=row.integer("step"),
        group=row.name("group"),
        edge=row.integer("edge"),
        expert=row.name("expert"),
        feedbacks=row.integer("feedbacks"),
    )
    group = _known(wipeout.group, groups, where=row.where)
    if wipeout.edge >= len(group.edges):
        raise ValueError(
            f"{row.where}: edge {wipeout.edge} does not exist; group {group.name!r} has {len(group.edges)}"
        )
    if wipeout.expert not in group.experts:
        raise ValueError(f"{row.where}: {wipeout.expert!r} is not an expert of group {group.name!r}")
    return wipeout


def _retrain_epoch(row: JsonObject) -> RetrainEpoch:
    return RetrainEpoch(
        epoch=row.integer("epoch", most=MOST_EPOCHS),
        learning_rate=row.number("learning_rate"),
        train_loss=row.number("train_loss"),
        train_accuracy=row.share("train_accuracy"),
    )


def _known(name: str, groups: Mapping[str, GroupInfo], *, where: str) -> GroupInfo:
    if name not in groups:
        raise ValueError(f"{where}: group {short_repr(name)} has no row of its own before this one")
    return groups[name]
