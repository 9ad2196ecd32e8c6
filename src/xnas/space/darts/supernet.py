"""The supernet: cells in which every node reads all nodes before it through forecasters (section 2.1).

Normal cells make the group `normal`, reduction cells the group `reduction`; an index is an edge of the cell, and
all cells of a type are replicas. Edges are numbered node by node: node 2 has the edges from 0 and 1, and so on.
"""

import torch
from torch import Tensor, nn

from xnas.space.backbone import CellInputs, CellPosition, NetworkSpec, Stack
from xnas.space.fast.dispatch import node_kernel
from xnas.space.fast.gpu.nodes import NodeSchedules
from xnas.space.forecaster import Forecaster
from xnas.space.operations import SUPERNET_STYLE, build_operation
from xnas.space.partial import bypass

GROUPS = ("normal", "reduction")


def cell_edges(num_nodes: int) -> tuple[tuple[int, int], ...]:
    """(source, node) of every edge of a cell with `num_nodes` intermediate nodes, in the order of their indices."""
    return tuple((source, node) for node in range(2, 2 + num_nodes) for source in range(node))


class Supernet(Stack):
    """The supernet: all architectures of the space at once."""

    def __init__(
        self, spec: NetworkSpec, *, num_nodes: int, experts: tuple[str, ...], partial: int = 1
    ) -> None:
        def build_cell(position: CellPosition) -> nn.Module:
            return SearchCell(position, num_nodes=num_nodes, experts=experts, partial=partial)

        super().__init__(spec, style=SUPERNET_STYLE, build_cell=build_cell)


class SearchCell(nn.Module):
    """A cell with a forecaster on every edge; its output is the concatenation of all intermediate nodes.

    With `partial` = k every forecaster works on the first 1/k of its channels.
    """

    def __init__(
        self, position: CellPosition, *, num_nodes: int, experts: tuple[str, ...], partial: int = 1
    ) -> None:
        super().__init__()
        self.num_nodes = num_nodes
        self.inputs = CellInputs(position, style=SUPERNET_STYLE)

        def forecaster(index: int, *, stride: int) -> Forecaster:
            width = position.channels // partial
            return Forecaster(
                {name: build_operation(name, width, stride=stride, style=SUPERNET_STYLE) for name in experts},
                group=GROUPS[position.reduction],
                index=index,
                partial=partial,
                bypass=bypass(stride=stride) if partial > 1 else None,
            )

        self.forecasters = nn.ModuleList(
            forecaster(index, stride=2 if position.reduction and source < 2 else 1)
            for index, (source, _) in enumerate(cell_edges(num_nodes))
        )
        self.out_channels = num_nodes * position.channels
        self._schedules = NodeSchedules()

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        """The concatenation of the intermediate nodes, shape (B, out_channels, H, W)."""
        nodes = self.inputs(before_last, last)
        compute = node_kernel(nodes[0], training=self.training, schedules=self._schedules)
        forecasters: list[Forecaster] = list(self.forecasters)  # type: ignore[arg-type]
        for _ in range(self.num_nodes):
            incoming, forecasters = forecasters[: len(nodes)], forecasters[len(nodes) :]
            nodes.append(compute(incoming, nodes))
        return torch.cat(nodes[2:], dim=1)
