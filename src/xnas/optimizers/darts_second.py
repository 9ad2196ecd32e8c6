"""DARTS, second order: alpha is descended on the validation loss after one more step of the network weights.

Hanxiao Liu, Karen Simonyan, Yiming Yang: DARTS: Differentiable Architecture Search, ICLR 2019, equations 5 to 8.
w: network weights; xi: their learning rate now; w' = w - xi (dL_train/dw + decay w + momentum buffer), the step that
their SGD would take next, unclipped; v = dL_val/dw at w'. Then

    d/dalpha L_val(w'(alpha), alpha) = dL_val/dalpha (w') - xi d2L_train/(dalpha dw) v                            (7)
    d2L_train/(dalpha dw) v  =  (dL_train/dalpha (w + eps v) - dL_train/dalpha (w - eps v)) / (2 eps)              (8)

with eps = 0.01 / |v|, around w, not w'. Both terms are linear in gradients by the mixture weights u, so they are
combined there, and alpha gets the sum by the softmax's chain rule. Published numbers are those of the first order.

Public implementations disagree. The mistake that spread through them is (g+ - g-) / 2 * eps, which multiplies by eps
where it must divide: the second term is then eps^2 times what it should be, a ten-thousandth at |v| = 1, and nothing is
seen of it, because what is left is first order at w'. A wrong sign, a missing xi, v taken at w and differences taken
around w' are others. The tests compare with an exact Hessian, and each of these fails there.

In the paper alpha moves before the weights; here weights move first, as for all optimizers (algorithm 1), and the step
ahead is one more on the same training batch.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from xnas.optimizers.base import Closure, Measured
from xnas.optimizers.checks import no_grad_for
from xnas.optimizers.darts import Darts
from xnas.optimizers.processes import ProcessGroup

EPSILON = 0.01
"""Length of the step from w to either side."""


class DartsSecondOrder(Darts):
    """Second-order DARTS (Liu et al. 2019): a measurement needs `training`, and costs four passes.

    xi, momentum and weight decay are those of `weight_optimizer`, which must be torch's SGD without dampening and
    Nesterov momentum. The losses that `measure` returns are those at w'. It leaves weights, norms' statistics and the
    weight optimizer bit for bit as they were. Raises ValueError without such an optimizer, or without a training batch.
    """

    name = "darts-2nd"
    description = "DARTS, second order, Adam with betas 0.5 and 0.999"

    def __init__(
        self,
        model: nn.Module,
        *,
        rounds: int,
        seed: int = 0,
        step_size: float | None = None,
        weight_decay: float | None = None,
        weight_optimizer: torch.optim.Optimizer | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self._sgd = plain_sgd(weight_optimizer)
        super().__init__(
            model,
            rounds=rounds,
            seed=seed,
            step_size=step_size,
            weight_decay=weight_decay,
            weight_optimizer=weight_optimizer,
            process_group=process_group,
        )

    def _measure(self, closure: Closure, training: Closure | None) -> tuple[Tensor, Measured]:
        if training is None:
            raise ValueError(
                "darts-2nd looks one training step ahead; call measure(closure, training=...) with a closure that "
                "returns the losses of a training batch"
            )
        with restore_after(self._model, self._sgd):
            weights, rates = self._weights()
            here = [weight.detach().clone() for weight in weights]
            self._step_ahead(training)
            losses_B, ahead = self._reward_pass(closure)
            self._average_gradients(weights)
            # xi v: every parameter group may have its own xi, and only the direction matters for the differences.
            direction = [rate * _gradient(weight) for weight, rate in zip(weights, rates, strict=True)]
            length = (
                torch.stack([part.double().square().sum().cpu() for part in direction]).sum().sqrt().item()
            )
            if not math.isfinite(length):
                raise ValueError(
                    f"the gradient of the validation loss by the network weights is {length}; nothing was learned from "
                    "it; lower the learning rate, or look at the data"
                )
            if length == 0:  # no rate, or a validation loss that no weight changes
                return losses_B, ahead
            eps = EPSILON / length
            with no_grad_for(self._network_weights()), _same_randomness(weights):
                _step_along(weights, here, direction, eps)
                _, above = self._reward_pass(training)
            with no_grad_for(self._network_weights()):
                _step_along(weights, here, direction, -eps)
                _, below = self._reward_pass(training)
        return losses_B, {
            name: _at(name, ahead) - (_at(name, above) - _at(name, below)) / (2 * eps)
            for name in self.groups
            if name in ahead or name in above or name in below
        }

    def _weights(self) -> tuple[list[Tensor], list[float]]:
        """Return the weights that the weight optimizer moves, and the xi of each."""
        weights, rates = [], []
        for group in self._sgd.param_groups:
            for weight in group["params"]:
                if weight.requires_grad:
                    weights.append(weight)
                    rates.append(float(group["lr"]))
        return weights, rates

    def _average_gradients(self, weights: list[Tensor]) -> None:
        """Average the weights' gradients over the ranks that share a batch."""
        if self.ranks is not None:
            self.ranks.all_reduce_mean_([weight.grad for weight in weights if weight.grad is not None])
        elif (batch_ranks := self._batch_ranks()) is not None:
            for weight in weights:  # a weight that this process did not reach another may have
                weight.grad = _gradient(weight)
            batch_ranks.all_reduce_mean_([weight.grad for weight in weights if weight.grad is not None])

    def _step_ahead(self, training: Closure) -> None:
        """Move the weights to w' and drop their gradients."""
        with torch.enable_grad():
            losses_B = self._checked_losses(training)
            losses_B.mean().backward()  # type: ignore[no-untyped-call]
        self._average_gradients(self._weights()[0])
        with torch.no_grad():
            for group in self._sgd.param_groups:
                for weight in group["params"]:
                    if not weight.requires_grad:
                        continue
                    slope = _gradient(weight) + group["weight_decay"] * weight
                    buffer = self._sgd.state.get(weight, {}).get("momentum_buffer")
                    if buffer is not None:
                        slope = slope + group["momentum"] * buffer
                    weight.sub_(group["lr"] * slope)
                    weight.grad = None


