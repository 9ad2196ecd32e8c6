"""Operations that a round launches on an accelerator, counted without one.

The supernet's tensors are on torch's `meta` device, which has no numbers: it stands in for an accelerator, and whoever
asks it for a number is found out. Every operation on it counts once, but for views and empty tensors. The experts'
update runs on the host and does not count; what it takes from the device and brings back does.

The plain round is one of benchmarks/plain.py, without an update of the experts at all.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.plain import plain_logits
from xnas import XNAS, DartsSpace, StackPlan
from xnas.experts.step_size import Feedback
from xnas.space.supernet import Path, Supernet

PLAN = StackPlan(image_channels=3, num_classes=10, channels=16, cells=8)
BATCH, SIZE = 32, 32

SILENT = {
    "alias", "as_strided", "detach", "diagonal", "empty", "empty_like", "empty_strided", "expand", "new_empty",
    "new_empty_strided", "permute", "reshape", "_reshape_alias", "select", "slice", "split", "split_with_sizes",
    "squeeze", "t", "transpose", "unbind", "unsqueeze", "_unsafe_view", "view",
}  # fmt: skip
"""Operations that launch nothing."""

WAITING = {"_local_scalar_dense", "equal", "masked_select", "nonzero", "unique_consecutive", "_unique2"}
"""Operations for whose result the host waits."""


class HostWaits(RuntimeError):
    """The host asked the device for a number."""


class Launches(TorchDispatchMode):
    """Counts what is launched on a device, in the part of a round that was named last."""

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.device = device
        self.parts: dict[str, Counter[str]] = {}
        self.to_host: Counter[str] = Counter()
        """Copies from the device in every part, for each of which the host waits. What they bring is zeros."""
        self.part("outside")

    def part(self, name: str) -> None:
        """From now on."""
        self._part = name
        self._counted = self.parts.setdefault(name, Counter())

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = operation._schema.name.removeprefix("aten::")
        read = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        on_device = any(tensor.device.type == self.device for tensor in read)
        if read and read[0].is_meta and name == "_to_copy" and str(kwargs.get("device")) == "cpu":
            self._counted[name] += 1
            self.to_host[self._part] += 1
            return torch.zeros(read[0].shape, dtype=kwargs.get("dtype") or read[0].dtype)
        masked = name.startswith("index") and any(
            tensor.is_meta and tensor.dtype in (torch.bool, torch.uint8) for tensor in read
        )
        if self.device == "meta" and on_device and (name in WAITING or masked):
            raise HostWaits(name)
        outputs = operation(*args, **kwargs)
        made = [value for value in tree_leaves(outputs) if isinstance(value, Tensor)]
        if name not in SILENT and (on_device or any(tensor.device.type == self.device for tensor in made)):
            self._counted[name] += 1
        return outputs

    def totals(self) -> dict[str, int]:
        """Launches of every part."""
        return {name: counted.total() for name, counted in self.parts.items() if counted or name != "outside"}


@contextmanager
def path(name: Path) -> Iterator[None]:
    """Within it every cell computes its nodes so."""
    with mock.patch("xnas.space.supernet.pick_path", return_value=name):
        yield


class Round:
    """A round of a search: a step of the network weights, rewards, and an update of the experts."""

    def __init__(
        self,
        plan: StackPlan = PLAN,
        *,
        feedback: Feedback = "sample",
        device: str = "meta",
        batch: int = BATCH,
        size: int = SIZE,
    ) -> None:
        self.device = device
        with torch.device(device):
            self.supernet: Supernet = DartsSpace().supernet(plan)
            self.images = torch.zeros(batch, plan.image_channels, size, size)
            self.labels = torch.zeros(batch, dtype=torch.long)
        self.weights = torch.optim.SGD(self.supernet.parameters(), lr=0.1, momentum=0.9, foreach=True)
        for weight in self.supernet.parameters():  # as after the first step
            self.weights.state[weight]["momentum_buffer"] = torch.empty_like(weight)
        self.experts = XNAS(self.supernet, rounds=10, batch_size=batch, feedback=feedback, zeta=None)

    def ours(self, launches: Launches) -> None:
        """With the supernet as it is."""

        def losses_B() -> Tensor:
            losses_B = F.cross_entropy(self.supernet(self.images), self.labels, reduction="none")
            launches.part("rewards, backward")
            return losses_B

        self._descend(launches, lambda: self.supernet(self.images))
        launches.part("rewards, forward")
        self.experts.measure(losses_B)
        launches.part("experts")
        self.experts.step()

    def plain(self, launches: Launches) -> None:
        """With the plain one."""
        self._descend(launches, lambda: plain_logits(self.supernet, self.images)[0])
        self.supernet.requires_grad_(False)
        launches.part("rewards, forward")
        logits_BD, _ = plain_logits(self.supernet, self.images, feedback=self.experts.feedback)
        loss = F.cross_entropy(logits_BD, self.labels, reduction="sum")
        launches.part("rewards, backward")
        loss.backward()
        self.supernet.requires_grad_(True)

    def _descend(self, launches: Launches, logits_BD: Callable[[], Tensor]) -> None:
        launches.part("weights, forward")
        self.weights.zero_grad()
        loss = F.cross_entropy(logits_BD(), self.labels)
        launches.part("weights, backward")
        loss.backward()
        launches.part("weights, step")
        self.weights.step()


def count(a_round: Round, run: Callable[[Launches], None]) -> Launches:
    """The launches of a round."""
    with Launches(a_round.device) as launches:
        run(launches)
    return launches


def plain_launches() -> dict[str, int]:
    """Of every part of a plain round. On the CPU, where small images take no time; there are as many for any."""
    small = Round(device="cpu", batch=2, size=8)
    return count(small, small.plain).totals()


def our_launches(a_round: Round) -> Launches:
    """Those of the second round: from then on constants are on the device."""
    count(a_round, a_round.ours)
    return count(a_round, a_round.ours)


def main() -> None:
    """Print the launches of a round by part, plain and ours, and the ratio."""
    print(f"supernet of {PLAN.cells} cells, C = {PLAN.channels}, {BATCH} images of {SIZE} x {SIZE}")
    plain = plain_launches()
    with path("grouped"):
        ours = our_launches(Round()).totals()
    for name in ours:
        print(f"{name:<20}{plain.get(name, 0):>8,}{ours[name]:>8,}")
    total, fewer = sum(plain.values()), sum(ours.values())
    print(f"{'round':<20}{total:>8,}{fewer:>8,}   ratio {total / fewer:.2f}")
