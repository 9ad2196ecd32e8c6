"""What a sweep searches and trains, and the folders that it all goes to.

search-CELL-SEED: a search. train-CELL-SEED-seed-SEED: a training of what it found. CELL is the names of the variants,
which have no hyphen, and the method.
"""

from dataclasses import dataclass

AXES = ("data", "space", "settings")
"""What settings are varied in, beside the method."""
COLUMNS = (*AXES, "method")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A cell of the grid. A name is empty where its axis has no variants."""

    data: str
    space: str
    settings: str
    method: str

    @property
    def names(self) -> tuple[str, ...]:
        """Of its variants and its method, as far as there are any."""
        return tuple(name for column in COLUMNS if (name := getattr(self, column)))

    @property
    def title(self) -> str:
        """What people call it."""
        return " ".join(self.names)

    def search_folder(self, seed: int) -> str:
        """Of its search with that seed."""
        return f"search-{'-'.join(self.names)}-{seed}"

    def training_folder(self, search_seed: int, seed: int) -> str:
        """Of the training, with `seed`, of what its search with the other seed has found."""
        return f"train-{'-'.join(self.names)}-{search_seed}-seed-{seed}"


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """Everything about a sweep that does not depend on how it goes."""

    cells: tuple[Variant, ...]
    search_seeds: tuple[int, ...]
    retrain_seeds: tuple[int, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """What the cells differ in, or are told apart by."""
        named = [column for column in COLUMNS if any(getattr(cell, column) for cell in self.cells)]
        varied = [column for column in named if len({getattr(cell, column) for cell in self.cells}) > 1]
        return tuple(varied or ["method"])
