"""A round of a search, plain and as it is done here: a step of the weights, then the experts' rewards (algorithm 1).

Both have the same model, random images and the optimizer of a search. The plain one goes edge by edge and operation by
operation through torch's own layers, leaves all gradients to autograd, and keeps tensors as torch does by itself, NCHW;
it takes no step of the experts. Ours is whatever a search does by default.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.plain import Leaves, plain_logits
from xnas import XNAS, DartsSpace, NetworkSpec
from xnas.config.schema import SearchConfig
from xnas.experts.step_size import Feedback
from xnas.space.names import EXPERTS
from xnas.train.device import autocast, make_repeatable
from xnas.train.distributed import process_group
from xnas.train.step import build_sgd, parameters_of


@dataclass(frozen=True)
class Setting:
    """A supernet and its batches."""

    channels: int
    cells: int
    batch: int
    size: int
    """Side of an image, in pixels."""
    nodes: int = 4
    """Intermediate nodes of a cell."""
    activation_checkpointing: bool = False

    @property
    def plan(self) -> NetworkSpec:
        """The shape of the supernet, for images of three colours and ten classes."""
        return NetworkSpec(
            image_channels=3,
            num_classes=10,
            channels=self.channels,
            cells=self.cells,
            activation_checkpointing=self.activation_checkpointing,
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return (self.plan.image_channels, self.size, self.size)

    def data(self) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and labels (B), the same every time."""
        generator = torch.Generator().manual_seed(1)
        images_BCHW = torch.randn(self.batch, *self.image_shape, generator=generator)
        return images_BCHW, torch.randint(self.plan.num_classes, (self.batch,), generator=generator)

    def __str__(self) -> str:
        return f"C = {self.channels}, {self.cells} cells, batch {self.batch}, {self.size} x {self.size}"


USUAL = Setting(channels=16, cells=8, batch=32, size=32)
SMALL = Setting(channels=4, cells=3, batch=4, size=8, nodes=2)


def setting_of(small: bool) -> Setting:
    """The supernet that figures are about, or the smallest."""
    return SMALL if small else USUAL


class PlainForward(Protocol):
    """The plain forward pass of a model: logits, (B, D), and the mixture weights that went into them."""

    def __call__(
        self, model: Any, images: Tensor, /, *, feedback: Feedback | None = None
    ) -> tuple[Tensor, Leaves]:
        """With `feedback` the mixture weights are leaves that need gradients."""
        ...


class Round(ABC):
    """A model in the middle of its search."""

    layout: torch.memory_format

    def __init__(
        self, build: Callable[[], nn.Module], setting: Setting, *, device: str = "cpu", bfloat16: bool = False
    ) -> None:
        make_repeatable(0)
        self.model: nn.Module = build().to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.model.train()
        self.config = SearchConfig()
        self.weights = self.optimizer()
        images, labels = setting.data()
        self.images = images.to(device, memory_format=self.layout)
        self.labels = labels.to(device)
        self._precision = "bfloat16" if bfloat16 else "float32"

    def optimizer(self) -> torch.optim.SGD:
        """Of the network weights, as a search has it."""
        return build_sgd(self.model.parameters(), self.config)

    def precise(self) -> AbstractContextManager[None]:
        """What forward passes are made within."""
        return autocast(self.images.device, self._precision)

    @abstractmethod
    def logits(self) -> Tensor:
        """Of the batch, (B, D), in float32."""

    @abstractmethod
    def reward(self) -> None:
        """The reward pass (lines 5-8)."""

    def weight(self) -> None:
        """A step of the network weights (line 4)."""
        self.weights.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.logits(), self.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters_of(self.weights), self.config.clip_norm)
        self.weights.step()

    def round(self) -> None:
        """Both."""
        self.weight()
        self.reward()


class PlainRound(Round):
    """Without any of what is done here to be fast."""

    layout = torch.contiguous_format

    def __init__(
        self,
        build: Callable[[], nn.Module],
        setting: Setting,
        *,
        forward: PlainForward,
        device: str = "cpu",
        bfloat16: bool = False,
    ) -> None:
        super().__init__(build, setting, device=device, bfloat16=bfloat16)
        self._forward = forward

    def optimizer(self) -> torch.optim.SGD:
        """The same rule, as torch carries it out by itself."""
        return torch.optim.SGD(
            self.model.parameters(),
            lr=self.config.learning_rate,
            momentum=self.config.momentum,
            weight_decay=self.config.weight_decay,
        )

    def logits(self) -> Tensor:
        """Of the batch, (B, D), in float32."""
        return self._logits(None)

    def _logits(self, feedback: Feedback | None) -> Tensor:
        with self.precise():
            logits_BD, _ = self._forward(self.model, self.images, feedback=feedback)
        return logits_BD.float()

    def reward(self) -> None:
        """The gradients by the mixture weights of every sample, and with them by all network weights."""
        self.weights.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self._logits("sample"), self.labels, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]


class FastRound(Round):
    """As a search does it. `alive` says for each group which experts are left, (E, K); without it all are."""

    layout = torch.channels_last

    def __init__(
        self,
        build: Callable[[], nn.Module],
        setting: Setting,
        *,
        alive: Mapping[str, Tensor] | None = None,
        device: str = "cpu",
        bfloat16: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__(build, setting, device=device, bfloat16=bfloat16)
        self.experts = XNAS(
            self.model,
            rounds=10_000,
            batch_size=setting.batch,
            zeta=None,
            weight_optimizer=self.weights,
            feedback="sample",
            reward_bound=1.0,
        )
        self.experts.ranks = process_group()  # as a trainer does, which looks at numbers itself
        if alive is not None:
            wiped = {f"{group}.alive_EK": alive_EK for group, alive_EK in alive.items()}
            self.experts.load_state_dict(self.experts.state_dict() | wiped)
        self._called = torch.compile(self.model) if compiled else self.model

    def logits(self) -> Tensor:
        """Of the batch, (B, D), in float32."""
        with self.precise():
            logits_BD: Tensor = self._called(self.images)
        return logits_BD.float()

    def reward(self) -> None:
        """The gradients by the mixture weights, and a step of the experts."""
        self.experts.measure(lambda: F.cross_entropy(self.logits(), self.labels, reduction="none"))
        self.experts.step()


def plain_search(setting: Setting, **settings: Any) -> PlainRound:
    """The plain round of the DARTS supernet with seven experts."""
    return PlainRound(_supernet(setting), setting, forward=plain_logits, **settings)


def fast_search(setting: Setting, **settings: Any) -> FastRound:
    """Our round of the same."""
    return FastRound(_supernet(setting), setting, **settings)


def _supernet(setting: Setting) -> Callable[[], nn.Module]:
    return lambda: DartsSpace(num_nodes=setting.nodes, experts=EXPERTS).supernet(setting.plan)
