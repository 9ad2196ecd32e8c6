"""A node of a cell on an accelerator: many experts in each call.

An accelerator is kept waiting by the launches of a supernet's many small operations. Here the experts of all edges
that enter a node run together where they are of one kind (grouping.py): sources are joined once, ReLU and poolings run
once on all of them, depthwise convolutions once for each kernel, pointwise convolutions as grouped convolutions, and
outputs are mixed before they are normed (normed_mix.py). What is computed is the same as edge by edge.

Nothing asks the device for a number, so that the host can run ahead of it.

B: samples; C H W: channels, height, width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.space.fast.gpu.grouping import EPS, Conv, FeatureLine, FusedSchedule, Reduce, Single, schedule_node
from xnas.space.fast.gpu.normed_mix import EdgeLayout, Shares, mix_normed, mixing_weights
from xnas.space.fast.gpu.precision import as_they_are, full_type, low_type
from xnas.space.fast.gpu.rows import Read, spread, stack_weights
from xnas.space.forecaster import Forecaster, versions
from xnas.space.partial import join_channels


def grouped_node(forecasters: Sequence[Forecaster], sources: Sequence[Tensor]) -> Tensor:
    """The sum of the forecasters' mixtures, each of its own source, (B, C, H, W)."""
    return BatchedGpuNodes(NodeSchedules())(forecasters, sources)


class NodeSchedules:
    """The schedules of a cell's nodes, valid as long as no expert leaves."""

    def __init__(self) -> None:
        self._known: dict[tuple[Forecaster, ...], tuple[object, object, FusedSchedule]] = {}

    def of(self, forecasters: tuple[Forecaster, ...], shapes: tuple[torch.Size, ...]) -> FusedSchedule:
        """Return the schedule of a node whose sources have these shapes."""
        known = self._known.get(forecasters)
        if known is None or known[:2] != (_active(forecasters), shapes):
            schedule = schedule_node(forecasters, shapes)
            known = self._known[forecasters] = _active(forecasters), shapes, schedule
        return known[2]

    def valid(self) -> list[tuple[tuple[Forecaster, ...], FusedSchedule]]:
        """Return the known schedules, without those that experts have left."""
        return [
            (forecasters, schedule)
            for forecasters, (active, _, schedule) in self._known.items()
            if active == _active(forecasters)
        ]


def _active(forecasters: Sequence[Forecaster]) -> object:
    return [(forecaster.names, forecaster._active_expert) for forecaster in forecasters]


@dataclass(frozen=True)
class _Prepared:
    """The inputs of a node beside its sources."""

    schedule: FusedSchedule
    stacks: Sequence[Tensor]
    leaves: Sequence[Tensor]
    table: EdgeLayout
    shares: Shares


