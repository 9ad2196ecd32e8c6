"""A genotype: the two cells that a search decided on, as a value that flows from search to retraining to export.

A cell has nodes. Nodes 0 and 1 are its inputs, the outputs of the two cells before it. Every node i >= 2 sums two
operations, each applied to an earlier node: edges 2(i - 2) and 2(i - 2) + 1 of the cell. The cell's output is the
concatenation, over channels, of the nodes that `concat` names.

Values are checked when they are built, so that a genotype always has a network. As a file they are
JSON with a format version; `genotype_text.py` reads and writes the form that DARTS made customary.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from xnas.io.plain_value import plain_tree, plain_value
from xnas.io.text import short_repr
from xnas.space.genotype_json import (
    FORMAT,
    VERSION,
    check_name,
    checked_fields,
    checked_format,
    parse_fields,
    with_keys,
)
from xnas.space.names import OPERATIONS as OPERATIONS

MAX_NODES = 32
"""Published cells have 4 or 5 nodes. The cap keeps a hostile file from asking for a network without end."""

Space = Literal["darts", "nasnet"]


class Edge(NamedTuple):
    """One operation, applied to one earlier node."""

    operation: str
    source: int


@dataclass(frozen=True, kw_only=True)
class CellGenotype:
    """One cell: two edges for every node from 2 on, in the order of the nodes, and the nodes that make the output.

    Lists are taken too, and become tuples. Raises ValueError for an unknown operation or `none`, a number of edges
    that is zero, odd or above 2 * MAX_NODES, an edge that does not come from an earlier node, and for a concat that
    is empty or names a node twice, an input, or a node that does not exist.
    """

    edges: tuple[Edge, ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", _checked_edges(self.edges))
        object.__setattr__(self, "concat", _checked_concat(self.concat, self.nodes))

    @property
    def num_nodes(self) -> int:
        """The number of nodes beside the cell's two inputs."""
        return len(self.edges) // 2

    @property
    def nodes(self) -> range:
        """The numbers of the nodes, from 2 on."""
        return range(2, 2 + self.num_nodes)

    @property
    def repeating_nodes(self) -> tuple[int, ...]:
        """The nodes that read one and the same node twice."""
        return tuple(node for node in self.nodes if len({edge.source for edge in self.inputs_of(node)}) == 1)

    def inputs_of(self, node: int) -> tuple[Edge, Edge]:
        """The two edges that a node sums. Raises ValueError for a node that has none."""
        if node not in self.nodes:
            raise ValueError(f"node {node} has no edges; those of this cell are {_span(self.nodes)}")
        first = 2 * (node - 2)
        return self.edges[first], self.edges[first + 1]


