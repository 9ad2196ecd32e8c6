"""A genotype: the two cells that a search decided on, as a value that flows from search to retraining to export.

A cell has nodes. Nodes 0 and 1 are its inputs, the outputs of the two cells before it. Every node i >= 2 sums two
operations, each applied to an earlier node: edges 2(i - 2) and 2(i - 2) + 1 of the cell. The cell's output is the
concatenation, over channels, of the nodes that `concat` names.

Values are validated when they are built, so that whoever holds a genotype can build its network. As a file they are
JSON with a format version; `genotype_text.py` reads and writes the form that DARTS made customary.
"""

import difflib
import json
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

OPERATIONS: tuple[str, ...] = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
)
"""The operations that a genotype may hold: those of DARTS, and two more for the published cells of NASNet's space."""

MAX_NODES = 32
"""Published cells have 4 or 5 nodes. The cap keeps a hostile file from asking for a network without end."""

MAX_CHARACTERS = 100_000
"""The longest text that is parsed; a cell of 32 nodes needs a few thousand characters."""

FORMAT = "xnas-genotype"
VERSION = 1

Space = Literal["darts", "nasnet"]
_SPACES: tuple[Space, ...] = ("darts", "nasnet")


class Edge(NamedTuple):
    """One operation, applied to one earlier node."""

    operation: str
    source: int


