"""A node of a cell on a processor: all its incoming experts and their mixture in one step, by kernels.

The node is sum_i u_i f_i(x), over the experts of all incoming edges. Nearly all experts end in a norm without
parameters, f_i = (z_i - mean_i) / deviation_i. So what is mixed is z_i, with the coefficients u_i / deviation_i and one
constant for all means: no normalised output is stored, or read again. With g the gradient by the node, the sums of g and
of g z_i over each sample's pixels give both the samples' rewards and the gradients of the norms: those by z_i are
alpha g + beta z_i + gamma, with a number for each channel, and are computed where they are used.

B: samples; C: channels; K: experts of all incoming edges together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from xnas.kernels import calls
from xnas.space.forecaster import Forecaster
from xnas.space.operations import FactorizedReduce, Pooled, Separable, Zero

_Passed = tuple[Tensor, Tensor, Tensor]
"""A gradient alpha g + beta z + gamma: g, z, and the numbers for each channel, (3, C)."""


@dataclass(frozen=True)
class _Norm:
    """A norm by the batch's statistics: its module, and where its gain is among a node's tensors, the offset after it."""

    module: nn.BatchNorm2d
    gain: int | None

    def complete(self, norm_4C: Tensor, tensors: Sequence[Tensor], *, num: int) -> Tensor:
        """The norm of a batch, of `num` values for each channel, with gains and offsets; it enters the running averages."""
        if self.gain is not None:
            norm_4C[2].copy_(tensors[self.gain])
            norm_4C[3].copy_(tensors[self.gain + 1])
        module = self.module
        if module.track_running_stats:
            assert module.running_mean is not None
            assert module.running_var is not None
            assert module.num_batches_tracked is not None
            assert module.momentum is not None
            variance_C = (norm_4C[1] ** -2 - module.eps) * (num / max(num - 1, 1))
            module.running_mean.lerp_(norm_4C[0].to(module.running_mean), module.momentum)
            module.running_var.lerp_(variance_C.to(module.running_var), module.momentum)
            module.num_batches_tracked += 1
        return norm_4C

    def learn(self, by_gain_C: Tensor, by_offset_C: Tensor, gradients: "_Gradients") -> None:
        """Its parameters' gradients."""
        if self.gain is not None and gradients.needed[self.gain]:
            like = gradients.tensors[self.gain]
            gradients.by_tensor[self.gain] = by_gain_C.to(like.dtype)
            gradients.by_tensor[self.gain + 1] = by_offset_C.to(like.dtype)


