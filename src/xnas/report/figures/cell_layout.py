"""Where the parts of a cell's picture go: in layers from left to right, as circuits are drawn.

Nodes stand in the layer of their depth. Each has its two operations before it, one above the other, in places of
their own, so that no label can meet another. A line that passes a layer gets a lane there, also a place of its own:
lines cross only lines, and only between layers. All lines from one node to operations share their lanes; those to the
output have lanes of their own.

The order in the layers comes from a search by exchange for few crossings and short ways; then heights are the
least-squares fit to straight lines that keeps order and distances. Units are inches, y grows downwards.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from xnas.space.genotype import CellGenotype

OPERATION_HEIGHT, OPERATION_PITCH = 0.235, 0.31
_NODE_HEIGHT = 0.86
_LANE_HEIGHT = 0.2
_SWEEPS = 60
_MOST_WORK = 200_000
"""Lines looked up and pairs of them compared in the search for an order. Published cells need a tenth; the order of
one of 32 nodes would take hours."""
OUTPUT = -1
"""Stands for the cell's output where a node is asked for."""

Net = tuple[int, bool]
"""A source node, and whether its lines go to the output rather than to operations."""


@dataclass(frozen=True)
class Item:
    """Something with a place in a layer: a node with its operations, or a lane of a net."""

    layer: int
    node: int | None = None
    net: Net | None = None

    @property
    def height(self) -> float:
        """The room that it needs."""
        if self.net is not None:
            return _LANE_HEIGHT
        return _NODE_HEIGHT if self.layer and self.node != OUTPUT else 0.62


@dataclass(frozen=True)
class EdgeLine:
    """A piece of a net between two neighbouring layers; `port` is the operation of the node it ends at, 0 or 1."""

    start: Item
    end: Item
    net: Net
    port: int | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The layers' items from top to bottom, their heights, and the lines between them.

    `swapped` holds the nodes whose first operation stands below the second.
    """

    layers: tuple[tuple[Item, ...], ...]
    y: dict[Item, float]
    lines: tuple[EdgeLine, ...]
    swapped: frozenset[int]

    def port_y(self, node: Item, port: int) -> float:
        """The height of a node's operation."""
        assert node.node is not None
        below = bool(port) != (node.node in self.swapped)
        return self.y[node] + (OPERATION_PITCH if below else -OPERATION_PITCH) / 2

    def end_y(self, line: EdgeLine) -> float:
        """The height at which a line ends."""
        return self.y[line.end] if line.port is None else self.port_y(line.end, line.port)


def depths(cell: CellGenotype) -> dict[int, int]:
    """The layer of every node: how many nodes the longest way to it has. The inputs' is 0."""
    found = {0: 0, 1: 0}
    for node in cell.nodes:
        found[node] = 1 + max(found[edge.source] for edge in cell.inputs_of(node))
    return found


def lay_out(cell: CellGenotype) -> Layout:
    """The layout of a cell's picture; the same cell is laid out the same."""
    items, lines = _graph(cell)
    best = min((_arranged(start, lines) for start in _starts(items)), key=lambda found: found[0])
    _, layers, swapped = best
    layout = Layout(layers=layers, y={}, lines=tuple(lines), swapped=swapped)
    _straighten(layout)
    return layout


def _graph(cell: CellGenotype) -> tuple[list[list[Item]], list[EdgeLine]]:
    depth = depths(cell)
    last = max(depth.values()) + 1
    layers: list[list[Item]] = [[] for _ in range(last + 1)]
    places = {node: Item(layer, node=node) for node, layer in depth.items()}
    places[OUTPUT] = Item(last, node=OUTPUT)
    for item in places.values():
        layers[item.layer].append(item)
    lines: list[EdgeLine] = []
    targets: dict[Net, list[tuple[int, int | None]]] = {}
    for node in cell.nodes:
        for port, edge in enumerate(cell.inputs_of(node)):
            targets.setdefault((edge.source, False), []).append((node, port))
    for node in cell.concat:
        targets.setdefault((node, True), []).append((OUTPUT, None))
    for net, ends in targets.items():
        before = places[net[0]]
        for layer in range(before.layer + 1, max(places[node].layer for node, _ in ends) + 1):
            lines += [
                EdgeLine(before, places[node], net, port)
                for node, port in ends
                if places[node].layer == layer
            ]
            if any(places[node].layer > layer for node, _ in ends):
                lane = Item(layer, net=net)
                layers[layer].append(lane)
                lines.append(EdgeLine(before, lane, net))
                before = lane
    return layers, lines


Arrangement = tuple[float, tuple[tuple[Item, ...], ...], frozenset[int]]


def _starts(items: list[list[Item]]) -> list[list[list[Item]]]:
    """Orders to begin from: as built, upside down, lanes outside, and lanes between."""
    flat = [list(layer) for layer in items]
    outside = [[*layer[1::2][::-1], *layer[0::2]] for layer in items]
    lanes_first = [sorted(layer, key=lambda item: item.net is None) for layer in items]
    return [flat, [layer[::-1] for layer in items], outside, lanes_first]


