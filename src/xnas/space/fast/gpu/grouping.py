"""The schedule of a node on an accelerator: which experts run together.

Sources of one shape make a bundle: they are joined along their channels, a row of C channels for each. Experts of one
kind, on whatever edges they are, read their rows there and run as one call with stacked weights; what they give has
again a row for each. The last pointwise convolutions of all kinds are one call.

C: channels of a row.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import nn

from xnas.space.forecaster import Forecaster
from xnas.space.operations import FactorizedReduce, Pooled, Separable, Zero

EPS = 1e-5
"""The eps of norms that are folded into a mixture; an expert with another eps runs by itself."""

Pair = tuple[int, ...]


class ExpertIndex(NamedTuple):
    """An expert: its edge among those of the node, and its place among that edge's mixture weights."""

    edge: int
    expert: int


class KernelRows(NamedTuple):
    """Rows that a call reads of a bundle, after the ReLU or before it."""

    bundle: int
    rows: tuple[int, ...]
    active: bool


class Conv(NamedTuple):
    """One call for convolutions whose weights are a stack."""

    stack: int
    groups: int
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)


class FeatureLine(NamedTuple):
    """Separable convolutions of one kind, up to their last pointwise convolution."""

    first: tuple[tuple[int, Conv], ...]
    """The first depthwise convolutions, a call for each bundle: the request that it reads, and itself."""
    inner: tuple[tuple[Conv, Conv], ...]
    """Pointwise convolution, norm, ReLU, and the depthwise convolution of the next round."""


class FusedPooling(NamedTuple):
    """Poolings of one kind in a bundle."""

    request: int
    pool: nn.Module


class Reduce(NamedTuple):
    """Factorised reductions of a bundle: convolutions of even and of odd pixels."""

    even_request: int
    even: Conv
    odd_request: int
    odd: Conv
    widths: tuple[int, int]
    """Channels that each expert takes of either."""


class Single(NamedTuple):
    """An expert that runs by itself; without the norm at its end, if `layers` leave one out."""

    edge: int
    layers: tuple[nn.Module, ...]


@dataclass(frozen=True)
class FusedSchedule:
    """All calls of a node, and where their outputs are mixed."""

    bundles: tuple[tuple[int, ...], ...]
    """The edges whose sources are joined."""
    requests: tuple[KernelRows, ...]
    stacks: tuple[tuple[nn.Conv2d, ...], ...]
    """The layers whose weights are stacked."""
    lines: tuple[FeatureLine, ...]
    pointwise: Conv | None
    """The last of all lines, in one."""
    pools: tuple[FusedPooling, ...]
    reduces: tuple[Reduce, ...]
    normed_singles: tuple[Single, ...]
    identities: tuple[int, ...]
    """Requests that are mixed as they are."""
    raw_singles: tuple[Single, ...]
    normed: tuple[ExpertIndex, ...]
    """Experts whose outputs have still to be normed, in the order of their rows in the mixture."""
    raw: tuple[ExpertIndex, ...]
    """Experts whose outputs are mixed as they are."""


M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class _GroupedExpert(Generic[M]):
    position: ExpertIndex
    bundle: int
    row: int
    module: M


@dataclass
class _Draft:
    requests: list[KernelRows] = field(default_factory=list)
    stacks: list[tuple[nn.Conv2d, ...]] = field(default_factory=list)

    def request(self, experts: Sequence[_GroupedExpert[M]], *, active: bool) -> int:
        rows = tuple(expert.row for expert in experts)
        self.requests.append(KernelRows(experts[0].bundle, rows, active))
        return len(self.requests) - 1

    def conv(self, layers: Sequence[nn.Conv2d]) -> Conv:
        """Add a call for layers that agree in everything but their weights."""
        self.stacks.append(tuple(layers))
        like = layers[0]
        assert not isinstance(like.padding, str)
        return Conv(len(self.stacks) - 1, len(layers) * like.groups, like.stride, like.padding, like.dilation)


