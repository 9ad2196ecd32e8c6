"""The mapping from forecasters and modules to kernels: which kernel computes an expert, and what it reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeGuard

import torch
from torch import Tensor, nn

from xnas.kernels import calls
from xnas.space.fast.cpu.branches import Branch, DenseRound, NormBranch, SeparableRound
from xnas.space.fast.cpu.function import NodeFunction, PoolFunction
from xnas.space.forecaster import Forecaster, versions
from xnas.space.operations import FactorizedReduce, Pooled, Separable, Zero
from xnas.space.operations import Norm as BatchNorm

Key = tuple[int, str]
"""Key of a tensor that several nodes read: the number of the source, and what was computed from it."""


class CpuNodes:
    """Computes the nodes of one pass through a cell, which read the same sources and more and more of them.

    Sources are made dense once, and their poolings serve all edges that leave them.
    """

    def __init__(self) -> None:
        self._sources: list[Tensor] = []
        self._pooled: dict[Key, tuple[Tensor, Tensor]] = {}
        self._passed_on: dict[Key, Tensor] = {}

    def __call__(self, forecasters: Sequence[Forecaster], sources: Sequence[Tensor]) -> Tensor:
        """The sum of the forecasters' mixtures, each of its own source."""
        if all(forecaster.partial == 1 for forecaster in forecasters):
            return self._mixed(forecasters, sources)
        node: Tensor | None = None
        for forecaster, source in zip(forecasters, sources, strict=True):
            edge = forecaster.with_bypass(source, lambda part, f=forecaster: CpuNodes()._mixed([f], [part]))  # type: ignore[misc]
            node = edge if node is None else node + edge
        assert node is not None
        return node

    def _mixed(self, forecasters: Sequence[Forecaster], sources: Sequence[Tensor]) -> Tensor:
        experts, edge_start = [], 0
        for source, forecaster in enumerate(forecasters):
            experts += [
                _NodeExpert(edge_start + index, source, module, forecaster)
                for index, module in forecaster.active_experts()
            ]
            edge_start += len(forecaster.names)
        if all(isinstance(expert.module, Zero) for expert in experts):
            return torch.stack([f.mixed(x) for f, x in zip(forecasters, sources, strict=True)]).sum(dim=0)
        weights = torch.cat([f.weights(x) for f, x in zip(forecasters, sources, strict=True)], dim=-1)
        return self._node(experts, weights, sources)

    def sum_outputs(self, modules: Sequence[nn.Module], sources: Sequence[Tensor]) -> Tensor:
        """The sum of modules' outputs, each of its own source."""
        experts = [_NodeExpert(index, index, module) for index, module in enumerate(modules)]
        return self._node(experts, sources[0].new_ones(len(modules)), sources)

    def _node(self, experts: Sequence["_NodeExpert"], weights: Tensor, sources: Sequence[Tensor]) -> Tensor:
        self._sources += [calls.dense(source) for source in sources[len(self._sources) :]]
        read = _NodeTensors()
        for number, source in enumerate(self._sources):
            self._add_shared((number, ""), source, read)
        branches = [self._branch(expert, read) for expert in experts if not isinstance(expert.module, Zero)]
        shared = {index: key for index, key in read.keys.items() if read.tensors[index].requires_grad}
        if not torch.is_grad_enabled():
            shared = {}
        node: Tensor
        node, *passed_on = NodeFunction.apply(tuple(branches), tuple(shared), weights, *read.tensors)
        self._passed_on.update(zip(shared.values(), passed_on, strict=True))
        return node

    def _add_shared(self, key: Key, tensor: Tensor, read: "_NodeTensors") -> int:
        """Read a tensor that later nodes read too, as the node before has passed it on."""
        index = read.add(self._passed_on.get(key, tensor))
        read.keys[index] = key
        return index

    def _branch(self, expert: "_NodeExpert", read: "_NodeTensors") -> Branch:
        """Return the branch of an expert; the tensors that it reads are added to `read`."""
        index, source, module = expert.index, expert.source, expert.module
        if isinstance(module, nn.Identity):
            return Branch(index, source)
        inputs = self._sources[source]
        if _is_separable(module):
            rounds = []
            for depthwise, pointwise, norm in module.rounds:
                weight = read.add(depthwise.weight)
                read.add(pointwise.weight)
                stride, dilation = depthwise.stride[0], depthwise.dilation[0]
                rounds.append(SeparableRound(weight, stride, dilation, read.norm(norm)))
            return Branch(index, source, norm=rounds[-1].norm, rounds=tuple(rounds))
        if _is_relu_conv_norm(module):
            conv, last = module[1], module[2]  # type: ignore[index]
            step = DenseRound(read.add(conv.weight), conv.stride[0], read.norm(last))
            return Branch(index, source, norm=step.norm, rounds=(step,))
        if _is_pooling(module):
            return Branch(index, read.add(PoolFunction.apply(inputs, module, 0.0)[0]))
        if isinstance(module, Pooled) and _is_pooling(module[0]) and _by_batch(module[1]):
            key = (source, f"{module[0]}, {module[1].eps}")
            if key not in self._pooled:
                self._pooled[key] = PoolFunction.apply(inputs, module[0], module[1].eps)
            output, moments = self._pooled[key]
            return Branch(index, self._add_shared(key, output, read), moments, read.norm(module[1]))
        if isinstance(module, FactorizedReduce) and _by_batch(module.norm):
            return self._ready(index, module.reduced(inputs), module.norm, read)
        if len(layers := _layers(module)) > 1 and _by_batch(layers[-1]):
            *layers, last = layers
            return self._ready(index, expert.call(layers, inputs), last, read)
        return Branch(index, read.add(calls.dense(expert.call([module], inputs))))

    def _ready(self, index: int, output: Tensor, norm: nn.Module, read: "_NodeTensors") -> Branch:
        assert isinstance(norm, nn.BatchNorm2d)
        output = calls.dense(output)
        moments = calls.moments(output.detach(), eps=norm.eps)
        return Branch(index, read.add(output), moments, read.norm(norm))


