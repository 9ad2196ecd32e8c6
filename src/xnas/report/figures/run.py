"""The pictures of a run: those that its record has something to show for, under the names of their files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from xnas.report.figures.architecture import cells_of
from xnas.report.figures.curves import (
    draw_retrain_accuracy,
    draw_retrain_loss,
    draw_search_accuracy,
    draw_search_loss,
    draw_supernet_size,
    draw_survivors,
)
from xnas.report.figures.expert_weights import draw_expert_weights
from xnas.report.figures.health import (
    draw_clip_rate,
    draw_health,
    draw_regret,
    draw_wipeout_factor,
    regret_checks,
)
from xnas.runs.folder import RunRecord
from xnas.runs.history import History
from xnas.space.architecture import chosen_operations

MOST_PANELS = 100
"""Edges of a group that are drawn."""

MOST_CURVES = 2000
"""Experts' curves in all pictures together: DARTS's search has 196, a stranger's run may claim any number."""


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its files, and what those are told who cannot see it."""

    name: str
    section: str
    description: str
    figure: Figure


def pictures_of(run: RunRecord) -> Iterator[Picture]:
    """The pictures, in the order of the page."""
    if run.genotype is not None:
        for cell in cells_of(run.genotype):
            edges = ", ".join(
                f"node {node} reads {' and '.join(f'{operation} of {source}' for operation, source in inputs)}"
                for node, inputs in cell.inputs.items()
            )
            yield Picture(cell.name, "cells", f"{cell.title}: {edges}", cell.draw(cell.title))
    yield from _curves(run)
    yield from _experts(run)
    yield from _health(run.history)


def _curves(run: RunRecord) -> Iterator[Picture]:
    history = run.history
    if any(row.train_loss is not None for row in history.search):
        yield Picture("search-loss", "curves", "Losses of the search by epoch", draw_search_loss(history))
    if any(row.train_accuracy is not None for row in history.search):
        yield Picture(
            "search-accuracy", "curves", "Accuracies of the search by epoch", draw_search_accuracy(history)
        )
    if history.retrain:
        yield Picture("retrain-loss", "curves", "Loss of the training by epoch", draw_retrain_loss(history))
        test_accuracy = run.result.test_accuracy if run.result else None
        yield Picture(
            "retrain-accuracy",
            "curves",
            "Accuracy of the training by epoch",
            draw_retrain_accuracy(history, test_accuracy=test_accuracy),
        )


def _experts(run: RunRecord) -> Iterator[Picture]:
    history = run.history
    if not any(row.epoch for row in history.search):
        return  # epoch 0 alone: uniform weights, and nothing lost
    for number, (name, panels) in enumerate(drawn_edges(history).items(), start=1):
        if not panels:
            continue
        group = history.groups[name]
        chosen = None if run.genotype is None else chosen_operations(run.genotype, name)
        # A group of a user's own model may have any name, a file not.
        plain = name if re.fullmatch(r"[a-z0-9_-]{1,40}", name) else f"group-{number}"
        yield Picture(
            f"experts-{plain}",
            "experts",
            f"Expert weights of group {name} by epoch, a panel for each edge",
            draw_expert_weights(history, group, chosen=chosen, panels=panels),
        )
    yield Picture("survivors", "survivors", "Share of experts alive by epoch", draw_survivors(history))
    yield Picture(
        "supernet-size", "survivors", "Parameters of the supernet by epoch", draw_supernet_size(history)
    )


def _health(history: History) -> Iterator[Picture]:
    if found := regret_checks(history):
        yield Picture("regret", "regret", "Regret of every group by epoch, and its bound", draw_regret(found))
        yield Picture(
            "wipeout-factor",
            "promise",
            "Aggregated wipeout factor of every group by epoch",
            draw_wipeout_factor(found),
        )
        yield Picture(
            "clip-rate", "promise", "Share of clipped rewards of every group by epoch", draw_clip_rate(found)
        )
    if health := draw_health(history):
        yield Picture(
            "health",
            "health",
            "By epoch: entropy of the weights, what leads, what is decided, what is still computed",
            health,
        )


def drawn_edges(history: History) -> dict[str, int]:
    """How many edges are drawn of each group that has curves: of the first groups all, until there are too many."""
    told = {name for row in history.search for name in row.groups}
    curves, drawn = MOST_CURVES, {}
    for name, group in history.groups.items():
        if name in told and group.edges and group.experts:
            drawn[name] = min(len(group.edges), MOST_PANELS, curves // len(group.experts))
            curves -= drawn[name] * len(group.experts)
    return drawn
