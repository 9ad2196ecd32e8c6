"""A search round of NAS-Bench-201's cells, plain against ours: forecasters in a model that is no DARTS supernet.

Xuanyi Dong, Yi Yang: NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search, ICLR 2020, section
2.1: a cell of 4 nodes has an edge from each node to every later one, with one of five operations; a stem, three stages
of cells with C, 2 C and 4 C channels, a residual block of stride 2 between the stages, average, classifier. Here a
stage has one cell, and as in this project's other supernets norms have no affine part and one follows the pooling.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.figure import Figure
from benchmarks.options import Options
from benchmarks.plain import Leaves, mixture_leaf, plain_forecast
from benchmarks.rounds import FastRound, PlainRound, Setting
from benchmarks.timing import in_turn, milliseconds, time_ratio
from xnas import Forecaster
from xnas.experts.step_size import Feedback
from xnas.space.node import node_path
from xnas.space.operations import SUPERNET_STYLE, ReluConvNorm, build_operation

NODES = 4
USUAL, SMALL = Setting(16, cells=3, batch=64, size=32), Setting(4, cells=3, batch=4, size=8)


class Cell(nn.Module):
    """Every node is the sum of all nodes before it, each through a forecaster; the last node is the output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        edges = [(source, node) for node in range(1, NODES) for source in range(node)]
        self.forecasters = nn.ModuleList(
            Forecaster(
                {
                    "none": build_operation("none", channels, stride=1, style=SUPERNET_STYLE),
                    "skip_connect": nn.Identity(),
                    "conv_1x1": ReluConvNorm(channels, channels, style=SUPERNET_STYLE),
                    "conv_3x3": nn.Sequential(
                        nn.ReLU(),
                        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                        SUPERNET_STYLE.norm(channels),
                    ),
                    "avg_pool_3x3": build_operation("avg_pool_3x3", channels, stride=1, style=SUPERNET_STYLE),
                },
                group="cell",
                index=index,
            )
            for index in range(len(edges))
        )

    def edges(self) -> Iterator[list[Forecaster]]:
        """The forecasters of each node's incoming edges, in the order of their sources."""
        forecasters: Iterator[Forecaster] = iter(self.forecasters)  # type: ignore[arg-type]
        return (list(islice(forecasters, node)) for node in range(1, NODES))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        compute = node_path(inputs, training=self.training)
        nodes = [inputs]
        for forecasters in self.edges():
            nodes.append(compute(forecasters, nodes))
        return nodes[-1]

    def plain(self, inputs: Tensor, feedback: Feedback | None, leaves: Leaves) -> Tensor:
        """The same edge by edge and operation by operation; the mixture weights go into `leaves`."""
        nodes = [inputs]
        for forecasters in self.edges():
            edges = []
            for forecaster, source in zip(forecasters, nodes, strict=True):
                leaves[forecaster] = mixture_leaf(forecaster, len(source), feedback)
                edges.append(plain_forecast(forecaster, source, leaves[forecaster]))
            nodes.append(reduce(torch.add, edges))
        return nodes[-1]


class Residual(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, beside an average of 2 x 2 and a pointwise convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.deep = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, wide, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide),
            nn.ReLU(), nn.Conv2d(wide, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide),
        )  # fmt: skip
        self.short = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, wide, 1, bias=False))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 2 C, H / 2, W / 2)."""
        outputs: Tensor = self.deep(inputs) + self.short(inputs)
        return outputs


class Model(nn.Module):
    """Stem, a cell in each stage, average, classifier."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        widths = [setting.channels * 2**stage for stage in range(setting.cells)]
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0])
        )
        self.cells = nn.ModuleList(Cell(width) for width in widths)
        self.reductions = nn.ModuleList([*(Residual(width) for width in widths[:-1]), nn.Identity()])
        self.last = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU())
        self.classifier = nn.Linear(widths[-1], setting.plan.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, D)."""
        return self._through(images, lambda cell, features: cell(features))

    def plain(self, images: Tensor, *, feedback: Feedback | None = None) -> tuple[Tensor, Leaves]:
        """The same with plain cells, and the mixture weights that went into them."""
        leaves: Leaves = {}
        return self._through(images, lambda cell, features: cell.plain(features, feedback, leaves)), leaves

    def _through(self, images: Tensor, forecast: Callable[[Any, Tensor], Tensor]) -> Tensor:
        features = self.stem(images)
        for cell, reduction in zip(self.cells, self.reductions, strict=True):
            features = reduction(forecast(cell, features))
        logits_BD: Tensor = self.classifier(self.last(features).mean(dim=(2, 3)))
        return logits_BD


def rounds(setting: Setting) -> tuple[PlainRound, FastRound]:
    """The plain round and ours, of the same model."""

    def build() -> Model:
        return Model(setting)

    return PlainRound(build, setting, forward=Model.plain), FastRound(build, setting)


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
