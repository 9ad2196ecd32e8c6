"""The base of all architecture optimizers: measures gradients by mixture weights and removes experts.

An architecture optimizer turns gradients of the loss by the mixture weights of a model's forecasters into their
next mixture weights. It follows torch's habits: `measure` gathers gradients as `backward` does, `step` uses them,
`zero_grad` drops them, `state_dict` and `load_state_dict` carry all that a later process needs.

Where a process group has several processes, what is measured is that of all: processes.py.

E: indices of a group; K: experts of each; R: replicas; B: samples.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from xnas.experts.step_size import Feedback
from xnas.optimizers.checks import (
    check_finite_losses,
    check_finite_rewards,
    check_losses,
    check_wrapper,
    counting_passes,
    no_grad_for,
    restore_norms_on_error,
)
from xnas.optimizers.group_info import GroupInfo
from xnas.optimizers.learner import Learner, SamplingLearner, check_state
from xnas.optimizers.processes import BatchRanks, ProcessGroup
from xnas.optimizers.unused_parameters import drop_parameters, unused_parameters
from xnas.space.forecaster import (
    Forecaster,
    ForecasterGroup,
    forecaster_groups,
    mixture_gradients,
    recording_mixture_grads,
    set_group_mixtures,
)

Result = TypeVar("Result")
Closure = Callable[[], Tensor]
"""Runs the model on a validation batch and returns the losses of its samples, shape (B,)."""


class Reducer(Protocol):
    """Processes that measure parts of one batch each."""

    def all_reduce_mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all processes."""

    def all_gather(self, tensor: Tensor, *, dim: int) -> Tensor:
        """The parts of all processes, joined along `dim`."""