def plain_sgd(optimizer: torch.optim.Optimizer | None) -> torch.optim.SGD:
    """`optimizer`, if its step is the one that second-order DARTS differentiates. Raises ValueError if it is not."""
    wanted = "weight_optimizer must be a torch.optim.SGD without dampening, Nesterov momentum and maximize"
    if not isinstance(optimizer, torch.optim.SGD):
        raise ValueError(f"{wanted}; got {type(optimizer).__name__}")
    for group in optimizer.param_groups:
        for name in ("dampening", "nesterov", "maximize"):
            if group[name]:
                raise ValueError(f"{wanted}; got {name} = {group[name]}")
    return optimizer


@contextmanager
def restore_after(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Restore parameters, their gradients and all buffers bit for bit, also after an error."""
    moved = dict.fromkeys(
        [*model.parameters(), *(weight for group in optimizer.param_groups for weight in group["params"])]
    )
    values = {tensor: tensor.detach().clone() for tensor in [*moved, *model.buffers()]}
    gradients = {weight: weight.grad for weight in moved}
    for weight in moved:
        weight.grad = None
    try:
        yield
    finally:
        _restore(values)
        for weight, gradient in gradients.items():
            weight.grad = gradient


def _restore(values: Mapping[Tensor, Tensor]) -> None:
    with torch.no_grad():
        for tensor, value in values.items():
            tensor.copy_(value)


def _gradient(weight: Tensor) -> Tensor:
    """Return a weight's gradient, zero if the loss does not depend on it."""
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def _at(name: str, measured: Measured) -> Tensor:
    """The gradients of a group; zero where a pass did not reach it."""
    return measured.get(name, torch.zeros((), dtype=torch.float64))


def _step_along(weights: list[Tensor], here: list[Tensor], direction: list[Tensor], eps: float) -> None:
    with torch.no_grad():
        for weight, start, part in zip(weights, here, direction, strict=True):
            weight.copy_(start + eps * part)


def _same_randomness(weights: list[Tensor]) -> AbstractContextManager[None]:
    """Restore the random states afterwards: dropout must not differ between the two sides."""
    cards = sorted({weight.device.index or 0 for weight in weights if weight.device.type == "cuda"})
    forked: AbstractContextManager[None] = torch.random.fork_rng(devices=cards)
    return forked
