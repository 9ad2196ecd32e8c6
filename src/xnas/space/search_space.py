"""The interface of a search space, and checks that all spaces share."""

from collections.abc import Collection, Mapping
from typing import ClassVar, Protocol, Self

from torch import Tensor, nn

from xnas.io.text import choose
from xnas.space.architecture import Architecture
from xnas.space.backbone import NetworkSpec
from xnas.space.names import Stem


class SearchSpace(Protocol):
    """A set of architectures that one supernet holds. Groups are those of the supernet's forecasters."""

    large_stem: ClassVar[Stem]
    """The stem of images of 96 pixels and more a side, where the settings leave it open."""

    @classmethod
    def from_settings(
        cls, *, nodes: int, experts: tuple[str, ...], choose_none: bool, partial_channels: int
    ) -> Self:
        """Build the space from the settings of [space]."""
        ...

    @property
    def num_edges(self) -> int:
        """Edges of a cell."""
        ...

    def supernet(self, spec: NetworkSpec) -> nn.Module:
        """Build the supernet: all architectures of the space at once, with forecasters where they differ."""
        ...

    def edge_labels(self, group: str) -> tuple[str, ...]:
        """A label for each forecaster of a group, in the order of their indices."""
        ...

    def derive(self, log_v: Mapping[str, Tensor]) -> Architecture:
        """The architecture that expert weights log v, (E, K) for each group, have chosen."""
        ...

    def random_genotype(self, seed: int) -> Architecture:
        """An architecture drawn uniformly, the same for the same seed."""
        ...


def check_experts(experts: tuple[str, ...], *, known: Collection[str], choices: Collection[str]) -> None:
    """Raises ValueError for an unknown or repeated expert, or if none of them is among the `choices` of an edge."""
    for name in experts:
        choose("operation", name, known)
        if experts.count(name) > 1:
            raise ValueError(f"the operation {name!r} is listed twice among the experts")
    if not choices:
        raise ValueError(f"the experts must hold an operation other than 'none'; got {experts}")


def check_partial(partial_channels: int, *, channels: int | None = None) -> None:
    """Raises ValueError for fewer than one part, or one that does not divide the supernet's channels."""
    if partial_channels < 1:
        raise ValueError(f"partial_channels must be at least 1; got {partial_channels}")
    if channels is not None and channels % partial_channels:
        raise ValueError(
            f"partial_channels = {partial_channels} does not divide the {channels} channels of the supernet"
        )
