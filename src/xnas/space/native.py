"""A node of a cell on a processor: all its incoming experts and their mixture in one step, by kernels.

The node is sum_i u_i f_i(x), over the experts of all incoming edges. Nearly all experts end in a norm without
parameters, f_i = (z_i - mean_i) / deviation_i. So what is mixed is z_i, with the coefficients u_i / deviation_i and one
constant for all means: no normalised output is stored, or read again. With g the gradient by the node, the sums of g and
of g z_i over each sample's pixels give both the samples' rewards and the gradients of the norms: those by z_i are
alpha g + beta z_i + gamma, with a number for each channel, and are computed where they are used.

B: samples; C: channels; K: experts of all incoming edges together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from xnas.kernels import calls
from xnas.space.forecaster import Forecaster
from xnas.space.operations import FactorizedReduce, Pooled, ReluConvNorm, Separable, Zero

_Passed = tuple[Tensor, Tensor, Tensor]
"""A gradient alpha g + beta z + gamma: g, z, and the numbers for each channel, (3, C)."""


@dataclass(frozen=True)
class _SeparableRound:
    """ReLU, depthwise and pointwise convolution; their weights stand at `weight` and after it among a node's tensors."""

    weight: int
    stride: int
    dilation: int
    eps: float

    def forward(
        self, inputs: Tensor, norm: Tensor | None, tensors: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        return calls.separable_forward(
            inputs, (tensors[self.weight], tensors[self.weight + 1]),
            norm=norm, stride=self.stride, dilation=self.dilation, eps=self.eps,
        )  # fmt: skip

    def backward(
        self, inputs: Tensor, norm: Tensor | None, passed: _Passed, gradients: "_Gradients", source: int
    ) -> _Passed | None:
        """Adds the gradients by the weights, and that by the source, or returns the one by the inputs before their norm."""
        weights = gradients.tensors[self.weight], gradients.tensors[self.weight + 1]
        onto = gradients.by_tensor[source] if norm is None else None
        by_inputs = torch.empty_like(inputs) if onto is None else onto
        by_norm, by_weights = calls.separable_backward(
            inputs, weights, norm=norm, stride=self.stride, dilation=self.dilation, gradient=passed,
            by_inputs=by_inputs, adds=onto is not None, learns=gradients.needed[self.weight],
        )  # fmt: skip
        gradients.by_tensor[self.weight : self.weight + 2] = by_weights
        if by_norm is not None:
            return by_inputs, inputs, by_norm
        if gradients.needed[source]:
            gradients.by_tensor[source] = by_inputs
        return None


@dataclass(frozen=True)
class _DenseRound:
    """ReLU and a convolution of all channels."""

    weight: int
    stride: int
    eps: float

    def forward(
        self, inputs: Tensor, norm: Tensor | None, tensors: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What comes out, and its norm."""
        assert norm is None
        return calls.dense_forward(inputs, tensors[self.weight], stride=self.stride, eps=self.eps)

    def backward(
        self, inputs: Tensor, norm: Tensor | None, passed: _Passed, gradients: "_Gradients", source: int
    ) -> None:
        """Adds the gradients by the weights and by the source."""
        del norm
        onto = gradients.by_tensor[source]
        by_inputs = torch.empty_like(inputs) if onto is None and gradients.needed[source] else onto
        gradients.by_tensor[source] = by_inputs
        gradients.by_tensor[self.weight] = calls.dense_backward(
            inputs, gradients.tensors[self.weight], stride=self.stride, gradient=passed,
            by_inputs=by_inputs, adds=onto is not None, learns=gradients.needed[self.weight],
        )  # fmt: skip


_Round = _SeparableRound | _DenseRound


@dataclass(frozen=True)
class _Branch:
    """An expert of an incoming edge: where its weight u is, what it reads, and what is left to compute of it."""

    place: int
    tensor: int
    norm: Tensor | None = None
    """Of an output that is ready: its means and reciprocal deviations; None: it is taken as it is."""
    rounds: tuple[_Round, ...] = ()


def relu_conv_norm(module: ReluConvNorm, inputs: Tensor) -> Tensor:
    """What the module gives: a node of one expert, whose norm is the only one on its way."""
    if not _plain(module[2]):
        return module(inputs)  # type: ignore[no-any-return]
    branch = _Branch(0, 0, rounds=(_DenseRound(1, 1, module[2].eps),))  # type: ignore[arg-type]
    one = inputs.new_ones(1)
    outputs: Tensor = _Node.apply(
        (branch,), _Shared().share([None, None]), one, calls.dense(inputs), module[1].weight
    )
    return outputs


class NativeNodes:
    """Computes the nodes of one pass through a cell; poolings of a source serve all edges that leave it."""

    def __init__(self) -> None:
        self._pooled: dict[_Key, tuple[Tensor, Tensor]] = {}
        self._shared = _Shared()

    def __call__(self, forecasters: Sequence[Forecaster], sources: Sequence[Tensor]) -> Tensor:
        """The sum of the forecasters' mixtures, each of its own source."""
        if all(forecaster.partial == 1 for forecaster in forecasters):
            return self._mixed(forecasters, sources)
        node: Tensor | None = None
        for forecaster, source in zip(forecasters, sources, strict=True):
            edge = forecaster.around(source, lambda part, f=forecaster: NativeNodes()._mixed([f], [part]))  # type: ignore[misc]
            node = edge if node is None else node + edge
        assert node is not None
        return node

    def _mixed(self, forecasters: Sequence[Forecaster], sources: Sequence[Tensor]) -> Tensor:
        sources = [calls.dense(source) for source in sources]
        read = _Read(list(sources), [(source, "") for source in range(len(sources))])
        branches, edge_start = [], 0
        for source, forecaster in enumerate(forecasters):
            for place, expert in forecaster.computed():
                if not isinstance(expert, Zero):
                    branches.append(self._branch(edge_start + place, expert, source, read))
            edge_start += len(forecaster.names)
        if not branches:
            return torch.stack([f(x) for f, x in zip(forecasters, sources, strict=True)]).sum(dim=0)
        weights = torch.cat([f.weights(x) for f, x in zip(forecasters, sources, strict=True)], dim=-1)
        mixed: Tensor = _Node.apply(tuple(branches), self._shared.share(read.keys), weights, *read.tensors)
        return mixed

    def _branch(self, place: int, expert: nn.Module, source: int, read: "_Read") -> _Branch:
        """How the node computes an expert; what that reads is added to `read`."""
        if isinstance(expert, nn.Identity):
            return _Branch(place, source)
        inputs = read.tensors[source]
        if isinstance(expert, Separable) and all(_plain(norm) for _, _, norm in expert.rounds):
            rounds = []
            for depthwise, pointwise, norm in expert.rounds:
                weights = read.add(depthwise.weight)
                read.add(pointwise.weight)
                rounds.append(_SeparableRound(weights, depthwise.stride[0], depthwise.dilation[0], norm.eps))
            return _Branch(place, source, rounds=tuple(rounds))
        if isinstance(expert, Pooled) and _plain(expert[1]):
            key = (source, str(expert[0]))
            if key not in self._pooled:
                self._pooled[key] = _Pool.apply(inputs, expert[0], expert[1].eps)
            output, moments = self._pooled[key]
            return _Branch(place, read.add(output, key), moments)
        if isinstance(expert, FactorizedReduce) and _plain(expert.norm):
            output, moments = _with_norm(expert.reduced, inputs, expert.norm)
            return _Branch(place, read.add(output), moments)
        if _is_relu_conv_norm(expert):
            _, conv, norm = expert
            return _Branch(
                place, source, rounds=(_DenseRound(read.add(conv.weight), conv.stride[0], norm.eps),)
            )
        if isinstance(expert, nn.Sequential) and len(expert) > 1 and _plain(expert[-1]):
            *layers, last = expert
            output, moments = _with_norm(lambda x: reduce(lambda y, layer: layer(y), layers, x), inputs, last)
            return _Branch(place, read.add(output), moments)
        return _Branch(place, read.add(calls.dense(expert(inputs))))


_Key = tuple[int, str]
"""Of a tensor that several nodes read: the source, and what was computed from it."""


@dataclass
class _Read:
    """The tensors that a node reads; those that other nodes read too have a key."""

    tensors: list[Tensor]
    keys: list[_Key | None]

    def add(self, tensor: Tensor, key: _Key | None = None) -> int:
        """Its place."""
        self.tensors.append(tensor)
        self.keys.append(key)
        return len(self.tensors) - 1


def _plain(norm: nn.Module) -> bool:
    """Whether it is a norm by the batch's statistics, without parameters."""
    return isinstance(norm, nn.BatchNorm2d) and not norm.affine and not norm.track_running_stats


def _is_relu_conv_norm(expert: nn.Module) -> bool:
    """Whether it is a ReLU, a convolution that the kernels know, and a norm."""
    if not isinstance(expert, nn.Sequential) or len(expert) != 3:
        return False
    relu, conv, norm = expert
    if not isinstance(relu, nn.ReLU) or not isinstance(conv, nn.Conv2d) or not _plain(norm):
        return False
    half = tuple(size // 2 for size in conv.kernel_size)
    simple = (
        conv.bias is None
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.stride[0] == conv.stride[1]
    )
    return simple and conv.padding == half and all(size % 2 for size in conv.kernel_size)


def _with_norm(compute: Callable[[Tensor], Tensor], source: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(norm, nn.BatchNorm2d)
    output = calls.dense(compute(source))
    return output, calls.moments(output.detach(), eps=norm.eps)


class _Shared:
    """Gradients by tensors that several nodes of a cell read, added up in one place instead of node by node.

    Every node is read by all nodes after it, so that its backward pass comes after theirs. The first node that reads a
    tensor is therefore the last to add to its gradient, and hands it on; the others hand on none.
    """

    def __init__(self) -> None:
        self.gathered: dict[_Key, Tensor] = {}
        self.num_nodes = 0
        self._readers: dict[_Key, int] = {}

    def share(self, keys: Sequence[_Key | None]) -> "_Share":
        """The part of the next node, which reads tensors with these keys."""
        node, self.num_nodes = self.num_nodes, self.num_nodes + 1
        others = tuple(
            key if key is not None and self._readers.setdefault(key, node) != node else None for key in keys
        )
        return _Share(self, node, tuple(keys), others)


@dataclass(frozen=True)
class _Share:
    """What a node knows of the gradients that it adds to."""

    shared: _Shared
    node: int
    keys: tuple[_Key | None, ...]
    others: tuple[_Key | None, ...]
    """The keys of tensors that an earlier node reads too."""

    def begin(self) -> list[Tensor | None]:
        """The gradients that later nodes have left."""
        gathered = self.shared.gathered
        if self.node == self.shared.num_nodes - 1:
            gathered.clear()  # a new backward pass
        return [None if key is None else gathered.pop(key, None) for key in self.keys]

    def end(self, by_tensor: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Those to hand on; the others are left for earlier nodes."""
        for key, gradient in zip(self.others, by_tensor, strict=True):
            if key is not None and gradient is not None:
                self.shared.gathered[key] = gradient
        return [
            gradient if key is None else None for key, gradient in zip(self.others, by_tensor, strict=True)
        ]


class _Pool(torch.autograd.Function):
    """A pooling and the norm of what it gives, which the mixture applies."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, pool: nn.Module, eps: float) -> tuple[Tensor, Tensor]:
        ctx.how = _pooling(pool)
        ctx.save_for_backward(inputs)
        outputs, norm = calls.pool_forward(inputs, **ctx.how, eps=eps)
        ctx.mark_non_differentiable(norm)
        return outputs, norm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_outputs: Tensor, by_norm: Tensor) -> tuple[Tensor, None, None]:
        del by_norm
        (inputs,) = ctx.saved_tensors
        return calls.pool_backward(inputs, calls.dense(by_outputs), **ctx.how), None, None


def _pooling(pool: nn.Module) -> dict[str, int]:
    """How the kernels are asked for it."""
    assert isinstance(pool, nn.MaxPool2d | nn.AvgPool2d)
    return {
        "kernel": int(pool.kernel_size),
        "stride": int(pool.stride),
        "largest": isinstance(pool, nn.MaxPool2d),
    }  # type: ignore[arg-type]


class _Node(torch.autograd.Function):
    """tensors: the sources, then whatever else branches read and the weights of their rounds."""

    @staticmethod
    def forward(
        ctx: Any, branches: tuple[_Branch, ...], share: _Share, weights: Tensor, *tensors: Tensor
    ) -> Tensor:
        computed = [_forward(branch, tensors) for branch in branches]
        outputs = [stages[-1][0] for stages in computed]
        norms_K2C = _norms([stages[-1][1] for stages in computed], channels=outputs[0].shape[1])
        coefficients_KC = _of_branches(weights, branches)[:, None] * norms_K2C[:, 1]
        constant_C = -(coefficients_KC * norms_K2C[:, 0]).sum(dim=0)
        ctx.branches, ctx.share, ctx.num_tensors = branches, share, len(tensors)
        kept = [kept for stages in computed for stage in stages for kept in stage if kept is not None]
        ctx.save_for_backward(weights, norms_K2C, *tensors, *kept)
        return calls.mix(outputs, coefficients_KC, constant_C)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, norms_K2C, *saved = ctx.saved_tensors
        tensors, kept = saved[: ctx.num_tensors], iter(saved[ctx.num_tensors :])
        computed = [_kept(branch, tensors, kept) for branch in ctx.branches]
        gradient = calls.dense(gradient)
        outputs = [stages[-1][0] for stages in computed]
        sums_BC, products_KBC = calls.products(gradient, outputs)
        mean_K1C, rstd_K1C = norms_K2C[:, :1], norms_K2C[:, 1:]
        projected_KBC = (
            products_KBC - mean_K1C * sums_BC
        ) * rstd_K1C  # on f_i, of which z_i is the unnormalised one
        by_outputs_K3C = _by_outputs(ctx.branches, weights, norms_K2C, sums_BC, projected_KBC, gradient)
        by_weights = None
        if ctx.needs_input_grad[2]:
            by_weights_BK = projected_KBC.sum(dim=-1).T.to(weights.dtype)
            by_weights = torch.zeros_like(weights)
            places = [branch.place for branch in ctx.branches]
            by_weights[..., places] = by_weights_BK if weights.dim() == 2 else by_weights_BK.sum(dim=0)
        gradients = _Gradients(tensors, ctx.needs_input_grad[3:], begun=ctx.share.begin())
        for branch, stages, by_output_3C in zip(ctx.branches, computed, by_outputs_K3C, strict=True):
            gradients.add(branch, stages, gradient, by_output_3C)
        return None, None, by_weights, *ctx.share.end(gradients.by_tensor)


_Stages = list[tuple[Tensor, Tensor | None]]
"""What an expert computes round by round: outputs before the norm, and the norm."""


def _forward(branch: _Branch, tensors: Sequence[Tensor]) -> _Stages:
    if not branch.rounds:
        return [(tensors[branch.tensor], branch.norm)]
    stages: _Stages = []
    inputs, norm = tensors[branch.tensor], None
    for step in branch.rounds:
        inputs, norm = step.forward(inputs, norm, tensors)
        stages.append((inputs, norm))
    return stages


def _kept(branch: _Branch, tensors: Sequence[Tensor], kept: Any) -> _Stages:
    """The stages of a branch again, from what was saved."""
    if branch.rounds:
        return [(next(kept), next(kept)) for _ in branch.rounds]
    return [(next(kept), next(kept) if branch.norm is not None else None)]


def _norms(norms: Sequence[Tensor | None], *, channels: int) -> Tensor:
    """All norms, (K, 2, C), where none is mean 0 and deviation 1."""
    none = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, channels)
    return torch.stack([none if norm is None else norm for norm in norms])


def _of_branches(weights: Tensor, branches: Sequence[_Branch]) -> Tensor:
    """u of the branches, (K,), float64. All samples have the same, though each has a leaf of its own."""
    shared = weights if weights.dim() == 1 else weights[0]
    return shared[[branch.place for branch in branches]].double()


def _by_outputs(
    branches: Sequence[_Branch],
    weights: Tensor,
    norms_K2C: Tensor,
    sums_BC: Tensor,
    projected_KBC: Tensor,
    like: Tensor,
) -> Tensor:
    """alpha, beta and gamma of the gradients by all branches' unnormalised outputs, (K, 3, C)."""
    num = like.numel() // like.shape[1]
    mean_KC, rstd_KC = norms_K2C.unbind(dim=1)
    alpha_KC = _of_branches(weights, branches)[:, None] * rstd_KC
    normed_K1 = torch.tensor(
        [bool(branch.rounds) or branch.norm is not None for branch in branches]
    ).double()[:, None]
    slope_KC = normed_K1 * alpha_KC * rstd_KC * projected_KBC.sum(dim=1) / num
    level_KC = normed_K1 * alpha_KC * sums_BC.sum(dim=0) / num
    return torch.stack([alpha_KC, -slope_KC, slope_KC * mean_KC - level_KC], dim=1)


class _Gradients:
    """Gradients by a node's tensors, gathered branch by branch."""

    def __init__(
        self, tensors: Sequence[Tensor], needed: Sequence[bool], *, begun: list[Tensor | None]
    ) -> None:
        self.tensors, self.needed, self.by_tensor = tensors, needed, begun

    def add(self, branch: _Branch, stages: _Stages, gradient: Tensor, by_output_3C: Tensor) -> None:
        """Those of one expert, from the gradient by the node."""
        if not branch.rounds:
            if self.needed[branch.tensor]:
                self._add_ready(branch, stages[0][0], gradient, by_output_3C)
            return
        if not self.needed[branch.rounds[0].weight] and not self.needed[branch.tensor]:
            return
        inputs = [(self.tensors[branch.tensor], None), *stages[:-1]]
        passed: _Passed | None = (gradient, stages[-1][0], by_output_3C)
        for step, (given, norm) in zip(reversed(branch.rounds), reversed(inputs), strict=True):
            assert passed is not None
            passed = step.backward(given, norm, passed, self, branch.tensor)

    def _add_ready(self, branch: _Branch, output: Tensor, gradient: Tensor, by_output_3C: Tensor) -> None:
        alone = branch.norm is None  # then the gradient does not depend on the output
        self.by_tensor[branch.tensor] = calls.mix(
            [gradient] if alone else [gradient, output],
            by_output_3C[:1] if alone else by_output_3C[:2],
            by_output_3C[2],
            onto=self.by_tensor[branch.tensor],
        )
