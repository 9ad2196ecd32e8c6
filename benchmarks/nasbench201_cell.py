"""A search round of NAS-Bench-201's cells, plain against ours: the supernet of that space, a cell in each stage."""

from functools import reduce

import torch
from torch import Tensor

from benchmarks.figure import Figure
from benchmarks.options import Options
from benchmarks.plain import Leaves, mixture_leaf, plain_forecast
from benchmarks.rounds import FastRound, PlainRound, Setting
from benchmarks.timing import in_turn, milliseconds, time_ratio
from xnas.experts.step_size import Feedback
from xnas.space.nasbench201.space import Nasbench201Space
from xnas.space.nasbench201.stack import Nasbench201SearchCell, Nasbench201Supernet

USUAL, SMALL = Setting(16, cells=3, batch=64, size=32), Setting(4, cells=3, batch=4, size=8)


def supernet(setting: Setting) -> Nasbench201Supernet:
    """All five operations on every edge."""
    return Nasbench201Space().supernet(setting.plan)


def plain_logits(
    model: Nasbench201Supernet, images: Tensor, *, feedback: Feedback | None = None
) -> tuple[Tensor, Leaves]:
    """What it computes, edge by edge and operation by operation, and the mixture weights that went into it."""
    leaves: Leaves = {}
    features = model.stem(images)
    for layer in model.layers:
        searched = isinstance(layer, Nasbench201SearchCell)
        features = _cell(layer, features, feedback, leaves) if searched else layer(features)
    logits_BD: Tensor = model.classifier(model.last(features).mean(dim=(2, 3)))
    return logits_BD, leaves


def _cell(cell: Nasbench201SearchCell, inputs: Tensor, feedback: Feedback | None, leaves: Leaves) -> Tensor:
    nodes = [inputs]
    for forecasters in cell.incoming():
        edges = []
        for forecaster, source in zip(forecasters, nodes, strict=True):
            leaves[forecaster] = mixture_leaf(forecaster, len(source), feedback)
            edges.append(plain_forecast(forecaster, source, leaves[forecaster]))
        nodes.append(reduce(torch.add, edges))
    return nodes[-1]


def rounds(setting: Setting) -> tuple[PlainRound, FastRound]:
    """The plain round and ours, of the same model."""

    def build() -> Nasbench201Supernet:
        return supernet(setting)

    return PlainRound(build, setting, forward=plain_logits), FastRound(build, setting)


def measure(options: Options) -> list[Figure]:
    """Rounds in turn."""
    plain, fast = rounds(SMALL if options.small else USUAL)
    timings = in_turn({"plain": plain.round, "fast": fast.round}, n=options.repeats(7))
    name = "round of NAS-Bench-201 cells"
    return [
        time_ratio(
            f"time of a {name}", "plain / fast", timings["plain"], timings["fast"], better="more", target=2.5
        ),
        *(milliseconds(f"{kind} {name}", timing) for kind, timing in timings.items()),
    ]