def schedule_node(forecasters: Sequence[Forecaster], shapes: Sequence[torch.Size]) -> FusedSchedule:
    """Return the schedule for forecasters whose sources have these shapes."""
    edges_of: dict[torch.Size, list[int]] = {}
    for edge, shape in enumerate(shapes):
        edges_of.setdefault(shape, []).append(edge)
    bundles = tuple(map(tuple, edges_of.values()))
    experts = [
        _GroupedExpert(ExpertIndex(edge, position), bundle, row, module)
        for bundle, edges in enumerate(bundles)
        for row, edge in enumerate(edges)
        for position, module in forecasters[edge].active_experts()
        if not isinstance(module, Zero)
    ]
    draft = _Draft()
    separable = _by_kind(experts, Separable, _rounds)
    lines = tuple(_line(draft, kind) for kind in separable)
    last = [expert.module.rounds[-1][1] for kind in separable for expert in kind]
    pointwise = draft.conv(last) if last else None
    pooled = _by_kind(experts, Pooled, _pooling)
    pools = tuple(FusedPooling(draft.request(kind, active=False), kind[0].module[0]) for kind in pooled)
    reducing = _by_kind(experts, FactorizedReduce, _reduction)
    reduces = tuple(_reduce(draft, kind) for kind in reducing)
    same = _by_kind(experts, nn.Identity, lambda expert: (expert.bundle,))
    identities = tuple(draft.request(kind, active=False) for kind in same)
    known = set(_places(*separable, *pooled, *reducing, *same))
    others = [expert for expert in experts if expert.position not in known]
    normed_others = [expert for expert in others if _ends_in_norm(expert.module)]
    raw_others = [expert for expert in others if not _ends_in_norm(expert.module)]
    return FusedSchedule(
        bundles=bundles,
        requests=tuple(draft.requests),
        stacks=tuple(draft.stacks),
        lines=lines,
        pointwise=pointwise,
        pools=pools,
        reduces=reduces,
        identities=identities,
        normed_singles=tuple(Single(e.position.edge, tuple(e.module.children())[:-1]) for e in normed_others),
        raw_singles=tuple(Single(e.position.edge, (e.module,)) for e in raw_others),
        normed=_places(*separable, *pooled, *reducing, normed_others),
        raw=_places(*same, raw_others),
    )


def _by_kind(
    experts: Sequence[_GroupedExpert[nn.Module]],
    of: type[M],
    kind: Callable[[_GroupedExpert[M]], tuple[Hashable, ...] | None],
) -> list[list[_GroupedExpert[M]]]:
    """The experts of a class that run together, in the order of their bundles; those of kind None do not."""
    found: dict[tuple[Hashable, ...], list[_GroupedExpert[M]]] = {}
    for expert in experts:
        if isinstance(expert.module, of):
            typed = cast(_GroupedExpert[M], expert)
            if (key := kind(typed)) is not None:
                found.setdefault(key, []).append(typed)
    return list(found.values())


def _rounds(expert: _GroupedExpert[Separable]) -> tuple[Hashable, ...] | None:
    rounds = expert.module.rounds
    if not all(_plain(norm) for _, _, norm in rounds):
        return None
    kernels = tuple((depthwise.kernel_size, depthwise.dilation) for depthwise, _, _ in rounds)
    return kernels, tuple(depthwise.stride for depthwise, _, _ in rounds[1:])


def _pooling(expert: _GroupedExpert[Pooled]) -> tuple[Hashable, ...] | None:
    pool, norm = expert.module[0], expert.module[1]
    known = isinstance(pool, nn.MaxPool2d | nn.AvgPool2d) and _plain(norm)
    return (expert.bundle, str(pool)) if known else None


def _reduction(expert: _GroupedExpert[FactorizedReduce]) -> tuple[Hashable, ...] | None:
    return (expert.bundle,) if _plain(expert.module.norm) else None


def _ends_in_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and len(module) > 1 and _plain(module[-1])


def _plain(norm: nn.Module) -> bool:
    """Return True for a norm by the batch's statistics, without parameters."""
    return (
        isinstance(norm, nn.BatchNorm2d)
        and not norm.affine
        and not norm.track_running_stats
        and norm.eps == EPS
    )


def _places(*kinds: Sequence[_GroupedExpert[Any]]) -> tuple[ExpertIndex, ...]:
    return tuple(expert.position for kind in kinds for expert in kind)


def _line(draft: _Draft, experts: list[_GroupedExpert[Separable]]) -> FeatureLine:
    # Where images are a pixel high and wide, sources of one bundle may be read with different strides.
    experts.sort(key=lambda expert: (expert.bundle, expert.module.rounds[0][0].stride))
    first = []
    for _, members in groupby(experts, key=lambda expert: (expert.bundle, expert.module.rounds[0][0].stride)):
        together = list(members)
        layers = [expert.module.rounds[0][0] for expert in together]
        first.append((draft.request(together, active=True), draft.conv(layers)))
    rounds = [expert.module.rounds for expert in experts]
    inner = tuple(
        (draft.conv([of[number - 1][1] for of in rounds]), draft.conv([of[number][0] for of in rounds]))
        for number in range(1, len(rounds[0]))
    )
    return FeatureLine(tuple(first), inner)


def _reduce(draft: _Draft, experts: list[_GroupedExpert[FactorizedReduce]]) -> Reduce:
    even, odd = [e.module.even for e in experts], [e.module.odd for e in experts]
    return Reduce(
        even_request=draft.request(experts, active=True),
        even=draft.conv(even),
        odd_request=draft.request(experts, active=True),
        odd=draft.conv(odd),
        widths=(even[0].out_channels, odd[0].out_channels),
    )