@dataclass(frozen=True, kw_only=True)
class Genotype:
    """The normal cell, the reduction cell, and the space whose rules they obey.

    In the space "darts" the two edges of a node come from two different nodes; in "nasnet" (NASNet, AmoebaNet, ENAS,
    PNAS) they may come from one. The two cells may differ in their number of nodes.

    Raises ValueError for a cell that is none, an unknown space, or a node that reads one node twice in "darts".
    """

    normal: CellGenotype
    reduction: CellGenotype
    space: Space = "darts"

    def __post_init__(self) -> None:
        check_name("space", self.space, get_args(Space))
        for name, cell in (("normal", self.normal), ("reduction", self.reduction)):
            if not isinstance(cell, CellGenotype):
                raise ValueError(f"the {name} cell must be a CellGenotype; got {short_repr(cell)}")
            if self.space == "darts" and cell.repeating_nodes:
                node = cell.repeating_nodes[0]
                raise ValueError(
                    f"{name} cell: node {node} reads node {cell.inputs_of(node)[0].source} twice; change one, "
                    "or set space to 'nasnet', where they may be equal"
                )

    def to_json(self) -> str:
        """The genotype as a file, one node per line, ending in a newline. The same value gives the same text."""
        return (
            f'{{\n  "format": "{FORMAT}",\n  "version": {VERSION},\n  "space": "{self.space}",\n'
            f'  "normal": {_cell_json(self.normal)},\n  "reduction": {_cell_json(self.reduction)}\n}}\n'
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "Genotype":
        """The genotype that `to_json` wrote.

        Raises ValueError for text that is no JSON or too long, for keys that are missing, unknown or given twice, for
        values of a wrong type, for another format or version, and for whatever no genotype can hold.
        """
        return cls.from_dict(parse_fields(text))

    @classmethod
    def from_dict(cls, fields: object) -> "Genotype":
        """The genotype in JSON that is parsed already. Raises ValueError as `from_json` does."""
        checked = checked_fields(checked_format(fields), ("normal", "reduction"))
        normal, reduction = (
            named_cell(name, **with_keys(f"the {name} cell", checked[name], ("edges", "concat")))
            for name in ("normal", "reduction")
        )
        return cls(normal=normal, reduction=reduction, space=checked["space"])


def named_cell(name: str, *, edges: Any, concat: Any) -> CellGenotype:
    """A cell from a file's lists. Raises ValueError as CellGenotype does, and says which cell it is about."""
    try:
        return CellGenotype(edges=edges, concat=concat)
    except ValueError as error:
        raise ValueError(f"{name} cell: {error}") from None


def _span(nodes: range) -> str:
    return f"{nodes[0]} to {nodes[-1]}"


def _checked_edges(edges: object) -> tuple[Edge, ...]:
    if not isinstance(edges, list | tuple):
        raise ValueError(f"edges must be a list of pairs (operation, source); got {short_repr(edges)}")
    if len(edges) not in range(2, 2 * MAX_NODES + 1, 2):
        raise ValueError(f"there are {len(edges)} edges; give two for every node, for 1 to {MAX_NODES} nodes")
    return tuple(_checked_edge(edge, node=2 + k // 2) for k, edge in enumerate(edges))


def _checked_edge(edge: object, *, node: int) -> Edge:
    if not isinstance(edge, list | tuple) or len(edge) != 2:
        raise ValueError(f"node {node}: an edge must be a pair (operation, source); got {short_repr(edge)}")
    operation, source = map(plain_value, edge)
    if operation == "none":
        raise ValueError(f"node {node}: operation 'none' is no choice; give the edge the best of the others")
    check_name(f"operation of node {node}", operation, OPERATIONS)
    # True is an int to Python, and would pass for node 1.
    if type(source) is not int or not 0 <= source < node:
        raise ValueError(
            f"node {node} cannot read {short_repr(source)}; give an earlier node, 0 to {node - 1}"
        )
    return Edge(operation, source)


def _checked_concat(concat: object, nodes: range) -> tuple[int, ...]:
    concat = concat if isinstance(concat, list | tuple) else plain_tree(concat)  # an array becomes a list
    if not isinstance(concat, list | tuple | range) or not concat:
        raise ValueError(f"concat must be a list of nodes, of {_span(nodes)}; got {short_repr(concat)}")
    # More entries than nodes must hold a wrong one among the first: a range without end is never walked through.
    chosen = tuple(map(plain_value, concat[: len(nodes) + 1]))
    for position, node in enumerate(chosen):
        if type(node) is not int or node not in nodes:
            raise ValueError(f"concat cannot hold {short_repr(node)}; give nodes of {_span(nodes)}")
        if node in chosen[:position]:
            raise ValueError(f"concat names node {node} twice; name every node once at most")
    return chosen


def _cell_json(cell: CellGenotype) -> str:
    lines = ",\n".join(
        "      " + ", ".join(json.dumps(edge) for edge in cell.inputs_of(node)) for node in cell.nodes
    )
    return f'{{\n    "edges": [\n{lines}\n    ],\n    "concat": {json.dumps(cell.concat)}\n  }}'
