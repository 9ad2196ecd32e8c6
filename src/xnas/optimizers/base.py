"""What every architecture optimizer shares: measuring gradients by mixture weights, and taking experts out.

An architecture optimizer turns gradients of the loss by the mixture weights of a model's forecasters into their
next mixture weights. It follows torch's habits: `measure` gathers gradients as `backward` does, `step` uses them,
`zero_grad` drops them, `state_dict` and `load_state_dict` carry all that a later process needs.

E: indices of a group; K: experts of each; R: replicas; B: samples.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from xnas.experts.step_size import Feedback
from xnas.optimizers.learner import GroupSettings, Learner, SamplingLearner, check_state
from xnas.space.forecaster import (
    ForecasterGroup,
    forecaster_groups,
    leaf_gradients,
    listening,
    share_mixtures,
)

Closure = Callable[[], Tensor]
"""Runs the model on a validation batch and returns the losses of its samples, shape (B,)."""


class Together(Protocol):
    """Processes that measure parts of one batch each."""

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all processes."""

    def gather(self, tensor: Tensor, *, dim: int) -> Tensor:
        """The parts of all processes, joined along `dim`."""


Measured = dict[str, Tensor]
"""Gradients of the loss by the mixture weights of every group, (R, B, E, K); B is 1 for batch feedback."""


@dataclass(frozen=True, kw_only=True)
class Wipeout:
    """An expert that left the search."""

    group: str
    index: int
    expert: str
    num_feedbacks: int
    """t, the feedbacks received when it left."""


