"""The DARTS search space: what a search needs to know of it (section 2.1).

It builds the supernet, names the edges of its groups, derives a genotype from expert weights, draws random
genotypes, and builds the network of a genotype.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from xnas.io.plain_value import plain_value, take_plain
from xnas.space.backbone import NetworkSpec
from xnas.space.darts.discretise import INPUTS_PER_NODE, discretise_cell
from xnas.space.darts.supernet import GROUPS, Supernet, cell_edges
from xnas.space.genotype import CellGenotype, Edge, Genotype
from xnas.space.names import EXPERTS, SEARCHABLE, Stem
from xnas.space.search_space import check_experts, check_partial


@dataclass(frozen=True, kw_only=True)
class DartsSpace:
    """Normal and reduction cells of `num_nodes` nodes, every edge a choice between `experts`.

    With `partial_channels` = k only 1/k of the supernet's channels pass the experts (partial.py).

    Raises ValueError for fewer than one node or part, a repeated or unknown expert, or nothing to choose but `none`.
    """

    num_nodes: int = 4
    experts: tuple[str, ...] = EXPERTS
    partial_channels: int = 1
    large_stem: ClassVar[Stem] = "imagenet"

    @classmethod
    def from_settings(
        cls, *, nodes: int, experts: tuple[str, ...], choose_none: bool, partial_channels: int
    ) -> Self:
        """Build the space from the settings of [space]."""
        del choose_none  # its edges never end with none
        return cls(num_nodes=nodes, experts=experts, partial_channels=partial_channels)

    @property
    def num_edges(self) -> int:
        """Edges of a cell: each node has one from both inputs and from every node before it."""
        return self.num_nodes * (self.num_nodes + 3) // 2

    def __post_init__(self) -> None:
        take_plain(self, "num_nodes", "partial_channels")
        check_partial(self.partial_channels)
        if self.num_nodes < 1:
            raise ValueError(f"a cell needs at least 1 node; got {self.num_nodes}")
        check_experts(self.experts, known=SEARCHABLE, choices=self._choices)

    @property
    def _choices(self) -> tuple[str, ...]:
        return tuple(name for name in self.experts if name != "none")

    def supernet(self, spec: NetworkSpec) -> Supernet:
        """Build the supernet: all architectures at once.

        Raises ValueError for a plan without normal or without reduction cells, or whose channels do not divide.
        """
        if not 1 <= spec.reductions < spec.cells:
            raise ValueError(
                f"a search needs normal and reduction cells; {spec.cells} cells with {spec.reductions} "
                "reductions have only one kind"
            )
        check_partial(self.partial_channels, channels=spec.channels)
        return Supernet(spec, num_nodes=self.num_nodes, experts=self.experts, partial=self.partial_channels)

    def edge_labels(self, group: str) -> tuple[str, ...]:
        """Source and node of each edge, the same for both groups."""
        del group
        return tuple(f"{source}→{node}" for source, node in cell_edges(self.num_nodes))

    def derive(self, log_v: Mapping[str, Tensor]) -> Genotype:
        """Two edges for each node and an operation for each edge, by the strength of evidence."""
        normal, reduction = (
            discretise_cell(log_v[group], experts=self.experts, num_nodes=self.num_nodes) for group in GROUPS
        )
        return Genotype(normal=normal, reduction=reduction)

    def random_genotype(self, seed: int) -> Genotype:
        """Each node takes two different predecessors and an operation for each, all uniformly at random."""
        generator = torch.Generator().manual_seed(plain_value(seed))

        def draw_cell() -> CellGenotype:
            edges = []
            for node in range(2, 2 + self.num_nodes):
                sources = torch.randperm(node, generator=generator)[:INPUTS_PER_NODE].sort().values
                picks = torch.randint(len(self._choices), (INPUTS_PER_NODE,), generator=generator)
                edges += [
                    Edge(self._choices[pick], source)
                    for pick, source in zip(picks.tolist(), sources.tolist(), strict=True)
                ]
            return CellGenotype(edges=tuple(edges), concat=tuple(range(2, 2 + self.num_nodes)))

        return Genotype(normal=draw_cell(), reduction=draw_cell())