class BatchedGpuNodes:
    """Computes the nodes of one pass through a cell.

    What does not depend on features is made ready for all nodes at once, and sources that several nodes read are
    joined once.
    """

    def __init__(self, schedules: NodeSchedules) -> None:
        self._schedules = schedules
        self._prepared: dict[int, _Prepared] = {}
        self._joined: dict[tuple[int, ...], tuple[Sequence[Tensor], Tensor]] = {}

    def __call__(self, forecasters: Sequence[Forecaster], sources: Sequence[Tensor]) -> Tensor:
        """The sum of the forecasters' mixtures, each of its own source, (B, C, H, W)."""
        parts = forecasters[0].partial
        shapes = tuple(source.shape for source in sources)
        schedule = self._schedules.of(tuple(forecasters), shapes)
        bundles = [self._join([sources[edge] for edge in edges]) for edges in schedule.bundles]
        if parts == 1:
            return self._mixed(schedule, forecasters, sources, bundles)
        passing, rests = [], []
        for edges, bundle in zip(schedule.bundles, bundles, strict=True):
            width = bundle.shape[1] // len(edges) // parts
            by_edge = bundle.view(len(bundle), len(edges), -1, *bundle.shape[2:])
            first, rest = torch.split(by_edge, [width, (parts - 1) * width], dim=2)
            passing.append(first.flatten(1, 2))
            rests.append(_sum_of_bypasses([forecasters[edge] for edge in edges], rest))
        inputs = [source[:, : source.shape[1] // parts] for source in sources]
        mixed = self._mixed(schedule, forecasters, inputs, passing)
        # All edges are shuffled alike: their sum is shuffled once.
        return join_channels(mixed, sum(rests[1:], start=rests[0]), parts=parts)

    def _mixed(
        self,
        schedule: FusedSchedule,
        forecasters: Sequence[Forecaster],
        sources: Sequence[Tensor],
        bundles: Sequence[Tensor],
    ) -> Tensor:
        if not (schedule.normed or schedule.raw):  # nothing but zeros
            return torch.stack([f.mixed(x) for f, x in zip(forecasters, sources, strict=True)]).sum(dim=0)
        normed_singles = [_single(single, forecasters, sources) for single in schedule.normed_singles]
        raw_singles = [_single(single, forecasters, sources) for single in schedule.raw_singles]
        low = low_type(sources[0])
        # Under autocast convolutions have its type, by one cast for all that read the same; the rest has its own.
        with as_they_are(sources[0]):
            prepared = self._prepare(schedule, forecasters, sources[0], low=low)
            calls = _Calls(_inputs(schedule, bundles, low=low), prepared.stacks)
            normed = calls.normed(schedule) + normed_singles
            raw = [calls.inputs[request] for request in schedule.identities] + raw_singles
            return mix_normed(
                _joined(normed), _joined(raw), prepared.leaves, table=prepared.table, shares=prepared.shares
            )

    def _prepare(
        self,
        schedule: FusedSchedule,
        forecasters: Sequence[Forecaster],
        like: Tensor,
        *,
        low: torch.dtype | None,
    ) -> _Prepared:
        if id(schedule) not in self._prepared:
            nodes = [(tuple(forecasters), schedule)] if self._prepared else self._schedules.valid()
            nodes = [(forecasters_of, other) for forecasters_of, other in nodes if other.normed or other.raw]
            stacks = [[layer.weight for layer in stack] for _, other in nodes for stack in other.stacks]
            stacked = iter(stack_weights(stacks, low=low))
            leaves = [[member.weights(like) for member in forecasters_of] for forecasters_of, _ in nodes]
            tables = [
                EdgeLayout(tuple(len(member.names) for member in forecasters_of), other.normed, other.raw)
                for forecasters_of, other in nodes
            ]
            shares = mixing_weights(
                list(zip(tables, leaves, strict=True)), channels=like.shape[1], dtype=full_type(like.dtype)
            )
            for (_, other), of_node, table, share in zip(nodes, leaves, tables, shares, strict=True):
                own = list(islice(stacked, len(other.stacks)))
                self._prepared[id(other)] = _Prepared(other, own, of_node, table, share)
        return self._prepared[id(schedule)]

    def _join(self, sources: Sequence[Tensor]) -> Tensor:
        """Sources one after another along their channels; a node's are those of the node before it and some more."""
        key = tuple(map(id, sources))
        if key not in self._joined:
            parts = list(sources)
            for count in range(len(key) - 1, 1, -1):
                if key[:count] in self._joined:
                    parts[:count] = [self._joined[key[:count]][1]]
                    break
            joined = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
            self._joined[key] = sources, joined.contiguous()
        return self._joined[key][1]


def _sum_of_bypasses(forecasters: Sequence[Forecaster], rest_BSCHW: Tensor) -> Tensor:
    """Return the sum of the bypasses' outputs."""
    outer = [forecaster.bypass for forecaster in forecasters]
    if all(isinstance(module, nn.MaxPool2d) for module in outer) and len(set(map(str, outer))) == 1:
        together = outer[0](rest_BSCHW.flatten(1, 2))  # type: ignore[misc]
        return together.unflatten(1, (len(outer), -1)).sum(dim=1)  # type: ignore[no-any-return]
    if all(module is None or isinstance(module, nn.Identity) for module in outer):
        return rest_BSCHW.sum(dim=1)
    parts = zip(outer, rest_BSCHW.unbind(dim=1), strict=True)
    return torch.stack([rest if module is None else module(rest) for module, rest in parts]).sum(dim=0)


def _single(single: Single, forecasters: Sequence[Forecaster], sources: Sequence[Tensor]) -> Tensor:
    features = sources[single.edge]
    before = versions(features)
    for layer in single.layers:
        features = layer(features)
    if versions(sources[single.edge]) != before:
        owner = forecasters[single.edge]
        owner.refuse_in_place(next(e for e in owner.experts if single.layers[0] in set(e.modules())))
    return features


def _inputs(
    schedule: FusedSchedule, bundles: Sequence[Tensor], *, low: torch.dtype | None
) -> dict[int, Tensor]:
    """Return the rows that every request of the schedule reads."""
    found: dict[int, Tensor] = {}
    for number, (edges, joined) in enumerate(zip(schedule.bundles, bundles, strict=True)):
        requests = [n for n, request in enumerate(schedule.requests) if request.bundle == number]
        reads = [Read(schedule.requests[n].rows, schedule.requests[n].active) for n in requests]
        if reads:
            parts = spread(joined, reads, num_rows=len(edges), low=low)
            found.update(zip(requests, parts, strict=True))
    return found


def _joined(parts: Sequence[Tensor]) -> Tensor | None:
    if len(parts) > 1:
        return torch.cat(list(parts), dim=1)
    return parts[0] if parts else None


@dataclass(frozen=True)
class _Calls:
    """The calls of a schedule."""

    inputs: Mapping[int, Tensor]
    stacks: Sequence[Tensor]

    def normed(self, schedule: FusedSchedule) -> list[Tensor]:
        """Return outputs still to be normed, in the schedule's order, without experts that ran by themselves."""
        found = []
        if schedule.pointwise is not None:
            outputs = _joined([output for line in schedule.lines for output in self._line(line)])
            assert outputs is not None
            found.append(self._conv(schedule.pointwise, outputs))
        found += [pool.pool(self.inputs[pool.request]) for pool in schedule.pools]
        return found + [part for reduce in schedule.reduces for part in self._reduce(reduce)]

    def _conv(self, conv: Conv, features: Tensor) -> Tensor:
        weight = self.stacks[conv.stack]
        return F.conv2d(features, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)

    def _line(self, line: FeatureLine) -> list[Tensor]:
        outputs = [self._conv(conv, self.inputs[request]) for request, conv in line.first]
        for pointwise, depthwise in line.inner:
            joined = _joined(outputs)
            assert joined is not None
            features = self._conv(pointwise, joined)
            # Moments in full precision.
            wide = features.to(full_type(features.dtype))
            normed = F.batch_norm(wide, None, None, training=True, eps=EPS)
            outputs = [self._conv(depthwise, normed.relu().to(features.dtype))]
        return outputs

    def _reduce(self, reduce: Reduce) -> list[Tensor]:
        """The convolutions of even and of odd pixels of each expert in turn."""
        height, width = self.inputs[reduce.odd_request].shape[2:]
        shifted = self.inputs[reduce.odd_request][:, :, 1:, 1:]
        if height % 2 or width % 2:  # one even pixel more than odd ones
            shifted = F.pad(shifted, (0, width % 2, 0, height % 2))
        even = torch.split(self._conv(reduce.even, self.inputs[reduce.even_request]), reduce.widths[0], dim=1)
        odd = torch.split(self._conv(reduce.odd, shifted), reduce.widths[1], dim=1)
        return [part for both in zip(even, odd, strict=True) for part in both]
