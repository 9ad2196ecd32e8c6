"""What an experiment trains and how often, and the folders that it all goes to.

search-SEED: a search. select-SEED: the training by which its cell is judged, on training images alone. CELL-seed-SEED:
the training of a cell on the whole training set. selection.json: which cell was chosen, and by what.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Select = Literal["best", "all"]
Kind = Literal["selected", "found", "random", "published"]

SELECTED = "selected"
SELECTION = "selection.json"


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell that is trained with every seed."""

    kind: Kind
    name: str
    """The first word of its folders."""
    title: str


@dataclass(frozen=True, kw_only=True)
class ExperimentSpec:
    """Everything about an experiment that does not depend on how it goes."""

    data: str
    """The data set, as `source_name` has it."""
    method: str
    """Of the searches."""
    search_seeds: tuple[int, ...]
    retrain_seeds: tuple[int, ...]
    select: Select
    held_out: float
    """Share of the training images by which a cell is chosen."""
    selection_epochs: int
    epochs: int
    """Of the trainings on the whole training set."""
    random: tuple[str, ...]
    """Names of cells that are drawn as controls."""
    published: tuple[str, ...]

    @property
    def chooses(self) -> bool:
        """Whether one of several cells is chosen."""
        return self.select == "best" and len(self.search_seeds) > 1

    @property
    def cells(self) -> Iterator[PlannedCell]:
        """The cells, in the order of tables."""
        if self.chooses:
            yield PlannedCell(kind="selected", name=SELECTED, title="selected cell")
        else:
            for seed in self.search_seeds:
                yield PlannedCell(kind="found", name=f"found-{seed}", title=f"cell of search seed {seed}")
        for name in self.random:
            yield PlannedCell(kind="random", name=name, title=name.replace("-", " cell "))
        for name in self.published:
            yield PlannedCell(kind="published", name=name, title=f"published {name} cell")


def search_folder(seed: int) -> str:
    """Of the search with that seed."""
    return f"search-{seed}"


def selection_folder(seed: int) -> str:
    """Of the training by which the cell of the search with that seed is judged."""
    return f"select-{seed}"


def training_folder(cell: str, seed: int) -> str:
    """Of the training of a cell with that seed."""
    return f"{cell}-seed-{seed}"