Measured = dict[str, Tensor]
"""Gradients of the loss by the mixture weights of every group reached, (R, B, E, K); B is 1 for batch feedback."""


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
    parameters, if there is one: what a wiped expert had there is dropped too, unless something in the model still uses
    it. `model` is therefore all of the model, or the DistributedDataParallel around it.

    A group that a pass does not reach gets no feedback of it. One whose last forecaster has left, with an expert that
    held it, is no longer among `groups`.

    Where there are several processes, each measures a part of the batch, of equal sizes, and all learn from
    the entire batch: they make the same decisions, bit for bit. `process_group`: the ranks that share
    batches; None: all, or those of the DistributedDataParallel.
    """

    learns: ClassVar[bool] = True
    """False for a method that learns nothing: its search needs no rounds."""
    ranks: Reducer | None = None
    """Given by a trainer that divides batches among processes, and checks by itself what they measure; None: those
    of the process group, if there is one."""

    def __init__(
        self,
        model: nn.Module,
        *,
        build: Callable[[ForecasterGroup], tuple[GroupInfo, Learner]],
        feedback: Feedback,
        weight_optimizer: torch.optim.Optimizer | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self.groups: dict[str, ForecasterGroup] = forecaster_groups(model)
        """The groups that are still in the model."""
        self.feedback: Feedback = feedback
        self._model = model
        if process_group is None and isinstance(model, DistributedDataParallel):
            process_group = model.process_group
        self._process_group = process_group
        self._present: set[Forecaster] = {
            forecaster for group in self.groups.values() for forecaster in group
        }
        self._ever_reached = False
        self._num_samples: list[int] = []
        self._parameters: list[nn.Parameter] | None = None
        self._weight_optimizer = weight_optimizer
        self._names = {name: group.experts for name, group in self.groups.items()}
        self._all_groups = dict(self.groups)
        self._gradients: dict[str, list[Tensor]] = {name: [] for name in self.groups}
        self._part_sizes: dict[str, list[int]] = {name: [] for name in self.groups}
        built = {name: build(group) for name, group in self.groups.items()}
        self.settings: dict[str, GroupInfo] = {name: settings for name, (settings, _) in built.items()}
        self.learners: dict[str, Learner] = {name: learner for name, (_, learner) in built.items()}
        if any(learner.leaves_experts_out for learner in self.learners.values()):
            check_wrapper(model)
        self._apply_to_model()

    def names(self, group: str) -> tuple[str, ...]:
        """Return all experts of a group, wiped ones included, in the order of K."""
        return self._names[group]

    def alive(self, group: str) -> Tensor:
        """Return the mask of a group's experts that are still in the search: bool, shape (E, K)."""
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
        """Use the gathered gradients for one update, drop them, and return the experts that it removed.

        Groups that no measurement reached stay as they are. Raises ValueError if nothing was measured.
        """
        gathered = {name: self.gradients(name) for name in self.groups}
        self._check_step()
        for name, gradients_FEK in gathered.items():
            if len(gradients_FEK):
                self.learners[name].update(gradients_FEK)
        self.zero_grad()
        self._resample()
        return [
            Wipeout(group=group, index=index, expert=expert, num_feedbacks=self.learners[group].num_feedbacks)
            for group, index, expert in self._apply_to_model()
        ]

    def _check_step(self) -> None:
        """Raises ValueError if a step has not measured what the settings say."""

    def _check_samples(self, samples: int) -> None:
        """Raises ValueError for a measurement of so many samples, of all processes, that the settings do not allow."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything needed to resume, as named tensors: the state of every group's learner."""
        return {
            f"{group}.{name}": value.clone()
            for group, learner in self.learners.items()
            for name, value in learner.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state`; experts that were wiped in it are removed from the model.

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
        self._apply_to_model()

    def measure(
        self, closure: Closure, *, training: Closure | None = None, with_weight_grads: bool = False
    ) -> Tensor:
        """Run `closure`, and add its gradients by mixture weights to those gathered since the last step.

        `training` does the same for a training batch; rules of second order differentiate through a step on it.

        With `with_weight_grads` the network weights get the gradients of the mean loss by the same backward pass,
        added to what they have, else none. Returns the losses, shape (B,), detached; where processes share the
        batch, those of this one. Where norms use statistics of the batch, a sample's gradient has small shares of
        its neighbours' in it.

        Several measurements before a step are parts of one batch: for feedback by the batch their mean counts, each by
        its number of samples.

        Raises ValueError, and nothing is gathered, if the losses have no sample axis, if they or the rewards are not
        finite (it names the first sample), or if they do not depend on the forecasters. What the closure raises in or
        after the model's pass is raised, on every process.
        """
        first = not self._num_samples and not any(self._gradients.values())
        sampling_states = self._sampling_states() if first else {}
        try:
            if first:
                self._resample()  # once for all that a step uses
            losses_B, measured = (
                self._measure_with_weight_grads(closure)
                if with_weight_grads
                else self._measure(closure, training)
            )
        except BaseException:
            for name, state in sampling_states.items():
                self.learners[name].load_state_dict(state)
                self._set_mixtures(name)
            raise
        for name, gradients_RBEK in measured.items():
            self._gradients[name].append(gradients_RBEK)
            self._part_sizes[name].append(len(losses_B))
        batch_ranks = self._batch_ranks()
        self._num_samples.append(len(losses_B) * (1 if batch_ranks is None else batch_ranks.size))
        return losses_B

    def _sampling_states(self) -> dict[str, dict[str, Tensor]]:
        """Return the states that sampling changes."""
        return {
            name: learner.state_dict()
            for name, learner in self.learners.items()
            if isinstance(learner, SamplingLearner)
        }

    def _measure(self, closure: Closure, training: Closure | None) -> tuple[Tensor, Measured]:
        """The losses, and what every group learns from; rules of second order put their own in its place."""
        del training  # first order: the network weights are taken as given
        with no_grad_for(self._network_weights()):
            return self._reward_pass(closure)

    def _measure_with_weight_grads(self, closure: Closure) -> tuple[Tensor, Measured]:
        """Measure as `_measure` does and give the network weights the gradients of the mean loss, in one pass."""
        kept = [
            (weight, weight.grad, weight.grad.clone())
            for weight in self._network_weights()
            if weight.grad is not None
        ]
        for weight in self._network_weights():
            weight.grad = None
        try:
            losses_B, measured = self._reward_pass(closure)
        except BaseException:
            for weight in self._network_weights():
                weight.grad = None
            for weight, gradient, before in kept:
                weight.grad = gradient.copy_(before)
            raise
        if self.feedback == "sample":  # whose backward pass is of the sum
            gradients = [weight.grad for weight in self._network_weights() if weight.grad is not None]
            if gradients:
                torch._foreach_div_(gradients, len(losses_B))
        for weight, _, before in kept:
            weight.grad = before if weight.grad is None else weight.grad.add_(before)
        return losses_B, measured

    def _network_weights(self) -> list[nn.Parameter]:
        """The model's parameters, asked for once until an expert leaves: a walk through a supernet takes a while."""
        if self._parameters is None:
            self._parameters = list(self._model.parameters())
        return self._parameters

    def _reward_pass(self, closure: Closure) -> tuple[Tensor, Measured]:
        """The losses of a pass, detached, and their gradients by the mixture weights.

        Network weights that need gradients get them too. What is refused leaves the norms' statistics as they were.
        """
        with (
            restore_norms_on_error(self._model if self.ranks is None else None),
            recording_mixture_grads(self._all_groups, per_sample=self.feedback == "sample"),
            torch.enable_grad(),
        ):
            losses_B = self._checked_losses(closure)
            batch_ranks = self._batch_ranks()
            samples = self._check_ranks_agree(len(losses_B), batch_ranks)
            if self.ranks is None:
                self._check_samples(samples)
            measured = self._on_all_or_none(lambda: self._backward(losses_B))
            if self.ranks is not None:
                measured = self._gather_by_reducer(measured, self.ranks)
            elif batch_ranks is not None:
                measured = self._gather_by_ranks(measured, batch_ranks, samples=len(losses_B))
        self._ever_reached |= bool(measured)
        return losses_B.detach(), measured

    def _checked_losses(self, closure: Closure) -> Tensor:
        """Return the closure's losses. Raises ValueError, on all ranks, if one of them cannot learn from its own."""

        def checked() -> Tensor:
            with counting_passes(self._model) as passes:
                losses_B = closure()
            check_losses(losses_B)
            records = any(forecaster._per_sample is not None for forecaster in self._present)
            # A pass that trains needs gradients in any case.
            needed = self._forecasters_called() or not records
            reaching = losses_B.requires_grad if needed else passes or self._ever_reached
            if not reaching:
                raise ValueError(
                    "the losses do not depend on the forecasters; run the model inside the closure, with gradients"
                )
            if self.ranks is None:
                check_finite_losses(losses_B)
            return losses_B

        return self._on_all_or_none(checked)

    def _backward(self, losses_B: Tensor) -> Measured:
        """The backward pass of the losses, and what it leaves in the forecasters that it reached."""
        per_sample = self.feedback == "sample"
        learning = self._forecasters_called() or any(
            weight.requires_grad for weight in self._network_weights()
        )
        if losses_B.requires_grad and learning:
            (losses_B.sum() if per_sample else losses_B.mean()).backward()  # type: ignore[no-untyped-call]
        measured = {}
        for name, group in self.groups.items():
            gradients_RBEK = mixture_gradients(group, alive_EK=self.alive(name))
            if gradients_RBEK is None:
                continue
            if self.ranks is None:
                if per_sample and gradients_RBEK.shape[1] != len(losses_B):
                    raise ValueError(
                        f"the closure returned {len(losses_B)} losses, but group {name!r} was called with "
                        f"{gradients_RBEK.shape[1]} samples; return one loss for each, or use feedback='batch'"
                    )
                check_finite_rewards(
                    gradients_RBEK, group=group, names=self.names(name), per_sample=per_sample
                )
            measured[name] = gradients_RBEK
        if not measured and self._forecasters_called():
            raise ValueError(
                "the losses do not depend on the forecasters that the model went through; no gradient reaches them"
            )
        return measured

    def _forecasters_called(self) -> bool:
        """Return True if the pass has gone through a forecaster."""
        return any(forecaster._leaf is not None for forecaster in self._present)

    def _batch_ranks(self) -> BatchRanks | None:
        """Return the ranks that share batches, None under a trainer that divides batches itself."""
        return BatchRanks.found(self._process_group) if self.ranks is None else None

    def _on_all_or_none(self, compute: Callable[[], Result]) -> Result:
        """Return `compute()`; it fails on all ranks that share batches, or on none."""
        batch_ranks = self._batch_ranks()
        return compute() if batch_ranks is None else batch_ranks.all_or_none(compute)

    def _check_ranks_agree(self, samples: int, batch_ranks: BatchRanks | None) -> int:
        """Samples of all processes. Raises ValueError, on all, if parts or experts are not the same everywhere."""
        if batch_ranks is None:
            return samples
        digest = hashlib.sha256(repr(list(self.settings.values())).encode())
        for name, value in self.state_dict().items():
            digest.update(name.encode() + value.numpy().tobytes())
        by_rank = batch_ranks.all_gather_ints(samples, int.from_bytes(digest.digest()[:7]))
        if len({digest for _, digest in by_rank}) > 1:
            differing = [rank for rank, (_, digest) in enumerate(by_rank) if digest != by_rank[0][1]]
            raise ValueError(
                f"rank {differing[0]} has other experts, weights or settings than rank 0; build the optimizer alike on "
                "all processes, with one seed, and load the same state"
            )
        if len({samples for samples, _ in by_rank}) > 1:
            raise ValueError(
                f"the processes measured {', '.join(str(samples) for samples, _ in by_rank)} samples, by rank; "
                "give all the same number"
            )
        return samples * batch_ranks.size

    def _gather_by_reducer(self, measured: Measured, ranks: Reducer) -> Measured:
        """Gather the ranks' parts of a batch: its samples' gradients, or those of its mean loss."""
        if self.feedback == "sample":
            return {name: ranks.all_gather(part_RBEK, dim=1) for name, part_RBEK in measured.items()}
        ranks.all_reduce_mean_(measured.values())
        return measured

    def _gather_by_ranks(self, measured: Measured, batch_ranks: BatchRanks, *, samples: int) -> Measured:
        """Gather where ranks may have reached different groups: a group that was not reached has gradients of zero."""
        reached = [
            any(flags)
            for flags in zip(
                *batch_ranks.all_gather_ints(*(name in measured for name in self.groups)), strict=True
            )
        ]
        together = {}
        for (name, group), found in zip(self.groups.items(), reached, strict=True):
            if not found:
                continue
            rows = samples if self.feedback == "sample" else 1
            shape = (group.num_replicas, rows, *self.alive(name).shape)
            part_RBEK = measured.get(name, torch.zeros(shape, dtype=torch.float64))
            if self.feedback == "sample":
                together[name] = batch_ranks.all_gather(part_RBEK, dim=1)
            else:
                together[name] = batch_ranks.all_gather(part_RBEK[None], dim=0).mean(dim=0)
        return together

    def gradients(self, group: str) -> Tensor:
        """The gradients gathered since the last step, a row for each feedback: float64, shape (F, E, K).

        F is 0 for a group that no measurement reached. Raises ValueError if nothing was measured.
        """
        if not self._num_samples and not any(self._gradients.values()):
            raise ValueError("no gradients gathered since the last step; call measure(closure) first")
        if not self._gradients[group]:
            return torch.zeros((0, *self.alive(group).shape), dtype=torch.float64)
        self._gradients_to_cpu()
        (gradients_RBEK,) = self._gradients[group]
        if self.feedback == "batch":
            return gradients_RBEK.sum(dim=0)
        return gradients_RBEK.flatten(end_dim=1)

    def _gradients_to_cpu(self) -> None:
        """Move the gathered gradients to the CPU, where the learners are, all groups' in one copy.

        It is the only time in a round that the host waits for an accelerator.
        """
        parts = {
            name: gathered[0] if len(gathered) == 1 else self._join_parts(gathered, self._part_sizes[name])
            for name, gathered in self._gradients.items()
            if gathered
        }
        if any(part.device.type != "cpu" for part in parts.values()):
            sizes = [part.numel() for part in parts.values()]
            here = torch.split(torch.cat([part.flatten() for part in parts.values()]).cpu(), sizes)
            parts = {name: flat.view_as(part) for (name, part), flat in zip(parts.items(), here, strict=True)}
        for name, part in parts.items():
            self._gradients[name][:] = [part.double().contiguous()]
            self._part_sizes[name][:] = [sum(self._part_sizes[name])]

    def _join_parts(self, parts: list[Tensor], part_sizes: list[int]) -> Tensor:
        """Join several measurements of a step, as if their samples had been measured at once."""
        if self.feedback == "sample":
            return torch.cat(parts, dim=1)
        total = torch.zeros_like(parts[0])
        for part, part_size in zip(parts, part_sizes, strict=True):
            total += part * (part_size / sum(part_sizes))
        return total

    def zero_grad(self) -> None:
        """Drop the gradients gathered since the last step."""
        for gathered in self._gradients.values():
            gathered.clear()
        for part_sizes in self._part_sizes.values():
            part_sizes.clear()
        self._num_samples.clear()

    def _resample(self) -> None:
        """Draw new weights for the next pass, where the rule samples."""
        for name, learner in self.learners.items():
            if isinstance(learner, SamplingLearner):
                learner.resample()
                self._set_mixtures(name)

    def _apply_to_model(self) -> list[tuple[str, int, str]]:
        """Remove the experts that are no longer alive, and set the forecasters' mixture weights."""
        removed = []
        gone: list[nn.Module] = []
        for name, group in self._all_groups.items():
            alive_EK = self.alive(name)
            for index, replicas_R in enumerate(group.replicas_ER):
                if self._present.isdisjoint(replicas_R):
                    continue  # they have left with an expert that they were in
                kept = [
                    expert
                    for expert, stays in zip(self.names(name), alive_EK[index].tolist(), strict=True)
                    if stays
                ]
                for expert in [expert for expert in replicas_R[0].names if expert not in kept]:
                    removed.append((name, index, expert))
                    modules = [forecaster.remove(expert) for forecaster in replicas_R]
                    if any(isinstance(part, Forecaster) for module in modules for part in module.modules()):
                        self._drop_absent_forecasters()
                    gone += modules
            self._set_mixtures(name)
        if gone:
            self._parameters = None
            # A trainer's supernet registers all that it uses.
            drop_parameters(
                self._weight_optimizer, unused_parameters(self._model, gone, unregistered=self.ranks is None)
            )
        return removed

    def _drop_absent_forecasters(self) -> None:
        """Drop forecasters that have left the model inside an expert, and groups without any left."""
        here = set(self._model.modules())
        self._present = {forecaster for forecaster in self._present if forecaster in here}
        for name, group in list(self.groups.items()):
            if self._present.isdisjoint(group):
                del self.groups[name]
                self._gradients[name].clear()
                self._part_sizes[name].clear()

    def _set_mixtures(self, name: str) -> None:
        """Set the mixture weights of a group's forecasters for the next pass."""
        learner = self.learners[name]
        set_group_mixtures(
            self._all_groups[name], learner.weights_EK, alive_EK=learner.alive_EK, one_hot=learner.one_hot
        )