@dataclass(frozen=True)
class _SeparableRound:
    """ReLU, depthwise and pointwise convolution; their weights stand at `weight` and after it among a node's tensors."""

    weight: int
    stride: int
    dilation: int
    norm: _Norm

    def forward(
        self, inputs: Tensor, before: Tensor | None, tensors: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What comes out, and its norm; `before` is the norm of the inputs, where they wait for one."""
        return calls.separable_forward(
            inputs, (tensors[self.weight], tensors[self.weight + 1]),
            norm=before, stride=self.stride, dilation=self.dilation, eps=self.norm.module.eps,
        )  # fmt: skip

    def backward(
        self, inputs: Tensor, before: Tensor | None, passed: _Passed, gradients: "_Gradients", source: int
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Adds the gradients by the weights, and that by the source.

        Where the inputs wait for a norm, returns the gradient by them, and (5, C) of which the last two rows are the
        gradients by the norm's gains and offsets.
        """
        weights = gradients.tensors[self.weight], gradients.tensors[self.weight + 1]
        onto = gradients.by_tensor[source] if before is None else None
        by_inputs = torch.empty_like(inputs) if onto is None else onto
        by_norm, by_weights = calls.separable_backward(
            inputs, weights, norm=before, stride=self.stride, dilation=self.dilation, gradient=passed,
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
    norm: _Norm

    def forward(
        self, inputs: Tensor, before: Tensor | None, tensors: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What comes out, and its norm."""
        assert before is None
        return calls.dense_forward(inputs, tensors[self.weight], stride=self.stride, eps=self.norm.module.eps)

    def backward(
        self, inputs: Tensor, before: Tensor | None, passed: _Passed, gradients: "_Gradients", source: int
    ) -> None:
        """Adds the gradients by the weights and by the source."""
        del before
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
    moments: Tensor | None = None
    """Of an output that is ready but for its norm: that norm, without gains and offsets."""
    norm: _Norm | None = None
    """The norm after everything else; None: the expert ends without one."""
    rounds: tuple[_Round, ...] = ()


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
        experts, edge_start = [], 0
        for source, forecaster in enumerate(forecasters):
            experts += [
                _Expert(edge_start + place, source, module) for place, module in forecaster.computed()
            ]
            edge_start += len(forecaster.names)
        if all(isinstance(expert.module, Zero) for expert in experts):
            return torch.stack([f(x) for f, x in zip(forecasters, sources, strict=True)]).sum(dim=0)
        weights = torch.cat([f.weights(x) for f, x in zip(forecasters, sources, strict=True)], dim=-1)
        return self._node(experts, weights, sources)

    def added(self, modules: Sequence[nn.Module], sources: Sequence[Tensor]) -> Tensor:
        """The sum of modules' outputs, each of its own source."""
        experts = [_Expert(place, place, module) for place, module in enumerate(modules)]
        return self._node(experts, sources[0].new_ones(len(modules)), sources)

    def _node(self, experts: Sequence["_Expert"], weights: Tensor, sources: Sequence[Tensor]) -> Tensor:
        sources = [calls.dense(source) for source in sources]
        read = _Read(list(sources), [(source, "") for source in range(len(sources))])
        branches = [self._branch(expert, read) for expert in experts if not isinstance(expert.module, Zero)]
        node: Tensor = _Node.apply(tuple(branches), self._shared.share(read.keys), weights, *read.tensors)
        return node

    def _branch(self, expert: "_Expert", read: "_Read") -> _Branch:
        """How the node computes an expert; what that reads is added to `read`."""
        place, source, module = expert.place, expert.source, expert.module
        if isinstance(module, nn.Identity):
            return _Branch(place, source)
        inputs = read.tensors[source]
        if isinstance(module, Separable) and all(_by_batch(norm) for _, _, norm in module.rounds):
            rounds = []
            for depthwise, pointwise, norm in module.rounds:
                weight = read.add(depthwise.weight)
                read.add(pointwise.weight)
                stride, dilation = depthwise.stride[0], depthwise.dilation[0]
                rounds.append(_SeparableRound(weight, stride, dilation, read.norm(norm)))
            return _Branch(place, source, norm=rounds[-1].norm, rounds=tuple(rounds))
        if _is_relu_conv_norm(module):
            _, conv, norm = module  # type: ignore[misc]
            step = _DenseRound(read.add(conv.weight), conv.stride[0], read.norm(norm))
            return _Branch(place, source, norm=step.norm, rounds=(step,))
        if isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and _is_pooling(module):
            return _Branch(place, read.add(_Pool.apply(inputs, module, 0.0)[0]))
        if isinstance(module, Pooled) and _by_batch(module[1]):
            key = (source, str(module[0]))
            if key not in self._pooled:
                self._pooled[key] = _Pool.apply(inputs, module[0], module[1].eps)
            output, moments = self._pooled[key]
            return _Branch(place, read.add(output, key), moments, read.norm(module[1]))
        if isinstance(module, FactorizedReduce) and _by_batch(module.norm):
            return self._ready(place, module.reduced(inputs), module.norm, read)
        if isinstance(module, nn.Sequential) and len(module) > 1 and _by_batch(module[-1]):
            *layers, norm = module
            return self._ready(place, reduce(lambda x, layer: layer(x), layers, inputs), norm, read)
        return _Branch(place, read.add(calls.dense(module(inputs))))

    def _ready(self, place: int, output: Tensor, norm: nn.Module, read: "_Read") -> _Branch:
        assert isinstance(norm, nn.BatchNorm2d)
        output = calls.dense(output)
        moments = calls.moments(output.detach(), eps=norm.eps)
        return _Branch(place, read.add(output), moments, read.norm(norm))


@dataclass(frozen=True)
class _Expert:
    """A module, where its weight u is among all, and which source it reads."""

    place: int
    source: int
    module: nn.Module


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

    def norm(self, module: nn.Module) -> _Norm:
        """A norm, whose parameters are read if it has some."""
        assert isinstance(module, nn.BatchNorm2d)
        if not module.affine:
            return _Norm(module, None)
        gain = self.add(module.weight)
        self.add(module.bias)
        return _Norm(module, gain)


def _by_batch(norm: nn.Module) -> bool:
    """Whether it is a norm that takes the batch's statistics, in a way that is known here."""
    return isinstance(norm, nn.BatchNorm2d) and norm.training and norm.momentum is not None


def _is_pooling(pool: nn.MaxPool2d | nn.AvgPool2d) -> bool:
    """Whether the kernels know it: a square, padded to keep the size at stride 1, padding not counted."""
    size = pool.kernel_size
    if not isinstance(size, int) or size % 2 == 0 or pool.padding != size // 2 or pool.ceil_mode:
        return False
    return pool.dilation == 1 if isinstance(pool, nn.MaxPool2d) else not pool.count_include_pad


def _is_relu_conv_norm(expert: nn.Module) -> bool:
    """Whether it is a ReLU, a convolution that the kernels know, and a norm."""
    if not isinstance(expert, nn.Sequential) or len(expert) != 3:
        return False
    relu, conv, norm = expert
    if not isinstance(relu, nn.ReLU) or not isinstance(conv, nn.Conv2d) or not _by_batch(norm):
        return False
    half = tuple(size // 2 for size in conv.kernel_size)
    simple = (
        conv.bias is None
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.stride[0] == conv.stride[1]
    )
    return simple and conv.padding == half and all(size % 2 for size in conv.kernel_size)


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
        norms_K4C = _norms([stages[-1][1] for stages in computed], channels=outputs[0].shape[1])
        u_K1 = _of_branches(weights, branches)[:, None]
        mean_KC, rstd_KC, gain_KC, offset_KC = norms_K4C.unbind(dim=1)
        coefficients_KC = u_K1 * gain_KC * rstd_KC
        constant_C = (u_K1 * offset_KC - coefficients_KC * mean_KC).sum(dim=0)
        ctx.branches, ctx.share, ctx.num_tensors = branches, share, len(tensors)
        kept = [kept for stages in computed for stage in stages for kept in stage if kept is not None]
        ctx.save_for_backward(weights, norms_K4C, *tensors, *kept)
        return calls.mix(outputs, coefficients_KC, constant_C)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, norms_K4C, *saved = ctx.saved_tensors
        tensors, kept = saved[: ctx.num_tensors], iter(saved[ctx.num_tensors :])
        computed = [_kept(branch, kept) for branch in ctx.branches]
        gradient = calls.dense(gradient)
        outputs = [stages[-1][0] for stages in computed]
        sums_BC, products_KBC = calls.products(gradient, outputs)
        mean_KC, rstd_KC, gain_KC, offset_KC = norms_K4C.unbind(dim=1)
        # On f_i before its gain and offset.
        projected_KBC = (products_KBC - mean_KC[:, None] * sums_BC) * rstd_KC[:, None]
        u_K = _of_branches(weights, ctx.branches)
        num = gradient.numel() // gradient.shape[1]
        by_outputs_K3C = _by_outputs(ctx.branches, u_K, norms_K4C, sums_BC, projected_KBC, num)
        by_weights = None
        if ctx.needs_input_grad[2]:
            on_experts_KBC = gain_KC[:, None] * projected_KBC + offset_KC[:, None] * sums_BC
            by_weights_BK = on_experts_KBC.sum(dim=-1).T.to(weights.dtype)
            by_weights = torch.zeros_like(weights)
            places = [branch.place for branch in ctx.branches]
            by_weights[..., places] = by_weights_BK if weights.dim() == 2 else by_weights_BK.sum(dim=0)
        gradients = _Gradients(tensors, ctx.needs_input_grad[3:], begun=ctx.share.begin())
        for k, (branch, stages) in enumerate(zip(ctx.branches, computed, strict=True)):
            if branch.norm is not None:
                branch.norm.learn(
                    u_K[k] * projected_KBC[k].sum(dim=0), u_K[k] * sums_BC.sum(dim=0), gradients
                )
            gradients.add(branch, stages, gradient, by_outputs_K3C[k])
        return None, None, by_weights, *ctx.share.end(gradients.by_tensor)


_Stages = list[tuple[Tensor, Tensor | None]]
"""What an expert computes round by round: outputs before the norm, and the norm."""


def _forward(branch: _Branch, tensors: Sequence[Tensor]) -> _Stages:
    inputs, before = tensors[branch.tensor], branch.moments
    if not branch.rounds:
        if before is not None and branch.norm is not None:
            # A pooling's norm serves several nodes.
            before = branch.norm.complete(before.clone(), tensors, num=inputs.numel() // inputs.shape[1])
        return [(inputs, before)]
    stages: _Stages = []
    for step in branch.rounds:
        inputs, before = step.forward(inputs, before, tensors)
        stages.append((inputs, step.norm.complete(before, tensors, num=inputs.numel() // inputs.shape[1])))
    return stages


def _kept(branch: _Branch, kept: Any) -> _Stages:
    """The stages of a branch again, from what was saved."""
    if branch.rounds:
        return [(next(kept), next(kept)) for _ in branch.rounds]
    return [(next(kept), next(kept) if branch.moments is not None else None)]


def _norms(norms: Sequence[Tensor | None], *, channels: int) -> Tensor:
    """All norms, (K, 4, C), where none is one that changes nothing."""
    none = torch.tensor([[0.0], [1.0], [1.0], [0.0]], dtype=torch.float64).expand(4, channels)
    return torch.stack([none if norm is None else norm for norm in norms])


def _of_branches(weights: Tensor, branches: Sequence[_Branch]) -> Tensor:
    """u of the branches, (K,), float64. All samples have the same, though each has a leaf of its own."""
    shared = weights if weights.dim() == 1 else weights[0]
    return shared[[branch.place for branch in branches]].double()


def _by_outputs(
    branches: Sequence[_Branch],
    u_K: Tensor,
    norms_K4C: Tensor,
    sums_BC: Tensor,
    projected_KBC: Tensor,
    num: int,
) -> Tensor:
    """alpha, beta and gamma of the gradients by all branches' unnormalised outputs, (K, 3, C).

    `num` values of each channel made its moments.
    """
    mean_KC, rstd_KC, gain_KC, _ = norms_K4C.unbind(dim=1)
    alpha_KC = u_K[:, None] * gain_KC * rstd_KC
    normed_K1 = torch.tensor([branch.norm is not None for branch in branches]).double()[:, None]
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
        for number in reversed(range(len(branch.rounds))):
            assert passed is not None
            passed = branch.rounds[number].backward(*inputs[number], passed, self, branch.tensor)
            if passed is not None:
                branch.rounds[number - 1].norm.learn(passed[2][3], passed[2][4], self)

    def _add_ready(self, branch: _Branch, output: Tensor, gradient: Tensor, by_output_3C: Tensor) -> None:
        alone = branch.moments is None  # then the gradient does not depend on the output
        self.by_tensor[branch.tensor] = calls.mix(
            [gradient] if alone else [gradient, output],
            by_output_3C[:1] if alone else by_output_3C[:2],
            by_output_3C[2],
            onto=self.by_tensor[branch.tensor],
        )