@dataclass(frozen=True)
class _NodeExpert:
    """A module, where its weight u is among all, and which source it reads."""

    index: int
    source: int
    module: nn.Module
    owner: Forecaster | None = None

    def call(self, layers: Sequence[nn.Module], inputs: Tensor) -> Tensor:
        """Run layers of the module. Raises ValueError if they write into the input, which others read too."""
        before = versions(inputs)
        output = reduce(lambda x, layer: layer(x), layers, inputs)
        if self.owner is not None and versions(inputs) != before:
            self.owner.refuse_in_place(self.module)
        return output


@dataclass
class _NodeTensors:
    """The tensors that a node reads, and by their places the keys of those that other nodes read too."""

    tensors: list[Tensor] = field(default_factory=list)
    keys: dict[int, Key] = field(default_factory=dict)

    def add(self, tensor: Tensor) -> int:
        """Add a tensor and return its index."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def norm(self, module: nn.Module) -> NormBranch:
        """A norm, whose parameters are read if it has some."""
        assert isinstance(module, nn.BatchNorm2d)
        if not module.affine:
            return NormBranch(module, None)
        gain = self.add(module.weight)
        self.add(module.bias)
        return NormBranch(module, gain)


def _by_batch(norm: nn.Module) -> bool:
    """Return True for a norm by the batch's statistics, of a kind that is known here."""
    known = type(norm).forward in (nn.BatchNorm2d.forward, BatchNorm.forward)
    return known and isinstance(norm, nn.BatchNorm2d) and norm.training and norm.momentum is not None


def _is_separable(expert: nn.Module) -> TypeGuard[Separable]:
    """Return True for a separable convolution of a size for which kernels are faster."""
    return isinstance(expert, Separable) and all(
        calls.is_faster(pointwise.weight) and _by_batch(norm) for _, pointwise, norm in expert.rounds
    )


def _is_pooling(pool: nn.Module) -> TypeGuard[nn.MaxPool2d | nn.AvgPool2d]:
    """Return True for a square pooling, padded to keep the size at stride 1, padding not counted."""
    if not isinstance(pool, nn.MaxPool2d | nn.AvgPool2d):
        return False
    size = pool.kernel_size
    if not isinstance(size, int) or not isinstance(pool.stride, int) or size % 2 == 0:
        return False
    if pool.padding != size // 2 or pool.ceil_mode:
        return False
    if isinstance(pool, nn.MaxPool2d):
        return pool.dilation == 1 and not pool.return_indices
    return not pool.count_include_pad and pool.divisor_override is None


def _layers(expert: nn.Module) -> list[nn.Module]:
    """Return the layers of a plain Sequential; none for a subclass that may compute something else."""
    return list(expert) if isinstance(expert, nn.Sequential) and _is_plain(expert, nn.Sequential) else []


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Return True if a module has its kind's forward and no hook that could change its weights before."""
    return type(module).forward is kind.forward and not module._forward_pre_hooks


def _is_relu_conv_norm(expert: nn.Module) -> bool:
    """Return True for a ReLU, a convolution that the kernels know, and a norm."""
    layers = _layers(expert)
    if len(layers) != 3:
        return False
    relu, conv, norm = layers
    if not isinstance(relu, nn.ReLU) or not isinstance(conv, nn.Conv2d) or not _by_batch(norm):
        return False
    half = tuple(size // 2 for size in conv.kernel_size)
    simple = (
        _is_plain(conv, nn.Conv2d)
        and conv.bias is None
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.stride[0] == conv.stride[1]
        and conv.padding_mode == "zeros"
        and calls.is_faster(conv.weight)
    )
    return simple and conv.padding == half and all(size % 2 for size in conv.kernel_size)