@dataclass(frozen=True, kw_only=True)
class CellGenotype:
    """One cell: two edges for every node from 2 on, in the order of the nodes, and the nodes that make the output.

    Lists are taken too, and become tuples. Raises ValueError, naming the node, for an unknown operation or `none`,
    a number of edges that is zero, odd or above 2 * MAX_NODES, an edge that does not come from an earlier node,
    and for a concat that is empty or names a node twice, an input, or a node that does not exist.
    """

    edges: tuple[Edge, ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", _checked_edges(self.edges))
        object.__setattr__(self, "concat", _checked_concat(self.concat, last_node=self.nodes[-1]))

    @property
    def num_nodes(self) -> int:
        """How many nodes the cell has beside its two inputs."""
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
        if self.space not in _SPACES:
            raise ValueError(unknown("space", self.space, _SPACES))
        for name, cell in (("normal", self.normal), ("reduction", self.reduction)):
            if not isinstance(cell, CellGenotype):
                raise ValueError(f"the {name} cell must be a CellGenotype; got {shown(cell)}")
            if self.space == "darts" and cell.repeating_nodes:
                node = cell.repeating_nodes[0]
                raise ValueError(
                    f"{name} cell: node {node} reads node {cell.inputs_of(node)[0].source} twice; in the space 'darts' "
                    f"the two must differ: change one, or set space to 'nasnet', where they may be equal"
                )

    def to_json(self) -> str:
        """The genotype as a file, one node per line, ending in a newline. The same value gives the same text."""
        return "\n".join(
            (
                "{",
                f'  "format": "{FORMAT}",',
                f'  "version": {VERSION},',
                f'  "space": "{self.space}",',
                f'  "normal": {_cell_json(self.normal)},',
                f'  "reduction": {_cell_json(self.reduction)}',
                "}\n",
            )
        )

    @classmethod
    def from_json(cls, text: str) -> "Genotype":
        """The genotype that `to_json` wrote.

        Raises ValueError for text that is no JSON or too long, for keys that are missing, unknown or given twice, for
        values of a wrong type, for another format or a newer version, and for whatever no genotype can hold.
        """
        return cls.from_dict(_parsed(text))

    @classmethod
    def from_dict(cls, fields: object) -> "Genotype":
        """The genotype in JSON that is parsed already. Raises ValueError as `from_json` does."""
        if not isinstance(fields, dict) or "format" not in fields:
            raise ValueError(f'not a genotype: it lacks "format": "{FORMAT}"; got {shown(fields)}')
        if fields["format"] != FORMAT:
            raise ValueError(f"not a genotype: its format is {shown(fields['format'])}; expected {FORMAT!r}")
        _check_version(fields)
        _check_keys("the genotype", fields, ("format", "version", "space", "normal", "reduction"))
        for name in ("normal", "reduction"):
            _check_keys(f"the {name} cell", fields[name], ("edges", "concat"))
        return cls(
            normal=named_cell("normal", **fields["normal"]),
            reduction=named_cell("reduction", **fields["reduction"]),
            space=fields["space"],
        )


def named_cell(name: str, *, edges: Any, concat: Any) -> CellGenotype:
    """A cell from a file's lists. Raises ValueError as CellGenotype does, and says which cell it is about."""
    try:
        return CellGenotype(edges=edges, concat=concat)
    except ValueError as error:
        raise ValueError(f"{name} cell: {error}") from None


def unknown(thing: str, name: object, known: Iterable[str]) -> str:
    """The line that refuses a name: it names the nearest one, and all."""
    known = tuple(known)
    close = difflib.get_close_matches(name, known, n=1) if isinstance(name, str) else []
    hint = f", did you mean {close[0]!r}?" if close else ";"
    return f"unknown {thing} {shown(name)}{hint} known: {', '.join(known)}"


class _Short(reprlib.Repr):
    """Values from a file, short enough for one line of an error."""

    maxstring = 60

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write integers of more than 4,300 digits, and nobody would read them.
        return repr(x) if x.bit_length() <= 64 else f"an integer of {x.bit_length():,} bits"


def shown(value: object) -> str:
    """A value as an error line shows it, shortened."""
    return _Short().repr(value)


def check_length(text: str) -> None:
    """Raises ValueError for a text too long to be a genotype, before anything parses it."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"not a genotype: the text has {len(text):,} characters; give a genotype's file, "
            f"which has {MAX_CHARACTERS:,} at most"
        )


def _span(nodes: range) -> str:
    return f"{nodes[0]} to {nodes[-1]}" if len(nodes) > 1 else f"{nodes[0]}"


def _checked_edges(edges: object) -> tuple[Edge, ...]:
    if not isinstance(edges, list | tuple):
        raise ValueError(f"edges must be a list of pairs (operation, source); got {shown(edges)}")
    if not edges or len(edges) % 2:
        raise ValueError(
            f"the number of edges is {len(edges)}; give two for every node, and at least one node"
        )
    if len(edges) > 2 * MAX_NODES:
        raise ValueError(f"the number of nodes is {len(edges) // 2}; at most {MAX_NODES} are allowed")
    return tuple(_checked_edge(edge, node=2 + k // 2) for k, edge in enumerate(edges))


def _checked_edge(edge: object, *, node: int) -> Edge:
    if not isinstance(edge, list | tuple) or len(edge) != 2:
        raise ValueError(f"node {node}: an edge must be a pair (operation, source); got {shown(edge)}")
    operation, source = edge
    if operation == "none":
        raise ValueError(f"node {node}: operation 'none' is no choice; give the edge the best of the others")
    if not isinstance(operation, str) or operation not in OPERATIONS:
        raise ValueError(f"node {node}: {unknown('operation', operation, OPERATIONS)}")
    # True is an int to Python, and would pass for node 1.
    if type(source) is not int:
        raise ValueError(f"node {node}: a source must be a whole number; got {shown(source)}")
    if not 0 <= source < node:
        which = (
            "itself"
            if source == node
            else f"{'a later' if source > node else 'a negative'} node, {shown(source)}"
        )
        raise ValueError(f"node {node} reads {which}; give an earlier node, {_span(range(node))}")
    return Edge(operation, source)


def _checked_concat(concat: object, *, last_node: int) -> tuple[int, ...]:
    existing = range(2, last_node + 1)
    if not isinstance(concat, list | tuple | range):
        raise ValueError(f"concat must be a list of nodes; got {shown(concat)}")
    if not concat:
        raise ValueError(
            f"concat is empty ({shown(concat)}); name the nodes of the output, of {_span(existing)}"
        )
    # More entries than nodes must hold a wrong one among the first: a range without end is never walked through.
    nodes = tuple(concat[: len(existing) + 1])
    for position, node in enumerate(nodes):
        if type(node) is not int:
            raise ValueError(f"concat must hold whole numbers; got {shown(node)}")
        if node in (0, 1):
            raise ValueError(
                f"concat names {node}, an input of the cell; name only its nodes, {_span(existing)}"
            )
        if node not in existing:
            raise ValueError(
                f"concat names node {shown(node)}, which does not exist; give of {_span(existing)}"
            )
        if node in nodes[:position]:
            raise ValueError(f"concat names node {node} twice; name every node once at most")
    return nodes


def _cell_json(cell: CellGenotype) -> str:
    lines = ",\n".join(
        "      " + ", ".join(json.dumps(edge) for edge in cell.inputs_of(node)) for node in cell.nodes
    )
    return f'{{\n    "edges": [\n{lines}\n    ],\n    "concat": {json.dumps(cell.concat)}\n  }}'


def _parsed(text: str) -> object:
    check_length(text)
    try:
        return json.loads(
            # Some editors put a byte order mark in front of a file that they save.
            text.removeprefix("\ufeff"),
            object_pairs_hook=_without_duplicates,
            parse_int=_short_int,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not a genotype: line {error.lineno}, column {error.colno} is not JSON ({error.msg}); mend it there"
        ) from None
    except RecursionError:
        raise ValueError("not a genotype: the JSON is nested too deeply; a genotype's has 4 levels") from None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for key, value in pairs:
        if key in fields:
            raise ValueError(f"the key {shown(key)} is given twice; keep one")
        fields[key] = value
    return fields


def _short_int(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError(f"a number of {len(digits):,} digits, {digits[:6]}...; a genotype's have one or two")
    return int(digits)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number that a genotype can hold; give a whole number")


def _check_version(fields: dict[str, Any]) -> None:
    version = fields.get("version", None)
    if type(version) is not int or version < 1:
        said = f"its version is {shown(version)}" if "version" in fields else "it lacks 'version'"
        raise ValueError(
            f"the genotype's version is not known: {said}; expected a whole number, {VERSION} for this xnas"
        )
    if version > VERSION:
        raise ValueError(f"this file has version {version}; this xnas reads up to {VERSION}: upgrade xnas")


def _check_keys(thing: str, fields: object, expected: tuple[str, ...]) -> None:
    if not isinstance(fields, dict):
        raise ValueError(f"{thing} must be an object with {', '.join(expected)}; got {shown(fields)}")
    # First what is missing: a misspelt key is both, and the missing one says what the file needs.
    strange = [key for key in cast("dict[str, object]", fields) if key not in expected]
    if missing := [key for key in expected if key not in fields]:
        found = f"; it has the unknown key {shown(strange[0])}" if strange else ""
        raise ValueError(f"{thing} lacks {missing[0]!r}{found}; it must have {', '.join(expected)}")
    if strange:
        raise ValueError(f"{thing} has an {unknown('key', strange[0], expected)}")