def _arranged(start: list[list[Item]], lines: list[EdgeLine]) -> Arrangement:
    """Exchange and move items within layers, and operations within nodes, while that makes the picture better."""
    layers = [list(layer) for layer in start]
    nodes = [item.node for layer in layers[1:-1] for item in layer if item.node is not None]
    swapped: set[int] = set()
    by_gap = [[line for line in lines if line.start.layer == layer] for layer in range(len(layers) - 1)]
    seen: dict[object, float] = {}
    work = 0

    def gap_cost(gap: int) -> float:
        nonlocal work
        work += len(by_gap[gap])
        key = (gap, tuple(layers[gap]), tuple(layers[gap + 1]), frozenset(swapped))
        if key not in seen:
            work += len(by_gap[gap]) ** 2
            seen[key] = _gap_cost(layers[gap], layers[gap + 1], by_gap[gap], swapped)
        return seen[key]

    def cost() -> float:
        return sum(map(gap_cost, range(len(layers) - 1)))

    best = cost()
    improved = True
    while improved and work < _MOST_WORK:
        improved = False
        for layer in layers:
            for taken, put in itertools.permutations(range(len(layer)), 2):
                if work >= _MOST_WORK:
                    break
                before = list(layer)
                layer.insert(put, layer.pop(taken))
                if (now := cost()) < best - 1e-9:
                    best, improved = now, True
                else:
                    layer[:] = before
        for node in nodes:
            swapped ^= {node}
            if (now := cost()) < best - 1e-9:
                best, improved = now, True
            else:
                swapped ^= {node}
    return best, tuple(map(tuple, layers)), frozenset(swapped)


def _gap_cost(left: list[Item], right: list[Item], lines: list[EdgeLine], swapped: set[int]) -> float:
    """Crossings between two layers, and a share for the heights that lines climb."""
    y = {**_packed(left), **_packed(right)}
    ends = []
    for line in lines:
        end = y[line.end]
        if line.port is not None:
            end += 0.1 if bool(line.port) != (line.end.node in swapped) else -0.1
        ends.append((y[line.start], end, line.net))
    # Lines to the output are thin and all go one way: their crossings weigh less.
    crossings = sum(
        0.6 if one[2][1] or other[2][1] else 1.0
        for one, other in itertools.combinations(ends, 2)
        if one[2] != other[2] and (one[0] - other[0]) * (one[1] - other[1]) < 0
    )
    return crossings + 0.35 * sum(abs(start - end) for start, end, _ in ends)


def _packed(layer: Sequence[Item]) -> dict[Item, float]:
    """Heights of items set close together around zero."""
    top = -sum(item.height for item in layer) / 2
    y = {}
    for item in layer:
        y[item] = top + item.height / 2
        top += item.height
    return y


def _straighten(layout: Layout) -> None:
    """Sweep over the layers: each item towards the mean of its neighbours, in order and at distance."""
    for layer in layout.layers:
        layout.y.update(_packed(layer))
    lines_of: dict[Item, list[EdgeLine]] = {item: [] for item in layout.y}
    for line in layout.lines:
        lines_of[line.start].append(line)
        lines_of[line.end].append(line)
    sweep = list(range(len(layout.layers)))
    for _ in range(_SWEEPS):
        for number in (*sweep, *sweep[::-1]):
            layer = layout.layers[number]
            wanted = [_pulled(layout, item, lines_of[item]) for item in layer]
            for item, height in zip(layer, _spread(wanted, [item.height for item in layer]), strict=True):
                layout.y[item] = height


def _pulled(layout: Layout, item: Item, lines: list[EdgeLine]) -> float:
    """Where its lines would have the item: what goes to the output pulls less."""
    pulls = []
    for line in lines:
        weight = 1.0 if line.net[1] else 3.0
        if line.start == item:
            pulls.append((layout.end_y(line), weight))
        if line.end == item:
            pulls.append((layout.y[line.start] + layout.y[item] - layout.end_y(line), weight))
    if not pulls:
        return layout.y[item]
    return sum(y * weight for y, weight in pulls) / sum(weight for _, weight in pulls)


def _spread(wanted: list[float], heights: list[float]) -> list[float]:
    """The places nearest to those wanted, in least squares, that keep order and distance.

    With the distances taken off this is isotonic regression: neighbours out of order merge into their mean.
    """
    offsets = list(itertools.accumulate((a + b) / 2 for a, b in itertools.pairwise(heights)))
    offsets.insert(0, 0.0)
    pools: list[list[float]] = []
    for place, offset in zip(wanted, offsets, strict=True):
        pools.append([place - offset])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            lower = pools.pop()
            pools[-1] += lower
    levels = [_mean(pool) for pool in pools for _ in pool]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