class ArchitectureOptimizer:
    """Learns the mixture weights of all forecasters in `model`, each group's by a rule of its own.

    `build` gives the settings and the learner of a group. `weight_optimizer` is the optimizer of the model's other
    parameters, if there is one: what a wiped expert had there is dropped too.
    """

    learns: ClassVar[bool] = True
    """Whether rounds change anything: a search without learning needs none."""
    ranks: Together | None = None
    """The processes that batches are divided among; None: this one has them whole."""

    def __init__(
        self,
        model: nn.Module,
        *,
        build: Callable[[ForecasterGroup], tuple[GroupSettings, Learner]],
        feedback: Feedback,
        weight_optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.groups: dict[str, ForecasterGroup] = forecaster_groups(model)
        self.feedback: Feedback = feedback
        self._model = model
        self._parameters: list[nn.Parameter] | None = None
        self._weight_optimizer = weight_optimizer
        self._names = {name: group.members_ER[0][0].names for name, group in self.groups.items()}
        self._gradients: dict[str, list[Tensor]] = {name: [] for name in self.groups}
        built = {name: build(group) for name, group in self.groups.items()}
        self.settings: dict[str, GroupSettings] = {name: settings for name, (settings, _) in built.items()}
        self.learners: dict[str, Learner] = {name: learner for name, (_, learner) in built.items()}
        self._publish()

    def names(self, group: str) -> tuple[str, ...]:
        """All experts of a group, wiped ones included, in the order of K."""
        return self._names[group]

    def alive(self, group: str) -> Tensor:
        """Which experts of a group are still in the search: bool, shape (E, K)."""
        return self.learners[group].alive_EK

    def mixture(self, group: str) -> Tensor:
        """The mixture weights u of a group: float64, shape (E, K), zero for wiped experts (equation 1)."""
        return self.learners[group].mixture_EK

    def log_weights(self, group: str) -> Tensor:
        """log v of a group, up to a number for each forecaster: float64, shape (E, K). It decides the genotype."""
        return self.learners[group].log_v_EK

    def best(self, group: str) -> tuple[str, ...]:
        """The leading expert of each forecaster of a group."""
        leaders = self.mixture(group).argmax(dim=-1).tolist()
        return tuple(self.names(group)[leader] for leader in leaders)

    def step(self) -> list[Wipeout]:
        """Use the gathered gradients for one update, drop them, and return the experts that it removed."""
        gathered = {name: self.gradients(name) for name in self.groups}
        for name, gradients_FEK in gathered.items():
            self.learners[name].update(gradients_FEK)
        self.zero_grad()
        self._redraw()
        return [
            Wipeout(group=group, index=index, expert=expert, num_feedbacks=self.learners[group].num_feedbacks)
            for group, index, expert in self._publish()
        ]

    def state_dict(self) -> dict[str, Tensor]:
        """All that a later process needs to go on, as named tensors: those of every group's learner."""
        return {
            f"{group}.{name}": value.clone()
            for group, learner in self.learners.items()
            for name, value in learner.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`; experts that were wiped in it are removed from the model.

        Raises ValueError, before anything is changed, if groups or shapes differ from this search's, a weight is not
        finite, an expert would come back, or a forecaster would be left without experts.
        """
        by_group: dict[str, dict[str, Tensor]] = {name: {} for name in self.groups}
        for address, value in state.items():
            group, _, name = address.rpartition(".")
            if group not in by_group:
                raise ValueError(f"the state holds {address!r}, which this search has no group for")
            by_group[group][name] = value
        for group, learner in self.learners.items():
            try:
                check_state(learner.state_dict(), by_group[group], alive_EK=learner.alive_EK)
            except ValueError as error:
                raise ValueError(f"group {group!r}: {error}") from None
        for group, learner in self.learners.items():
            learner.load_state_dict(by_group[group])
        self.zero_grad()
        self._publish()

    def measure(
        self, closure: Closure, *, training: Closure | None = None, weights_too: bool = False
    ) -> Tensor:
        """Run `closure` while the forecasters listen, and add the gradients to those gathered since the last step.

        `training` does the same for a training batch; rules of second order differentiate through a step on it.

        With `weights_too` the network weights get the gradients of the mean loss by the same backward pass, else
        none. Returns the losses, shape (B,), detached. Where norms use statistics of
        the batch, a sample's gradient has small shares of its neighbours' in it.

        Raises ValueError if the losses have no sample axis, or do not depend on the forecasters.
        """
        if not any(self._gradients.values()):
            self._redraw()  # once for all that a step uses
        losses_B, measured = self._learn_both(closure) if weights_too else self._measure(closure, training)
        for name, gradients_RBEK in measured.items():
            self._gradients[name].append(gradients_RBEK)
        return losses_B

    def _measure(self, closure: Closure, training: Closure | None) -> tuple[Tensor, Measured]:
        """The losses, and what every group learns from; rules of second order put their own in its place."""
        del training  # first order: the network weights are taken as given
        with frozen(self._network_weights()):
            return self._listen(closure)

    def _learn_both(self, closure: Closure) -> tuple[Tensor, Measured]:
        """The same, and the network weights' gradients of the mean loss: one pass for both."""
        losses_B, measured = self._listen(closure)
        if self.feedback == "sample":  # whose backward pass is of the sum
            gradients = [weight.grad for weight in self._network_weights() if weight.grad is not None]
            if gradients:
                torch._foreach_div_(gradients, len(losses_B))
        return losses_B, measured

    def _network_weights(self) -> list[nn.Parameter]:
        """The model's parameters, asked for once until an expert leaves: a walk through a supernet takes a while."""
        if self._parameters is None:
            self._parameters = list(self._model.parameters())
        return self._parameters

    def _listen(self, closure: Closure) -> tuple[Tensor, Measured]:
        """The losses of a pass, detached, and their gradients by the mixture weights.

        Network weights that need gradients get them too.
        """
        per_sample = self.feedback == "sample"
        with listening(self.groups, per_sample=per_sample), torch.enable_grad():
            losses_B = closure()
            check_losses(losses_B)
            (losses_B.sum() if per_sample else losses_B.mean()).backward()  # type: ignore[no-untyped-call]
            measured = {
                name: leaf_gradients(group, alive_EK=self.alive(name)) for name, group in self.groups.items()
            }
        return losses_B.detach(), measured if self.ranks is None else self._of_all(measured, self.ranks)

    def _of_all(self, measured: Measured, ranks: Together) -> Measured:
        """What the parts of a batch give together: its samples' gradients, or those of its mean loss."""
        if self.feedback == "sample":
            return {name: ranks.gather(part_RBEK, dim=1) for name, part_RBEK in measured.items()}
        ranks.mean_(measured.values())
        return measured

    def gradients(self, group: str) -> Tensor:
        """The gradients gathered since the last step, a row for each feedback: float64, shape (F, E, K).

        Raises ValueError if there are none.
        """
        if not self._gradients[group]:
            raise ValueError("no gradients gathered since the last step; call measure(closure) first")
        self._bring()
        (gradients_RBEK,) = self._gradients[group]
        if self.feedback == "batch":
            return gradients_RBEK.sum(dim=0)
        return gradients_RBEK.flatten(end_dim=1)

    def _bring(self) -> None:
        """Take the gathered gradients to where the learners are, all groups' in one piece.

        It is the only time in a round that the host waits for an accelerator.
        """
        parts = {
            name: gathered[0] if len(gathered) == 1 else torch.cat(gathered, dim=1)
            for name, gathered in self._gradients.items()
            if gathered
        }
        if any(part.device.type != "cpu" for part in parts.values()):
            sizes = [part.numel() for part in parts.values()]
            here = torch.split(torch.cat([part.flatten() for part in parts.values()]).cpu(), sizes)
            parts = {name: flat.view_as(part) for (name, part), flat in zip(parts.items(), here, strict=True)}
        for name, part in parts.items():
            self._gradients[name][:] = [part.double().contiguous()]

    def zero_grad(self) -> None:
        """Drop the gradients gathered since the last step."""
        for gathered in self._gradients.values():
            gathered.clear()

    def _redraw(self) -> None:
        """Rules that sample take new weights for the next pass."""
        for name, learner in self.learners.items():
            if isinstance(learner, SamplingLearner):
                learner.redraw()
                self._hand_over(name)

    def _publish(self) -> list[tuple[str, int, str]]:
        """Take the experts out that are no longer alive, and hand the weights to the forecasters."""
        removed = []
        for name, group in self.groups.items():
            alive_EK = self.alive(name)
            for index, members_R in enumerate(group.members_ER):
                kept = [
                    expert
                    for expert, stays in zip(self.names(name), alive_EK[index].tolist(), strict=True)
                    if stays
                ]
                for expert in [expert for expert in members_R[0].names if expert not in kept]:
                    removed.append((name, index, expert))
                    self._parameters = None
                    for member in members_R:
                        forget_parameters(self._weight_optimizer, member.remove(expert))
            self._hand_over(name)
        return removed

    def _hand_over(self, name: str) -> None:
        """Give the forecasters of a group the weights with which the next pass goes through them."""
        learner = self.learners[name]
        share_mixtures(
            self.groups[name], learner.weights_EK, alive_EK=learner.alive_EK, alone=learner.one_hot
        )


def check_losses(losses_B: Tensor) -> None:
    """Raises ValueError for losses without a sample axis, or that nothing can be learned from."""
    if losses_B.dim() != 1:
        raise ValueError(
            "the closure must return one loss for each sample, shape (B,), as reduction='none' gives; "
            f"got shape {tuple(losses_B.shape)}"
        )
    if not losses_B.requires_grad:
        raise ValueError("the losses do not depend on the forecasters; run the model inside the closure")


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
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within it the parameters need no gradients: a reward pass does not pay for them."""
    free = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in free:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)
