"""The forecaster: a module that predicts with a mixture of experts, p = sum_i u_i f_i(x) (equation 1).

It works inside any model. Forecasters with equal (group, index) are replicas: they share the expert weights v,
though each has experts with network weights of their own. A forecaster without a group is one by itself.

E: indices of a group; R: replicas of each; K: experts alive; B: samples.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from xnas.space.mix import misfit, mix
from xnas.space.partial import join_channels, split_channels

ALONE = "default"
"""The group of a forecaster without one that is the whole model."""


class NamedModules(nn.Module):
    """Modules by name, in order. Unlike a ModuleDict's, their names may be those of a module's own attributes.

    In a state_dict each has its name, whichever others are there: what was saved after others had left is not taken for
    these.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules.update(modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self._modules.values())  # type: ignore[arg-type]

    def __getitem__(self, key: int | str) -> nn.Module:
        found = self._modules[key] if isinstance(key, str) else list(self._modules.values())[key]
        assert found is not None
        return found

    def __delitem__(self, name: str) -> None:
        del self._modules[name]


class Forecaster(nn.Module):
    """A choice between named experts, open until the search has decided it.

    Between searches' updates it holds the mixture weights u of its experts, uniform at first; an architecture
    optimizer sets them, and removes experts that were wiped out. All experts map the same input to outputs of the
    same shape, samples first, of real floating-point numbers; none may change the input in place.

    Forecasters with equal `group` and `index` are replicas, which choose alike. Without a group a forecaster chooses
    by itself; its group is then named for its place in the model, such as "blocks.2.kernel".

    With `partial` = k only the first 1/k of the channels, dimension 1, pass the experts; the rest passes `bypass`,
    nothing by default, and both are joined and shuffled (partial.py). Experts are then built for 1/k of the channels.

    Raises ValueError without experts, for one that is no module, for a name that torch cannot hold, for a negative
    index, or for parts that cannot be; in a pass for outputs that cannot be mixed, and for an expert that changes its
    input in place (a compiled pass gives each a copy instead).
    """

    mixture_K: Tensor

    def __init__(
        self,
        experts: Mapping[str, nn.Module],
        *,
        group: str | None = None,
        index: int = 0,
        partial: int = 1,
        bypass: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.group = group
        self.index = index
        self._name_in_model: str | None = None
        experts = _checked_experts(experts, self.label)
        if group is not None and (not isinstance(group, str) or not group):
            raise ValueError(f"a forecaster's group must be a name; got {group!r}")
        try:
            self.index = operator.index(index)  # numpy's whole numbers too
        except TypeError:
            whole = False
        else:
            whole = not isinstance(index, bool)
        if not whole:
            raise ValueError(f"a forecaster's index must be a whole number; got {index!r} in group {group!r}")
        if self.index < 0:
            raise ValueError(f"a forecaster's index must not be negative; got {index} in group {group!r}")
        if index and group is None:
            raise ValueError(
                f"an index is a forecaster's place in its group; got {index} without a group: give both"
            )
        if partial < 1:
            raise ValueError(f"partial must be at least 1; got {partial} for {self.label}")
        if partial == 1 and bypass is not None:
            raise ValueError(f"nothing goes around all channels; leave out the bypass of {self.label}")
        self.partial = partial
        self.bypass = bypass
        self._names = tuple(experts)
        self.experts = NamedModules(experts)
        self.register_buffer("mixture_K", torch.full((len(experts),), 1 / len(experts)), persistent=False)
        self._per_sample: bool | None = None
        self._leaf: Tensor | None = None
        self._active_expert: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The experts alive, in the order of `experts` and of the mixture weights."""
        return self._names

    @property
    def label(self) -> str:
        """The name in messages: group and index, or the name in the model if that is known."""
        name = self.group or self._name_in_model
        if name is None:
            return "a forecaster without a group"
        return f"forecaster {name!r}[{self.index}]"

    def forward(self, inputs: Tensor) -> Tensor:
        """The mixture of the experts' outputs, u_1 f_1(x) + ... + u_K f_K(x), and what went around them."""
        return self.with_bypass(inputs, self.mixed)

    def with_bypass(self, inputs: Tensor, mixture: Callable[[Tensor], Tensor]) -> Tensor:
        """`mixture` of the channels that pass the experts, joined with those that do not."""
        if self.partial == 1:
            return mixture(inputs)
        inputs, rest = split_channels(inputs, parts=self.partial)
        if self.bypass is not None:
            rest = self.bypass(rest)
        return join_channels(mixture(inputs), rest, parts=self.partial)

    def active_experts(self) -> list[tuple[int, nn.Module]]:
        """Return the experts that a pass computes, each with its position among the weights."""
        experts = list(enumerate(self.experts))
        return experts if self._active_expert is None else [experts[self._active_expert]]

    def mixed(self, inputs: Tensor) -> Tensor:
        """The mixture of the experts' outputs for the channels that pass them."""
        weights = self.weights(inputs)
        if self._active_expert is not None:
            weights = weights[..., self._active_expert : self._active_expert + 1]
        computed = self.active_experts()
        outputs = [self._call_expert(expert, inputs) for _, expert in computed]
        if (len(outputs) > 1 or weights.requires_grad) and (
            wrong := misfit(outputs, samples=len(weights) if weights.dim() == 2 else None)
        ):
            place, words = wrong
            names = [self._names[k] for k, _ in computed]
            first = "" if place == 0 else f", and that of {names[0]!r} {_described(outputs[0])}"
            raise ValueError(
                f"{self.label}: the output of expert {names[place]!r} is {_described(outputs[place])}{first}; {words}"
            )
        return mix(weights, outputs)

    def _call_expert(self, expert: nn.Module, inputs: Tensor) -> Tensor:
        """Return an expert's output. Raises ValueError if it changes its input in place."""
        if torch.compiler.is_compiling() or (isinstance(inputs, Tensor) and inputs.is_inference()):
            # Neither a graph nor inference mode knows versions; a copy serves, which compilers leave out where nobody
            # writes.
            output: Tensor = expert(inputs.clone() if isinstance(inputs, Tensor) else inputs)
            return output
        before = versions(inputs)
        try:
            output = expert(inputs)
        except RuntimeError as error:
            # Torch itself keeps what requires gradients from being written into, and does not say by whom.
            if (
                isinstance(inputs, Tensor)
                and inputs.requires_grad
                and inputs.is_leaf
                and "in-place" in str(error)
            ):
                self.refuse_in_place(expert)
            raise
        if versions(inputs) != before:
            self.refuse_in_place(expert)
        return output

    def refuse_in_place(self, expert: nn.Module) -> NoReturn:
        """Raises ValueError, naming an expert that has changed its input."""
        name = next(name for name, other in zip(self._names, self.experts, strict=True) if other is expert)
        raise ValueError(
            f"{self.label}: expert {name!r} changes its input in place, which the other experts and the rest of the "
            "model read too; build it without in-place operations, such as inplace=True"
        )

    def set_mixture(self, mixture_K: Tensor, *, one_hot: bool = False) -> None:
        """Take over new mixture weights, one for each expert alive.

        With `one_hot` the expert with the largest weight, which must be one, is computed and the others are not: their
        gradients are zero.
        """
        if mixture_K.shape != self.mixture_K.shape:
            raise ValueError(
                f"{self.label} has {len(self._names)} experts; got {tuple(mixture_K.shape)} mixture weights"
            )
        # A tensor of its own: what it had may be shared with replicas.
        self.mixture_K = mixture_K.detach().to(self.mixture_K, copy=True)
        self._active_expert = int(mixture_K.argmax()) if one_hot else None

    def remove(self, name: str) -> nn.Module:
        """Remove an expert and its network weights for good; returns its module. The others share its weight.

        Raises ValueError if it is unknown here, or the last one.
        """
        if name not in self._names:
            raise ValueError(f"{self.label} has no expert {name!r}; it has {', '.join(self._names)}")
        if len(self._names) == 1:
            raise ValueError(f"{name!r} is the last expert of {self.label}")
        gone = self._names.index(name)
        module = self.experts[name]
        del self.experts[name]
        self._names = self._names[:gone] + self._names[gone + 1 :]
        self._active_expert = None
        left_K = torch.cat([self.mixture_K[:gone], self.mixture_K[gone + 1 :]])
        total = left_K.sum()
        self.mixture_K = torch.where(total > 0, left_K / total, torch.full_like(left_K, 1 / len(left_K)))
        return module

    def extra_repr(self) -> str:
        """Group, index and experts, for `print(model)`."""
        partial = f", partial={self.partial}" if self.partial > 1 else ""
        group = "" if self.group is None else f"group={self.group!r}, index={self.index}, "
        return f"{group}names={', '.join(self._names)}{partial}"

    def weights(self, inputs: Tensor) -> Tensor:
        """The mixture weights of a pass: (K,), or a row for each sample while their gradients are recorded."""
        if self._per_sample is None:
            return self.mixture_K
        if self._per_sample and (not isinstance(inputs, Tensor) or inputs.dim() == 0):
            raise ValueError(
                f"{self.label} was called with {_described(inputs)}: without samples in its first dimension their "
                "rewards cannot be told apart; use feedback='batch'"
            )
        if self._leaf is None:
            # Nothing is copied: nobody writes into mixture weights.
            leaf = self.mixture_K.detach()
            self._leaf = (leaf.expand(len(inputs), -1) if self._per_sample else leaf).requires_grad_()
        elif self._per_sample and len(self._leaf) != len(inputs):
            raise ValueError(
                f"{self.label} was called with {len(self._leaf)} and then with "
                f"{len(inputs)} samples in one pass: their rewards cannot be told apart; use feedback='batch'"
            )
        # One leaf for every call, so that a forecaster used twice in a pass adds its gradients.
        return self._leaf

    def _gradient(self) -> Tensor | None:
        return None if self._leaf is None else self._leaf.grad


def _checked_experts(experts: object, label: str) -> dict[str, nn.Module]:
    """The experts by name. Raises ValueError for what is none."""
    if not isinstance(experts, Mapping | nn.ModuleDict):
        raise ValueError(
            f'{label}: experts must be modules by name, such as {{"skip": nn.Identity()}}; got a '
            f"{type(experts).__name__}"
        )
    named = dict(experts.items())
    if not named:
        raise ValueError(f"{label} has no experts; give it at least one")
    if bad := [name for name in named if not isinstance(name, str) or not name or "." in name]:
        raise ValueError(f"an expert's name must be non-empty and without a dot; got {bad[0]!r}")
    for name, expert in named.items():
        if not isinstance(expert, nn.Module):
            what = (
                f"the class {expert.__name__}" if isinstance(expert, type) else f"a {type(expert).__name__}"
            )
            raise ValueError(
                f"{label}: expert {name!r} is {what}; it must be a module, such as nn.Identity() for one that "
                "does nothing"
            )
    return named


def versions(inputs: object) -> list[int]:
    """Return the version counters of tensors, also of those in a list, tuple or dict, to compare around a call.

    Nothing is known of tensors made in inference mode.
    """
    if isinstance(inputs, Tensor):
        return [] if inputs.is_inference() else [inputs._version]
    if isinstance(inputs, list | tuple):
        return [version for part in inputs for version in versions(part)]
    if isinstance(inputs, dict):
        return [version for part in inputs.values() for version in versions(part)]
    return []


def _described(value: object) -> str:
    """A tensor's shape and type, or what else it is."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"


@dataclass(frozen=True)
class ForecasterGroup:
    """Forecasters that learn with one rule: E indices with R replicas each, over the same experts."""

    name: str
    replicas_ER: tuple[tuple[Forecaster, ...], ...]

    @property
    def num_replicas(self) -> int:
        """R"""
        return len(self.replicas_ER[0])

    @property
    def num_forecasters(self) -> int:
        """E"""
        return len(self.replicas_ER)

    @property
    def experts(self) -> tuple[str, ...]:
        """The names of the experts alive at index 0."""
        return self.replicas_ER[0][0].names

    @property
    def num_experts(self) -> int:
        """N, those alive at index 0."""
        return len(self.experts)

    def __iter__(self) -> Iterator[Forecaster]:
        for replicas_R in self.replicas_ER:
            yield from replicas_R


def forecaster_groups(model: nn.Module) -> dict[str, ForecasterGroup]:
    """The groups of the forecasters inside `model`, by name, in the order in which the model holds them.

    One without a group makes a group by itself, named for its place in the model. Raises ValueError if there are
    none, an index is missing, a group is called like such a place, or a group's members differ in their experts or
    their number of replicas.
    """
    found: dict[str, dict[int, list[Forecaster]]] = {}
    places: set[str] = set()
    for place, module in named_modules_unwrapped(model):
        if not isinstance(module, Forecaster):
            continue
        if module.group is None:
            module._name_in_model = place
            places.add(place)
        found.setdefault(module.group or place, {}).setdefault(module.index, []).append(module)
    if not found:
        raise ValueError(f"{type(model).__name__} holds no Forecaster; put one where the choice is open")
    for place in places:
        if len(replicas := [replica for of_index in found[place].values() for replica in of_index]) > 1:
            raise ValueError(
                f"the group {place!r} of {len(replicas) - 1} forecasters has the name of the place of one without a "
                "group; give that one a group, or call this one differently"
            )
    return {name: _grid(name, by_index) for name, by_index in found.items()}


def named_modules_unwrapped(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module once, and its place: its name without what wrappers for processes and compilers add to it."""
    wraps = [""] if isinstance(model, DistributedDataParallel | DataParallel) else []
    for name, module in model.named_modules():
        if name and isinstance(module, DistributedDataParallel | DataParallel):
            wraps.append(f"{name}.")
        for wrap in reversed(wraps):
            if name == f"{wrap}module" or name.startswith(f"{wrap}module."):
                name = wrap + name.removeprefix(f"{wrap}module").removeprefix(".")
        parts = [part for part in name.split(".") if part and part != "_orig_mod"]
        yield ".".join(parts) or ALONE, module


def _grid(name: str, by_index: dict[int, list[Forecaster]]) -> ForecasterGroup:
    if sorted(by_index) != list(range(len(by_index))):
        raise ValueError(
            f"group {name!r} has the indices {sorted(by_index)}; number its forecasters 0, 1, 2, ..."
        )
    first = by_index[0]
    for index, replicas in by_index.items():
        if len(replicas) != len(first):
            raise ValueError(
                f"group {name!r} has {len(first)} replicas at index 0 but {len(replicas)} at index {index}; "
                "put them into groups of their own"
            )
        for replica in replicas:
            # Replicas share the expert weights; the indices of a group only share the rule, which depends on N.
            if replica.names != first[0].names:
                raise ValueError(
                    f"group {name!r} chooses between {', '.join(first[0].names)} at index 0 but between "
                    f"{', '.join(replica.names)} at index {index}; put them into groups of their own"
                )
    return ForecasterGroup(name, tuple(tuple(by_index[index]) for index in sorted(by_index)))


@contextmanager
def recording_mixture_grads(groups: Mapping[str, ForecasterGroup], *, per_sample: bool) -> Iterator[None]:
    """Make passes through the model take mixture weights as free leaves and keep their gradients.

    The gradient of the loss by a leaf is minus the experts' reward: no gradient passes through the
    normalisation of v (the difference between line 8 and equation 6). With `per_sample`, the leaves
    have a sample axis, so that one backward pass of the summed loss leaves each sample's own gradient.
    """
    replicas = [replica for group in groups.values() for replica in group]
    for replica in replicas:
        replica._per_sample, replica._leaf = per_sample, None
    try:
        yield
    finally:
        for replica in replicas:
            replica._per_sample, replica._leaf = None, None


def mixture_gradients(group: ForecasterGroup, *, alive_EK: Tensor) -> Tensor | None:
    """Gradients of the loss by the mixture weights, recorded in a pass: (R, B, E, K), on their device.

    They are float64 wherever the device has it. B is 1 for batch feedback. K counts all experts of the group; where
    `alive_EK`, on the CPU, says that one is gone its gradient is zero. So are those of a forecaster that the pass did
    not reach. None if it reached none of the group. Raises ValueError if they saw different numbers of samples.
    """
    num_edges, num_experts = alive_EK.shape
    alive: list[list[int]] = [row_K.nonzero().flatten().tolist() for row_K in alive_EK]
    reached, places = [], []
    for r in range(group.num_replicas):
        for e, replicas_R in enumerate(group.replicas_ER):
            if (gradient := replicas_R[r]._gradient()) is not None:
                reached.append(gradient if gradient.dim() == 2 else gradient[None])
                places += [(r * num_edges + e) * num_experts + k for k in alive[e]]
    if not reached:
        return None
    if len({len(gradient) for gradient in reached}) > 1:
        raise ValueError(
            f"forecasters of group {group.name!r} were called with "
            f"{' and '.join(map(str, sorted({len(gradient) for gradient in reached})))} samples in one pass: their "
            "rewards cannot be told apart; use feedback='batch'"
        )
    gradients = torch.cat(reached, dim=1)
    size = group.num_replicas * num_edges * num_experts
    if len(places) < size:
        index = _on_device(tuple(places), gradients.device)
        gradients = gradients.new_zeros(len(gradients), size).index_copy_(1, index, gradients)
    gradients_RBEK = gradients.view(len(gradients), -1, num_edges, num_experts).transpose(0, 1)
    return gradients_RBEK if gradients.device.type == "mps" else gradients_RBEK.double()


@lru_cache(maxsize=16)
def _on_device(places: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the indices on a device; cached, because the host waits for the copy."""
    return torch.tensor(places, device=device)


def set_group_mixtures(
    group: ForecasterGroup, weights_EK: Tensor, *, alive_EK: Tensor, one_hot: bool = False
) -> None:
    """Set the mixture weights of all forecasters of a group, views of one copy on their device.

    Both tensors are on the CPU. `one_hot` as in `Forecaster.set_mixture`.
    """
    like = group.replicas_ER[0][0].mixture_K
    weights = weights_EK[alive_EK].to(like, non_blocking=True)
    parts = torch.split(weights, alive_EK.sum(dim=1).tolist())
    for e, (replicas_R, part_K) in enumerate(zip(group.replicas_ER, parts, strict=True)):
        chosen = int(weights_EK[e, alive_EK[e]].argmax()) if one_hot else None
        for replica in replicas_R:
            replica.mixture_K, replica._active_expert = part_K.to(replica.mixture_K), chosen
