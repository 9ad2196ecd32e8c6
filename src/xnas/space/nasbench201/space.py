"""The search space of NAS-Bench-201: what a search needs to know of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from xnas.io.plain_value import plain_value, take_plain
from xnas.space.backbone import NetworkSpec
from xnas.space.names import NASBENCH201_OPERATIONS as OPERATIONS
from xnas.space.names import Stem
from xnas.space.nasbench201.genotype import EDGES, Nasbench201Genotype
from xnas.space.nasbench201.stack import GROUP, Nasbench201Supernet
from xnas.space.search_space import check_experts, check_partial


@dataclass(frozen=True, kw_only=True)
class Nasbench201Space:
    """One cell of six edges, every edge a choice between `experts`.

    `none` among the experts can be chosen too, unless `choose_none` is off: then each edge takes the best of the
    others, as the DARTS space does. With `partial_channels` = k only 1/k of the supernet's channels pass the experts.

    Raises ValueError for no part, a repeated or unknown expert, or nothing to choose.
    """

    experts: tuple[str, ...] = OPERATIONS
    choose_none: bool = True
    partial_channels: int = 1
    large_stem: ClassVar[Stem] = "strided"

    @classmethod
    def from_settings(
        cls, *, nodes: int, experts: tuple[str, ...], choose_none: bool, partial_channels: int
    ) -> Self:
        """Build the space from the settings of [space]."""
        del nodes  # always 3
        return cls(experts=experts, choose_none=choose_none, partial_channels=partial_channels)

    @property
    def num_edges(self) -> int:
        """Edges of a cell."""
        return len(EDGES)

    def __post_init__(self) -> None:
        take_plain(self, "partial_channels")
        check_partial(self.partial_channels)
        check_experts(self.experts, known=OPERATIONS, choices=self._choices)

    @property
    def _choices(self) -> tuple[str, ...]:
        return tuple(name for name in self.experts if self.choose_none or name != "none")

    def supernet(self, spec: NetworkSpec) -> Nasbench201Supernet:
        """Build the supernet: all architectures at once. Raises ValueError for a shape that this space cannot have."""
        check_partial(self.partial_channels, channels=spec.channels)
        return Nasbench201Supernet(spec, experts=self.experts, partial=self.partial_channels)

    def edge_labels(self, group: str) -> tuple[str, ...]:
        """Source and node of each edge."""
        del group
        return tuple(f"{source}→{node}" for source, node in EDGES)

    def derive(self, log_v: Mapping[str, Tensor]) -> Nasbench201Genotype:
        """On every edge the strongest expert that can be chosen; the first of equals."""
        eligible_K = torch.tensor([name in self._choices for name in self.experts])
        best_E = log_v[GROUP].cpu().masked_fill(~eligible_K, -torch.inf).argmax(dim=-1)
        return Nasbench201Genotype(tuple(self.experts[best] for best in best_E.tolist()))

    def random_genotype(self, seed: int) -> Nasbench201Genotype:
        """Every edge's operation uniformly at random."""
        generator = torch.Generator().manual_seed(plain_value(seed))
        picks = torch.randint(len(self._choices), (len(EDGES),), generator=generator)
        return Nasbench201Genotype(tuple(self._choices[pick] for pick in picks.tolist()))
