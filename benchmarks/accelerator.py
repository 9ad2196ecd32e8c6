"""Operations that a round launches on an accelerator, counted without one.

The supernet's tensors are on torch's `meta` device, which has no numbers: it stands in for an accelerator, and whoever
asks it for a number is found out. Every operation on it counts once, but for views and empty tensors. The experts'
update runs on the host and does not count; what it takes from the device and brings back does.

The plain round is one of benchmarks/plain.py, without an update of the experts at all.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.figure import Figure
from benchmarks.options import Options
from benchmarks.plain import plain_logits
from benchmarks.rounds import Setting, setting_of
from xnas import XNAS, DartsSpace
from xnas.experts.step_size import Feedback
from xnas.space.darts.supernet import Supernet
from xnas.space.fast.gpu.nodes import BatchedGpuNodes, NodeSchedules
from xnas.train.distributed import process_group

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


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is launched on a device, in the part of a round that was named last."""

    def __init__(self, device: str = "meta") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
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
        """Let the operation do its work, and count it. Raises HostWaits for one that the host would wait for."""
        del types
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
def grouped() -> Iterator[None]:
    """Within it every cell computes its nodes as on an accelerator, wherever it is."""

    def node_kernel(inputs: Tensor, *, training: bool, schedules: NodeSchedules) -> BatchedGpuNodes:
        del inputs, training
        return BatchedGpuNodes(schedules)

    with (
        mock.patch("xnas.space.darts.supernet.node_kernel", node_kernel),
        mock.patch("xnas.space.fast.dispatch.supported", return_value=False),
    ):
        yield


class Round:
    """A round of a search: a step of the network weights, rewards, and an update of the experts."""

    def __init__(self, setting: Setting, *, feedback: Feedback = "sample", device: str = "meta") -> None:
        self.device = device
        with torch.device(device):
            self.supernet: Supernet = DartsSpace(num_nodes=setting.nodes).supernet(setting.plan)
            self.images = torch.zeros(setting.batch, *setting.image_shape)
            self.labels = torch.zeros(setting.batch, dtype=torch.long)
        self.weights = torch.optim.SGD(self.supernet.parameters(), lr=0.1, momentum=0.9, foreach=True)
        for weight in self.supernet.parameters():  # as after the first step
            self.weights.state[weight]["momentum_buffer"] = torch.empty_like(weight)
        self.experts = XNAS(
            self.supernet, rounds=10, batch_size=setting.batch, feedback=feedback, zeta=None, reward_bound=1.0
        )
        self.experts.ranks = process_group()  # as a trainer does, which looks at numbers itself

    def ours(self) -> Counted:
        """The launches of a round with the supernet as it is."""
        with Counted(self.device) as counted:
            self._descend(counted, lambda: self.supernet(self.images))

            def losses_B() -> Tensor:
                losses_B = F.cross_entropy(self.supernet(self.images), self.labels, reduction="none")
                counted.part("rewards, backward")
                return losses_B

            counted.part("rewards, forward")
            self.experts.measure(losses_B)
            counted.part("experts")
            self.experts.step()
        return counted

    def plain(self) -> Counted:
        """Those with the plain one, without an update of the experts."""
        with Counted(self.device) as counted:
            self._descend(counted, lambda: plain_logits(self.supernet, self.images)[0])
            self.supernet.requires_grad_(False)
            counted.part("rewards, forward")
            logits_BD, _ = plain_logits(self.supernet, self.images, feedback=self.experts.feedback)
            loss = F.cross_entropy(logits_BD, self.labels, reduction="sum")
            counted.part("rewards, backward")
            loss.backward()  # type: ignore[no-untyped-call]
            self.supernet.requires_grad_(True)
        return counted

    def _descend(self, counted: Counted, logits_BD: Callable[[], Tensor]) -> None:
        counted.part("weights, forward")
        self.weights.zero_grad()
        loss = F.cross_entropy(logits_BD(), self.labels)
        counted.part("weights, backward")
        loss.backward()  # type: ignore[no-untyped-call]
        counted.part("weights, step")
        self.weights.step()


def plain_launches(setting: Setting) -> dict[str, int]:
    """Of every part of a plain round. There are as many for small images on the CPU, where these take no time."""
    return Round(replace(setting, batch=2, size=8), device="cpu").plain().totals()


def measure(options: Options) -> list[Figure]:
    """The launches of a round by part, and the ratio."""
    setting = setting_of(options.small)
    plain = plain_launches(setting)
    with grouped():
        a_round = Round(setting)
        a_round.ours()  # from the second round on constants are on the device
        ours = a_round.ours().totals()
    total = Figure(
        name="launches of a round",
        values=(sum(plain.values()) / sum(ours.values()),),
        unit="plain / ours",
        better="more",
        target=None if options.small else 4,
    )
    parts = [
        Figure(name=f"{part}, {kind}", values=(launched,), unit="launches", better="less")
        for kind, counts in (("plain", plain), ("ours", ours))
        for part, launched in counts.items()
    ]
    return [total, *(part for part in parts if part.value)]
