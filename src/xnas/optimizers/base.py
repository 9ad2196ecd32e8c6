"""What every architecture optimizer shares: measuring gradients by mixture weights, and taking experts out.

An architecture optimizer turns gradients of the loss by the mixture weights of a model's forecasters into their
next mixture weights. It follows torch's habits: `measure` gathers gradients as `backward` does, `step` uses them,
`zero_grad` drops them, `state_dict` and `load_state_dict` carry all that a later process needs.

E: indices of a group; K: experts of each; R: replicas; B: samples.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xnas.experts.step_size import Feedback
from xnas.space.forecaster import ForecasterGroup, forecaster_groups, leaf_gradients, listening

Closure = Callable[[], Tensor]
"""Runs the model on a validation batch and returns the losses of its samples, shape (B,)."""


@dataclass(frozen=True, kw_only=True)
class Wipeout:
    """An expert that left the search."""

    group: str
    index: int
    expert: str
    num_feedbacks: int
    """t, the feedbacks received when it left."""


class ArchitectureOptimizer(ABC):
    """Learns the mixture weights of all forecasters in `model`.

    `weight_optimizer` is the optimizer of the model's other parameters, if there is one: what a wiped expert had
    there is dropped too.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        feedback: Feedback,
        weight_optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.groups: dict[str, ForecasterGroup] = forecaster_groups(model)
        self.feedback: Feedback = feedback
        self._model = model
        self._weight_optimizer = weight_optimizer
        self._names = {name: group.members_ER[0][0].names for name, group in self.groups.items()}
        self._gradients: dict[str, list[Tensor]] = {name: [] for name in self.groups}

    def names(self, group: str) -> tuple[str, ...]:
        """All experts of a group, wiped ones included, in the order of K."""
        return self._names[group]

    @abstractmethod
    def alive(self, group: str) -> Tensor:
        """Which experts of a group are still in the search: bool, shape (E, K)."""

    @abstractmethod
    def mixture(self, group: str) -> Tensor:
        """The mixture weights u of a group: float64, shape (E, K), zero for wiped experts."""

    @abstractmethod
    def step(self) -> list[Wipeout]:
        """Use the gathered gradients for one update, drop them, and return the experts that it removed."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """All that a later process needs to go on, as named tensors."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`; experts that were wiped in it are removed from the model.

        Raises ValueError if it belongs to other groups or experts.
        """

    def measure(self, closure: Closure) -> Tensor:
        """Run `closure` while the forecasters listen, and add the gradients to those gathered since the last step.

        Network weights get no gradients. Returns the losses, shape (B,), detached. Where norms use statistics of
        the batch, a sample's gradient has small shares of its neighbours' in it.

        Raises ValueError if the losses have no sample axis, or do not depend on the forecasters.
        """
        per_sample = self.feedback == "sample"
        with _frozen(self._model), listening(self.groups, per_sample=per_sample), torch.enable_grad():
            losses_B = closure()
            if losses_B.dim() != 1:
                raise ValueError(
                    "the closure must return one loss for each sample, shape (B,), as reduction='none' gives; "
                    f"got shape {tuple(losses_B.shape)}"
                )
            if not losses_B.requires_grad:
                raise ValueError(
                    "the losses do not depend on the forecasters; run the model inside the closure"
                )
            (losses_B.sum() if per_sample else losses_B.mean()).backward()  # type: ignore[no-untyped-call]
            measured = {
                name: leaf_gradients(group, alive_EK=self.alive(name)) for name, group in self.groups.items()
            }
        for name, gradients_RBEK in measured.items():
            self._gradients[name].append(gradients_RBEK)
        return losses_B.detach()

    def gradients(self, group: str) -> Tensor:
        """The gradients gathered since the last step, a row for each feedback: float64, shape (F, E, K).

        Raises ValueError if there are none.
        """
        if not self._gradients[group]:
            raise ValueError("no gradients gathered since the last step; call measure(closure) first")
        gradients_RBEK = torch.cat(self._gradients[group], dim=1)
        if self.feedback == "batch":
            return gradients_RBEK.sum(dim=0)
        return gradients_RBEK.flatten(end_dim=1)

    def zero_grad(self) -> None:
        """Drop the gradients gathered since the last step."""
        for gathered in self._gradients.values():
            gathered.clear()

    def _publish(self) -> list[tuple[str, int, str]]:
        """Hand the mixture weights to the forecasters, and take the experts out that are no longer alive."""
        removed = []
        for name, group in self.groups.items():
            alive_EK, mixture_EK = self.alive(name), self.mixture(name)
            for index, members_R in enumerate(group.members_ER):
                kept = [
                    expert
                    for expert, stays in zip(self.names(name), alive_EK[index].tolist(), strict=True)
                    if stays
                ]
                for expert in [expert for expert in members_R[0].names if expert not in kept]:
                    removed.append((name, index, expert))
                    for member in members_R:
                        forget_parameters(self._weight_optimizer, member.remove(expert))
                for member in members_R:
                    member.set_mixture(mixture_EK[index, alive_EK[index]])
        return removed


def forget_parameters(optimizer: torch.optim.Optimizer | None, module: nn.Module) -> None:
    """Drop a module's parameters, and what `optimizer` has stored about them."""
    if optimizer is None:
        return
    gone = {id(parameter) for parameter in module.parameters()}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]
    for parameter in module.parameters():
        optimizer.state.pop(parameter, None)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Within it the model's parameters need no gradients: a reward pass does not pay for them."""
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in free:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)
