"""The discrete network of a genotype: any width, depth, number of classes, image channels and size (section 4.2).

E: edges of a cell, two for each node; B: samples; C H W: channels, height, width.
"""

import torch
from torch import Tensor, nn

from xnas.io.text import short_repr
from xnas.space.architecture import Architecture
from xnas.space.backbone import CellInputs, CellPosition, NetworkSpec, Stack
from xnas.space.fast.dispatch import sum_outputs, sum_outputs_with_drop_path
from xnas.space.genotype import CellGenotype, Genotype
from xnas.space.nasbench201.genotype import Nasbench201Genotype
from xnas.space.nasbench201.stack import Nasbench201Network
from xnas.space.operations import NETWORK_STYLE, build_operation

MOST_OPERATIONS = 2000
"""Limit for all cells together. The published networks have 160 to 200; a stranger's file could ask for any number."""


def build_network(architecture: Architecture, spec: NetworkSpec) -> nn.Module:
    """The discrete network of an architecture. Raises ValueError for a plan that its space cannot have."""
    if isinstance(architecture, Nasbench201Genotype):
        return Nasbench201Network(architecture, spec)
    if not isinstance(architecture, Genotype):
        raise ValueError(
            f"a network is built of a genotype; got {short_repr(architecture)}; read_genotype reads names and files"
        )
    return Network(architecture, spec)


class Network(Stack):
    """The network that retraining trains: every node sums two operations' outputs.

    Raises ValueError for a network of more than MOST_OPERATIONS operations.
    """

    def __init__(self, genotype: Genotype, spec: NetworkSpec) -> None:
        edges = max(len(genotype.normal.edges), len(genotype.reduction.edges))
        if spec.cells * edges > MOST_OPERATIONS:
            raise ValueError(
                f"{spec.cells:,} cells of up to {edges} operations are more than a network takes, "
                f"{MOST_OPERATIONS:,} operations; use fewer cells"
            )

        def build_cell(position: CellPosition) -> nn.Module:
            return NetworkCell(genotype.reduction if position.reduction else genotype.normal, position)

        super().__init__(spec, style=NETWORK_STYLE, build_cell=build_cell)
        self.genotype = genotype


class NetworkCell(nn.Module):
    """One cell of a discrete network."""

    def __init__(self, cell: CellGenotype, position: CellPosition) -> None:
        super().__init__()
        self.cell = cell
        self.inputs = CellInputs(position, style=NETWORK_STYLE)
        self.operations = nn.ModuleList(
            build_operation(
                edge.operation,
                position.channels,
                stride=2 if position.reduction and edge.source < 2 else 1,
                style=NETWORK_STYLE,
            )
            for edge in cell.edges
        )
        self.out_channels = len(cell.concat) * position.channels

    def forward(self, before_last: Tensor, last: Tensor, paths_EB: Tensor | None = None) -> Tensor:
        """The concatenation of the cell's output nodes, shape (B, out_channels, H, W).

        With `paths_EB`, the output of every edge that is no identity is multiplied image by image.
        """
        nodes = self.inputs(before_last, last)
        for start in range(0, len(self.operations), 2):
            sources = [nodes[edge.source] for edge in self.cell.edges[start : start + 2]]
            operations: list[nn.Module] = list(self.operations[start : start + 2])
            if paths_EB is None:
                nodes.append(sum_outputs(operations, sources, training=self.training))
            else:
                factors_EB = paths_EB[start : start + 2]
                nodes.append(
                    sum_outputs_with_drop_path(operations, sources, factors_EB, training=self.training)
                )
        return torch.cat([nodes[node] for node in self.cell.concat], dim=1)
