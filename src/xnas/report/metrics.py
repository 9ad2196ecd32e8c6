"""The course of a run, read from metrics.jsonl into values.

Every line is a row with a "kind". A last line that was torn by a crash is left out; damage before it is an error.
Rows of a kind that is not known here are passed over, so that a newer run can still be looked at.

E: edges of a group; K: experts of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xnas.report.fields import Fields, parse_object

METRICS = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of forecasters, and what its search is fixed by."""

    name: str
    experts: tuple[str, ...]
    edges: tuple[str, ...]
    replicas: int
    feedback: str
    horizon: int
    """T, in feedbacks."""
    step_size: float
    """eta."""
    reward_bound: float
    """L."""
    zeta: float | None
    """Relaxation of the wipeout; None: no wipeout."""


@dataclass(frozen=True, kw_only=True)
class GroupWeights:
    """The expert weights of a group at the end of an epoch."""

    feedbacks: int
    """t."""
    u_EK: tuple[tuple[float, ...], ...]
    log_v_EK: tuple[tuple[float, ...], ...]
    alive_EK: tuple[tuple[bool, ...], ...]


@dataclass(frozen=True, kw_only=True)
class SearchEpoch:
    """An epoch of the search; epoch 0 is its start, and has neither losses nor accuracies."""

    epoch: int
    rounds: int
    parameters: int
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    groups: Mapping[str, GroupWeights]


@dataclass(frozen=True, kw_only=True)
class Wipeout:
    """An expert that left the search."""

    epoch: int
    round: int
    group: str
    edge: int
    expert: str
    feedbacks: int


@dataclass(frozen=True, kw_only=True)
class RetrainEpoch:
    """An epoch of the training from scratch."""

    epoch: int
    train_loss: float
    train_accuracy: float


@dataclass(frozen=True, kw_only=True)
class Course:
    """All that metrics.jsonl tells of a run."""

    groups: Mapping[str, Group] = field(default_factory=dict)
    search: tuple[SearchEpoch, ...] = ()
    wipeouts: tuple[Wipeout, ...] = ()
    retrain: tuple[RetrainEpoch, ...] = ()


def read_course(folder: Path) -> Course:
    """The course of the run in `folder`; an empty one if it has no metrics.jsonl.

    Raises ValueError, naming file and line, for a row that is damaged or lacks something.
    """
    path = folder / METRICS
    if not path.is_file():
        return Course()
    groups: dict[str, Group] = {}
    search: dict[int, SearchEpoch] = {}
    retrain: dict[int, RetrainEpoch] = {}
    wipeouts: list[Wipeout] = []
    for row in _rows(path):
        # An epoch that was done again after an interruption counts as it ended the last time.
        match row.text("kind"):
            case "group":
                group = _group(row)
                groups[group.name] = group
            case "search_epoch":
                search_epoch = _search_epoch(row, groups)
                search[search_epoch.epoch] = search_epoch
            case "wipeout":
                wipeouts.append(_wipeout(row, groups))
            case "retrain_epoch":
                retrain_epoch = _retrain_epoch(row)
                retrain[retrain_epoch.epoch] = retrain_epoch
            case _:
                pass
    return Course(
        groups=groups,
        search=tuple(search[epoch] for epoch in sorted(search)),
        wipeouts=tuple(dict.fromkeys(wipeouts)),
        retrain=tuple(retrain[epoch] for epoch in sorted(retrain)),
    )


def _rows(path: Path) -> list[Fields]:
    # Bytes: a crash may have cut the last line inside a character.
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            rows.append(parse_object(line.decode("utf-8"), where=where))
        except UnicodeDecodeError:
            if number < len(lines):
                raise ValueError(f"{where} is damaged: it is not UTF-8; restore it or take it away") from None
        except ValueError:
            # Only a line without its newline was still being written.
            if number < len(lines):
                raise
    return rows


def _group(row: Fields) -> Group:
    return Group(
        name=row.text("group"),
        experts=row.texts("experts"),
        edges=row.texts("edges"),
        replicas=row.integer("replicas"),
        feedback=row.text("feedback"),
        horizon=row.integer("horizon"),
        step_size=row.number("step_size"),
        reward_bound=row.number("reward_bound"),
        zeta=row.optional_number("zeta"),
    )


def _search_epoch(row: Fields, groups: Mapping[str, Group]) -> SearchEpoch:
    weights = row.inner("groups")
    return SearchEpoch(
        epoch=row.integer("epoch"),
        rounds=row.integer("rounds"),
        parameters=row.integer("parameters"),
        train_loss=row.optional_number("train_loss"),
        train_accuracy=row.optional_number("train_accuracy"),
        val_loss=row.optional_number("val_loss"),
        val_accuracy=row.optional_number("val_accuracy"),
        groups={
            name: _weights(weights.inner(name), _known(name, groups, where=row.where))
            for name in weights.values
        },
    )


def _weights(row: Fields, group: Group) -> GroupWeights:
    shape = (len(group.edges), len(group.experts))
    return GroupWeights(
        feedbacks=row.integer("feedbacks"),
        u_EK=row.numbers_EK("u", shape=shape),
        log_v_EK=row.numbers_EK("log_v", shape=shape),
        alive_EK=row.flags_EK("alive", shape=shape),
    )


def _wipeout(row: Fields, groups: Mapping[str, Group]) -> Wipeout:
    wipeout = Wipeout(
        epoch=row.integer("epoch"),
        round=row.integer("round"),
        group=row.text("group"),
        edge=row.integer("edge"),
        expert=row.text("expert"),
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


def _retrain_epoch(row: Fields) -> RetrainEpoch:
    return RetrainEpoch(
        epoch=row.integer("epoch"),
        train_loss=row.number("train_loss"),
        train_accuracy=row.number("train_accuracy"),
    )


def _known(name: str, groups: Mapping[str, Group], *, where: str) -> Group:
    if name not in groups:
        raise ValueError(f"{where}: group {name!r} has no row of its own before this one")
    return groups[name]
