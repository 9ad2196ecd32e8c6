"""The experts of a node, computed by kernels: rounds of convolutions and the norms between and after them.

A round leaves its output unnormalised, z, beside the norm that its reader applies. Gradients by z come as
alpha g + beta z + gamma, with a number for each channel, and are never stored.

B: samples; C: channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xnas.kernels import calls

Passed = tuple[Tensor, Tensor, Tensor]
"""A gradient alpha g + beta z + gamma: g, z, and the numbers for each channel, (3, C)."""


@dataclass(frozen=True)
class NormBranch:
    """A norm by the batch's statistics; its gain, if any, is at `gain` among a node's tensors, before its offset."""

    module: nn.BatchNorm2d
    gain: int | None

    def complete(self, norm_4C: Tensor, tensors: Sequence[Tensor], *, num: int) -> Tensor:
        """A batch's norm with gains and offsets; of `num` values for each channel, it enters the running averages.

        Raises ValueError for a single value, of which no norm leaves anything.
        """
        if num < 2:
            raise ValueError("a norm got one value of each channel; use a larger batch, or larger images")
        if self.gain is not None:
            norm_4C[2].copy_(tensors[self.gain])
            norm_4C[3].copy_(tensors[self.gain + 1])
        module = self.module
        if module.track_running_stats:
            assert module.running_mean is not None
            assert module.running_var is not None
            assert module.num_batches_tracked is not None
            assert module.momentum is not None
            variance_C = (norm_4C[1] ** -2 - module.eps) * (num / (num - 1))
            module.running_mean.lerp_(norm_4C[0].to(module.running_mean), module.momentum)
            module.running_var.lerp_(variance_C.to(module.running_var), module.momentum)
            module.num_batches_tracked += 1
        return norm_4C

    def learn(self, by_gain_C: Tensor, by_offset_C: Tensor, gradients: "Gradients") -> None:
        """Store the gradients of its parameters."""
        if self.gain is not None:
            like = gradients.tensors[self.gain]
            gradients.by_tensor[self.gain : self.gain + 2] = by_gain_C.to(like), by_offset_C.to(like)


@dataclass(frozen=True)
class SeparableRound:
    """ReLU, depthwise and pointwise convolution, whose weights are at `weight` and after it among a node's tensors."""

    weight: int
    stride: int
    dilation: int
    norm: NormBranch

    def forward(
        self, inputs: Tensor, before: Tensor | None, tensors: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the output and its norm; `before` is the norm of the inputs, where they wait for one."""
        return calls.separable_forward(
            inputs, (tensors[self.weight], tensors[self.weight + 1]),
            norm=before, stride=self.stride, dilation=self.dilation, eps=self.norm.module.eps,
        )  # fmt: skip

    def backward(
        self, inputs: Tensor, before: Tensor | None, passed: Passed, gradients: "Gradients", source: int
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
            by_inputs=by_inputs, adds=onto is not None, learns=any(gradients.needed[self.weight : self.weight + 2]),
        )  # fmt: skip
        gradients.by_tensor[self.weight : self.weight + 2] = by_weights
        if by_norm is not None:
            return by_inputs, inputs, by_norm
        if gradients.needed[source]:
            gradients.by_tensor[source] = by_inputs
        return None


@dataclass(frozen=True)
class DenseRound:
    """ReLU and a convolution of all channels."""

    weight: int
    stride: int
    norm: NormBranch

    def forward(
        self, inputs: Tensor, before: Tensor | None, tensors: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the output and its norm."""
        assert before is None
        return calls.dense_forward(inputs, tensors[self.weight], stride=self.stride, eps=self.norm.module.eps)

    def backward(
        self, inputs: Tensor, before: Tensor | None, passed: Passed, gradients: "Gradients", source: int
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


Round = SeparableRound | DenseRound


@dataclass(frozen=True)
class Branch:
    """An expert of an incoming edge: where its weight u is, what it reads, and what is left to compute of it."""

    index: int
    tensor: int
    moments: Tensor | None = None
    """The norm of an output that still has to be normed, without gains and offsets."""
    norm: NormBranch | None = None
    """The norm after everything else; None: the expert ends without one."""
    rounds: tuple[Round, ...] = ()

    def indices(self) -> Iterator[int]:
        """Yield the indices of all that it reads among a node's tensors."""
        yield self.tensor
        for step in self.rounds:
            yield step.weight
            if isinstance(step, SeparableRound):
                yield step.weight + 1
            if step.norm.gain is not None:
                yield from (step.norm.gain, step.norm.gain + 1)


Stages = list[tuple[Tensor, Tensor | None]]
"""The results of an expert's rounds: outputs before the norm, and the norm."""


def compute(branch: Branch, tensors: Sequence[Tensor]) -> Stages:
    """Compute a branch: its output, and all that its gradients need."""
    inputs, before = tensors[branch.tensor], branch.moments
    if not branch.rounds:
        if before is not None and branch.norm is not None:
            # A pooling's norm serves several nodes.
            before = branch.norm.complete(before.clone(), tensors, num=inputs.numel() // inputs.shape[1])
        return [(inputs, before)]
    stages: Stages = []
    for step in branch.rounds:
        inputs, before = step.forward(inputs, before, tensors)
        stages.append((inputs, step.norm.complete(before, tensors, num=inputs.numel() // inputs.shape[1])))
    return stages


def restore(branch: Branch, kept: Iterator[Tensor]) -> Stages:
    """The stages of a branch again, from what was saved."""
    if branch.rounds:
        return [(next(kept), next(kept)) for _ in branch.rounds]
    return [(next(kept), next(kept) if branch.moments is not None else None)]


class Gradients:
    """Gradients by a node's tensors: added branch by branch to those that `by_tensor` begins with, in place."""

    def __init__(
        self, tensors: Sequence[Tensor], needed: Sequence[bool], by_tensor: list[Tensor | None]
    ) -> None:
        self.tensors, self.needed, self.by_tensor = tensors, needed, by_tensor

    def add(self, branch: Branch, stages: Stages, gradient: Tensor, by_output_3C: Tensor) -> None:
        """Add the gradients of one expert, from the gradient by the node."""
        if not branch.rounds:
            if self.needed[branch.tensor]:
                self._add_ready(branch, stages[0][0], gradient, by_output_3C)
            return
        if not any(self.needed[index] for index in branch.indices()):
            return
        inputs = [(self.tensors[branch.tensor], None), *stages[:-1]]
        passed: Passed | None = (gradient, stages[-1][0], by_output_3C)
        for number in reversed(range(len(branch.rounds))):
            assert passed is not None
            passed = branch.rounds[number].backward(*inputs[number], passed, self, branch.tensor)
            if passed is not None:
                branch.rounds[number - 1].norm.learn(passed[2][3], passed[2][4], self)

    def _add_ready(self, branch: Branch, output: Tensor, gradient: Tensor, by_output_3C: Tensor) -> None:
        alone = branch.moments is None  # then the gradient does not depend on the output
        self.by_tensor[branch.tensor] = calls.mix(
            [gradient] if alone else [gradient, output],
            by_output_3C[:1] if alone else by_output_3C[:2],
            by_output_3C[2],
            onto=self.by_tensor[branch.tensor],
        )
