"""An architecture of NAS-Bench-201 as a value: one operation for each of the six edges of its only cell.

Xuanyi Dong, Yi Yang: NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search, ICLR 2020, section
2.1. Node 0 is the cell's input, every later node sums all nodes before it, each through its edge's operation, and node
3 is the output. Edges are numbered node by node. The benchmark writes an architecture as

    |nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|

with a bracket for each node, and in it operation~source for each of its edges.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from xnas.io.plain_value import plain_tree
from xnas.io.text import short_repr
from xnas.space.genotype_json import (
    FORMAT,
    VERSION,
    check_name,
    checked_fields,
    parse_fields,
)
from xnas.space.names import NASBENCH201_OPERATIONS as OPERATIONS

SPACE = "nasbench201"
NUM_NODES = 3
"""Beside the input."""
EDGES = tuple((source, node) for node in range(1, 1 + NUM_NODES) for source in range(node))
"""(source, node) of every edge, in the order of their indices."""
PATTERN = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
"""The benchmark's text, with a place for the operation of every edge."""
FORM = PATTERN.replace("{}", "op")
_INSIDE = re.compile(
    r"(?<![|+])"
    + PATTERN.replace("|", r"\|").replace("+", r"\+").replace("{}", r"[^|~+\s]{1,60}")
    + r"(?![|+~])"  # else it is a part of a larger cell
)
"""Its authors' programs print Structure(4 nodes with |...|), in quotes or behind what a logger says of the time."""


@dataclass(frozen=True)
class Nasbench201Genotype:
    """An operation for each edge, in the order of EDGES. `none` is one of them.

    Lists are taken too, and become tuples. Raises ValueError for another number of edges, or an unknown operation.
    """

    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        operations = plain_tree(self.operations)
        if not isinstance(operations, list) or len(operations) != len(EDGES):
            raise ValueError(
                f"a NAS-Bench-201 cell has an operation for each of {len(EDGES)} edges; "
                f"got {short_repr(self.operations)}"
            )
        for (source, node), operation in zip(EDGES, operations, strict=True):
            check_name(f"operation of edge {source}→{node}", operation, OPERATIONS)
        object.__setattr__(self, "operations", tuple(operations))

    @property
    def by_edge(self) -> dict[tuple[int, int], str]:
        """The operation of each edge (source, node)."""
        return dict(zip(EDGES, self.operations, strict=True))

    @property
    def text(self) -> str:
        """The architecture as the benchmark writes it."""
        return PATTERN.format(*self.operations)

    @classmethod
    def from_text(cls, text: str) -> "Nasbench201Genotype":
        """The architecture in the benchmark's text, alone or with something around it, as in a log.

        Raises ValueError for text of another form, or of several architectures.
        """
        if len(found := _INSIDE.findall(text)) == 1:
            text = found[0]
        words = re.findall(r"([^|+~]*)~(\d)", text[:1000])
        sources = tuple(int(source) for _, source in words)
        if sources == tuple(source for source, _ in EDGES):
            genotype = cls(tuple(operation for operation, _ in words))
            if genotype.text == text.strip():
                return genotype
        raise ValueError(
            f"not a NAS-Bench-201 architecture: expected the form {FORM}; got {short_repr(text)}"
        )

    def to_json(self) -> str:
        """The architecture as a file, ending in a newline. The same value gives the same text."""
        fields = {"format": FORMAT, "version": VERSION, "space": SPACE, "cell": self.text}
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Nasbench201Genotype":
        """The architecture that `to_json` wrote. Raises ValueError for anything else."""
        return cls.from_fields(parse_fields(text))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> "Nasbench201Genotype":
        """The architecture in JSON that is parsed already. Raises ValueError as `from_json` does."""
        checked = checked_fields(fields, ("cell",))
        check_name("space", checked["space"], (SPACE,))
        if not isinstance(cell := checked["cell"], str):
            raise ValueError(f"the genotype's 'cell' must be text of the form {FORM}; got {short_repr(cell)}")
        return cls.from_text(cell)


def every_genotype() -> Iterator[Nasbench201Genotype]:
    """All 15,625 of them."""
    return (Nasbench201Genotype(operations) for operations in product(OPERATIONS, repeat=len(EDGES)))
