"""The least memory traffic and the multiply-adds of a round of a DARTS supernet, part by part: docs/speed.md.

The model. A norm needs its whole batch before it can give anything: so what goes into a norm, z, is written and read
again. Nothing else inside an expert is stored: ReLU, depthwise and pointwise convolution are one sweep, in the forward
and in the backward pass, and the depthwise outputs that a weight gradient needs are computed again. Norms are applied
where their result is read; their sums are taken where z or its gradient is written, or else in a sweep over both. All
first rounds that listen to one node read it in one sweep. Skip connections and poolings cost one reading of their
source for each edge, where they are mixed and again where their sums are taken; poolings of stride 2, which are
smaller than their source, are kept instead. The optimizer reads and writes weights and momentum, and reads the
gradients twice.

Every tensor counts as moved to memory and back each time, however large the caches are.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from benchmarks.layers import Flow, flows
from benchmarks.rounds import Setting
from xnas.space.backbone import CellInputs
from xnas.space.darts.supernet import SearchCell, Supernet, cell_edges
from xnas.space.forecaster import Forecaster
from xnas.space.operations import Zero

NUMBER = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Work:
    """What a part has to do."""

    numbers: int = 0
    """Read and written."""
    multiply_adds: int = 0

    @property
    def num_bytes(self) -> int:
        """Read and written, in float32."""
        return NUMBER * self.numbers

    def __add__(self, other: "Work") -> "Work":
        return Work(self.numbers + other.numbers, self.multiply_adds + other.multiply_adds)


Parts = dict[str, Work]


def pass_work(supernet: Supernet, setting: Setting, *, learns: bool) -> Parts:
    """The work of a pass by part: of a weight step if it `learns`, else of a reward pass."""
    meter = _Tally(flows(supernet, setting.image_shape), learns=learns)
    stem = meter.flows[_only_convolution(supernet.stem)]
    meter.compute("stem", supernet.stem, by_inputs=False)
    meter.move("stem", stem.given + stem.gives)
    if learns:
        meter.move("stem", stem.given + 2 * stem.gives)  # image, z and its gradient
    outputs = [Output(stem.gives, needs_gradient=learns)] * 2
    for cell in supernet.cells:
        assert isinstance(cell, SearchCell)
        outputs.append(meter.cell(cell, outputs[-2], outputs[-1], last=cell is supernet.cells[-1]))
    # What comes out of the stem or of a cell but the last is read by the inputs of two cells in one sweep; backward
    # too, and its gradient is written.
    for output in outputs[1:-1]:
        meter.move("cell inputs", output.numbers * (3 if output.needs_gradient else 1))
    meter.compute("classifier", supernet.classifier, by_inputs=True)
    batch = {
        part: Work(setting.batch * work.numbers, setting.batch * work.multiply_adds)
        for part, work in meter.parts.items()
    }
    if learns:
        numbers = sum(parameter.numel() for parameter in supernet.parameters())
        # Gradients are written, read by the norm that clips and by the step, which reads and writes two more.
        batch["optimizer"] = Work(numbers=7 * numbers)
    return batch


@dataclass(frozen=True)
class Output:
    """What a cell, or the stem, gives the next two cells: numbers of one sample."""

    numbers: int
    needs_gradient: bool


class _Tally:
    """Adds up the work of one sample."""

    def __init__(self, flows: Mapping[nn.Module, Flow], *, learns: bool) -> None:
        self.flows = flows
        self.learns = learns
        self.parts: Parts = defaultdict(Work)

    def move(self, part: str, numbers: int) -> None:
        """So many numbers are read or written."""
        self.parts[part] += Work(numbers=numbers)

    def compute(self, part: str, module: nn.Module, *, by_inputs: bool) -> None:
        """The multiply-adds of a module's layers: forward, by its inputs, and by its weights if the pass learns."""
        for layer in module.modules():
            if (flow := self.flows.get(layer)) is None or not flow.multiply_adds:
                continue
            kind = part
            if part == "experts":
                assert isinstance(layer, nn.Conv2d)
                kind = "depthwise" if layer.groups > 1 else "pointwise"
            times = 1 + by_inputs + self.learns
            self.parts[kind] += Work(multiply_adds=times * flow.multiply_adds)

    def cell(self, cell: SearchCell, before_last: Output, newest: Output, *, last: bool) -> Output:
        """The work of a cell, except for the reading of what comes into it; `last`: it is the last of its stack."""
        assert isinstance(cell.inputs, CellInputs)
        needed = []
        sizes = []
        for module, output in ((cell.inputs.before_last, before_last), (cell.inputs.last, newest)):
            self.compute("cell inputs", module, by_inputs=output.needs_gradient)
            sizes.append(self.flows[module].gives)
            needed.append(self.learns or output.needs_gradient)
            self.move(
                "cell inputs", sizes[-1] + (2 * sizes[-1] if needed[-1] else 0)
            )  # z; z and its gradient
        edges = cell_edges(cell.num_nodes)
        forecasters = [f for f in cell.forecasters if isinstance(f, Forecaster)]
        node_size = self.flows[forecasters[-1]].gives
        sizes += cell.num_nodes * [node_size]
        needed += cell.num_nodes * [True]
        self.move("mixture", cell.num_nodes * node_size)  # every node
        self.move("norms", cell.num_nodes * node_size)  # its gradient, for the sums
        listeners: dict[int, list[Forecaster]] = defaultdict(list)
        for forecaster, (source, _) in zip(forecasters, edges, strict=True):
            listeners[source].append(forecaster)
            self.edge(forecaster, sizes[source], node_size, needs_gradient=needed[source])
        for source, heard in listeners.items():
            # Forward once; backward once, for masks and weights, and the gradient is written.
            part = "depthwise" if any(_rounds(e) for f in heard for e in f.experts) else "pooling"
            self.move(part, sizes[source] * (3 if needed[source] else 1))
            if kept := max(_pooled(forecaster, sizes[source], node_size) for forecaster in heard):
                self.move("pooling", kept * node_size)
            if source >= 2 and not last:
                self.move("cell inputs", node_size)  # the gradient that comes from outside the cell
        # Second rounds of all edges of a node read its gradient in one sweep.
        for node in range(2, 2 + cell.num_nodes):
            heard = [
                f for f, (source, n) in zip(forecasters, edges, strict=True) if n == node and needed[source]
            ]
            self.move("pointwise", node_size if any(_rounds(e) > 1 for f in heard for e in f.experts) else 0)
        return Output(cell.num_nodes * node_size, needs_gradient=True)

    def edge(self, forecaster: Forecaster, source: int, node: int, *, needs_gradient: bool) -> None:
        """The work of a forecaster, except for what its source's and its node's experts share."""
        assert forecaster.partial == 1, "the model knows no partial channels"
        passing = [expert for expert in forecaster.experts if not isinstance(expert, Zero)]
        if kept := _pooled(forecaster, source, node):
            self.move("pooling", 2 * kept * node)  # mixed; and backward, for the sums
        elif any(not _rounds(expert) for expert in passing):
            self.move("pooling", 2 * source)  # the same, computed again
        if needs_gradient and any(_rounds(expert) < 2 for expert in passing):
            self.move("mixture", node)  # the node's gradient
        for expert in passing:
            rounds = _rounds(expert)
            if not rounds:
                continue
            self.compute("experts", expert, by_inputs=needs_gradient)
            self.move("pointwise", rounds * node)  # every z is written
            self.move("depthwise", (rounds - 1) * node)  # and read by the next round
            self.move("mixture", node)  # or mixed
            self.move("norms", node)  # backward: the last z, for the sums
            if needs_gradient:
                self.move("norms", rounds * node)  # each z again, where its gradient is computed
                # Between rounds: z for the mask, the gradient of what the norm gave written, and read again.
                self.move("depthwise", 2 * (rounds - 1) * node)
                self.move("norms", (rounds - 1) * node)


def _rounds(expert: nn.Module) -> int:
    """Norms of an expert with convolutions; 0 for poolings, skip connections and `none`."""
    modules = list(expert.modules())
    if not any(isinstance(module, nn.Conv2d) for module in modules):
        return 0
    return sum(isinstance(module, nn.BatchNorm2d) for module in modules)


def _pooled(forecaster: Forecaster, source: int, node: int) -> int:
    """How many poolings are kept, computed once for all edges of a source: where that is less than reading it again."""
    poolings = sum(isinstance(module, nn.MaxPool2d | nn.AvgPool2d) for module in forecaster.modules())
    skips = any(isinstance(expert, nn.Identity) for expert in forecaster.experts)
    return poolings if not skips and poolings * node < source else 0


def _only_convolution(module: nn.Module) -> nn.Conv2d:
    (found,) = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    return found
