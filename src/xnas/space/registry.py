"""The search spaces, by name. Knows no torch until one is asked for. A new space is one module and one line here."""

from typing import TYPE_CHECKING, NamedTuple

from xnas.io.registry import import_from
from xnas.space.names import NASBENCH201_OPERATIONS, SEARCHABLE

if TYPE_CHECKING:
    from xnas.space.search_space import SearchSpace


class SpaceEntry(NamedTuple):
    """A search space that settings can name."""

    operations: tuple[str, ...]
    """Operations that its experts can be."""
    home: str
    """Module and class."""


SPACES = {
    "darts": SpaceEntry(SEARCHABLE, "darts.space.DartsSpace"),
    "nasbench201": SpaceEntry(NASBENCH201_OPERATIONS, "nasbench201.space.Nasbench201Space"),
}


def space_class(kind: str) -> "type[SearchSpace]":
    """Return the class of a space that SPACES names."""
    found: type[SearchSpace] = import_from("xnas.space", SPACES[kind].home)
    return found
