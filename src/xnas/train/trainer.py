"""A phase of a run at some point of its way: what moves on with every step, and how it is stored and brought back.

Searching and retraining are courses. `follow` goes along one, and saves it between steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xnas.config.schema import Config, RetrainConfig, SearchConfig
from xnas.data.images import Images, Normalisation
from xnas.data.loader import Augmentation, Batch, Shard, batches
from xnas.runs.history import Group
from xnas.train.build import LARGE
from xnas.train.device import autocast, random_states, set_random_states
from xnas.train.distributed import ProcessGroup, Result, process_group
from xnas.train.meters import LossAccuracyMeter
from xnas.train.schedule import learning_rate
from xnas.train.step import StepOutput, build_sgd, set_learning_rate, train_step

Row = dict[str, Any]
"""A line of metrics.jsonl."""


class Trainer(ABC):
    """A network, its optimizer and the running means of an epoch, after `steps` of all steps.

    A tower is trained along with the network, and is no part of it. `images` are those that its weights are trained on.
    """

    phase: ClassVar[str]
    """The first word of its checkpoints' names, and of what is shown."""
    row_kinds: ClassVar[tuple[str, ...]]
    """The kinds of rows that it adds to metrics.jsonl."""
    width: ClassVar[str]
    """The flag of its network's channels."""
    config: Config

    def __init__(
        self,
        network: nn.Module,
        settings: SearchConfig | RetrainConfig,
        *,
        steps_per_epoch: int,
        meters: Mapping[str, LossAccuracyMeter],
        images: Images,
        augmentation: Augmentation,
        device: torch.device,
        tower: nn.Module | None = None,
    ) -> None:
        self.network = network
        self.tower = tower
        self.weights = build_sgd((weight for _, weight in self.named_parameters()), settings)
        self.settings = settings
        self.steps_per_epoch = steps_per_epoch
        self.meters = meters
        self.trained_on, self.augmentation = images, augmentation
        self._normalisation: Normalisation | None = None
        self.device = device
        self.step = 0
        self._pass: Callable[[Callable[[], Any]], Any] | None = None
        autocast(device, settings.precision)  # a device that cannot says so before anything is computed

    @property
    def epochs(self) -> int:
        """Epochs from the start to the end."""
        return self.settings.epochs

    @property
    def total_steps(self) -> int:
        """Rounds from the start to the end."""
        return self.epochs * self.steps_per_epoch

    @property
    def epochs_done(self) -> int:
        """Whole epochs behind it."""
        return self.step // self.steps_per_epoch

    @property
    def step_in_epoch(self) -> int:
        """Rounds of the running epoch behind it."""
        return self.step % self.steps_per_epoch

    @property
    def learning_rate(self) -> float:
        """Of the network weights in the running epoch."""
        return learning_rate(
            self.epochs_done,
            epochs=self.settings.epochs,
            start=self.settings.learning_rate,
            end=self.settings.learning_rate_min,
        )

    @property
    def normalisation(self) -> Normalisation:
        """By the statistics of the images that train its weights: measured when they are first needed, which takes
        decoding all images that are in files, and kept in checkpoints.
        """
        if self._normalisation is None:
            self._normalisation = Normalisation.of(self.trained_on)
        return self._normalisation

    @property
    def where(self) -> str:
        """The step that comes next, in words."""
        return f"step {self.step_in_epoch + 1} of {self.phase} epoch {self.epochs_done + 1}"

    @property
    def step_kind(self) -> str:
        """What the step that comes next is one of: all of a kind take the same memory, if not always all of it."""
        return "steps"

    @property
    def memory_hints(self) -> str:
        """What would take less memory, but for --activation-checkpointing."""
        large = max(self.trained_on.image_shape[1:]) > LARGE
        sizes = "smaller images (--data.image-size), " if large else ""
        return f"{sizes}a smaller --{self.phase}.batch-size or fewer {self.width}"

    full_multiply_adds: int | None = None
    """Of a supernet before anything left it, for one image."""

    def groups(self) -> dict[str, Group]:
        """The groups that it searches."""
        return {}

    def opening_rows(self) -> list[Row]:
        """What metrics.jsonl says before the first step: the statistics that images are normalised by."""
        return [
            {
                "kind": f"{self.phase}_images",
                "mean": self.normalisation.mean_C.tolist(),
                "std": self.normalisation.std_C.tolist(),
            }
        ]

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What decides its result beside the settings, by name: the images, the architecture."""

    @abstractmethod
    def epoch_batches(self, epoch: int, *, start: int) -> Iterator[tuple[Batch, ...]]:
        """The batches of each step of an epoch, counted from 1, without the first `start` steps."""

    @abstractmethod
    def training_step(self, *batches: Batch) -> list[Row]:
        """One step; returns the rows that it adds to metrics.jsonl. Raises NonFinite before it updates anything."""

    @abstractmethod
    def epoch_row(self) -> Row:
        """What metrics.jsonl says of the epoch that has just ended."""

    def warnings(self, row: Row) -> list[str]:
        """Lines about the epoch of `row` that are worth saying, each of them once in a trainer."""
        del row
        return []

    def shuffled(self, images: Images, *, seed: int, epoch: int, start: int) -> Iterator[Batch]:
        """An epoch's whole batches of a training set, augmented, without the first `start`."""
        return batches(
            images,
            batch_size=self.settings.batch_size,
            normalisation=self.normalisation,
            seed=seed,
            epoch=epoch,
            start=start,
            shuffle=True,
            augmentation=self.augmentation,
            drop_last=True,
            device=self.device,
            part=Shard(index=process_group().rank, of=process_group().size),
        )

    def logits(self, images_BCHW: Tensor) -> Tensor:
        """The network's logits, (B, D), for losses: float32, whatever the precision of the pass."""
        with autocast(self.device, self.settings.precision):
            logits_BD: Tensor = self.network(images_BCHW)
        return logits_BD.float()

    def forward_loss(self, batch: Batch) -> StepOutput:
        """What the network makes of a training batch, and the loss that it is to descend."""
        return StepOutput.plain(self.logits(batch.images_BCHW), batch.labels_B)

    def under_ddp(self, compute: Callable[[], Result]) -> Result:
        """A pass through the network: its backward gives all processes the mean of their weights' gradients."""
        ranks = process_group()
        if not isinstance(ranks, ProcessGroup):
            return compute()
        if self._pass is None:
            modules = [self.network] if self.tower is None else [self.network, self.tower]
            self._pass = ranks.wrap_ddp(modules, has_unused_parameters=self.has_unused_parameters)
        result: Result = self._pass(compute)
        return result

    @property
    @abstractmethod
    def has_unused_parameters(self) -> bool:
        """Whether some weights may have no part in a pass. Asked where several processes average their gradients."""

    def rebuild_ddp(self) -> None:
        """Weights have left the network: the next pass is of those that are left."""
        self._pass = None

    def fingerprint(self) -> bytes:
        """What all processes of a course must agree on, beside the weights that they average."""
        return b""

    def pool(self) -> None:
        """Have the leading process know what all have counted. Raises RanksDiffer if they went different ways."""
        process_group().assert_equal_across_ranks(
            self.fingerprint(), what=f"the experts after {self.step:,} steps"
        )
        for meter in self.meters.values():
            meter.pool()

    def sgd_step(self, batch: Batch, images: Images) -> None:
        """One step of the network weights (algorithm 1, line 4) on a batch of `images`. Raises NonFinite before it."""
        train_step(
            self.weights,
            batch,
            forecast=lambda part: self.under_ddp(lambda: self.forward_loss(part)),
            images=images,
            clip_norm=self.settings.clip_norm,
            where=self.where,
            meter=self.meters["train"],
        )

    def remaining_batches(self) -> Generator[tuple[Batch, ...], None, None]:
        """The batches of every step to come; call `training_step` with each before taking the next."""
        while self.step < self.total_steps:
            start = self.step_in_epoch
            if start == 0:
                for meter in self.meters.values():
                    meter.reset()
            set_learning_rate(self.weights, self.learning_rate)
            stream = self.epoch_batches(self.epochs_done + 1, start=start)
            yield from islice(stream, self.steps_per_epoch - start)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All weights that are trained: the network's, and those of what is trained with it and left behind."""
        yield from self.network.named_parameters()
        if self.tower is not None:
            yield from self.tower.named_parameters(prefix="tower")

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a later process needs to go on bit for bit, but for `steps`."""
        states = {
            "network": self.network.state_dict(),
            "random": random_states(self.device),
            "normalisation": {"mean_C": self.normalisation.mean_C, "std_C": self.normalisation.std_C},
            **{f"meter.{name}": meter.state_dict() for name, meter in self.meters.items()},
        }
        if self.tower is not None:
            states["tower"] = self.tower.state_dict()
        parameters = {id(parameter): name for name, parameter in self.named_parameters()}
        for parameter, values in self.weights.state.items():
            for key, value in values.items():
                if value is not None:
                    states.setdefault(f"optimizer.{key}", {})[parameters[id(parameter)]] = value
        return {f"{part}/{name}": value for part, state in states.items() for name, value in state.items()}

    def load(self, tensors: Mapping[str, Tensor], *, step: int) -> None:
        """Go on from what `tensors` gave after `steps`. Raises ValueError if they do not fit."""
        if not 0 <= step <= self.total_steps:
            raise ValueError(f"step {step:,} is not among the {self.total_steps:,} of this {self.phase}")
        states: dict[str, dict[str, Tensor]] = {}
        for address, value in tensors.items():
            part, _, name = address.partition("/")
            states.setdefault(part, {})[name] = value
        try:
            self._load_parts(states)
        except (RuntimeError, KeyError, TypeError) as error:
            raise ValueError(f"the state does not fit this {self.phase}: {_in_one_line(error)}") from error
        self.step = step
        self.rebuild_ddp()

    def _load_parts(self, states: dict[str, dict[str, Tensor]]) -> None:
        self.network.load_state_dict(states["network"])
        if self.tower is not None:
            self.tower.load_state_dict(states["tower"])
        if "normalisation" in states:  # older checkpoints have none
            self._normalisation = self._stored(states["normalisation"])
        set_random_states(states["random"], device=self.device)
        for name, meter in self.meters.items():
            meter.load_state_dict(states[f"meter.{name}"])
        parameters = dict(self.named_parameters())
        self.weights.state.clear()
        for part, values in states.items():
            kind, _, key = part.partition(".")
            if kind == "optimizer":
                for name, value in values.items():
                    # In the memory layout of the parameter, on its device.
                    stored = torch.empty_like(parameters[name]).copy_(value) if value.dim() else value.clone()
                    self.weights.state[parameters[name]][key] = stored

    def _stored(self, statistics: Mapping[str, Tensor]) -> Normalisation:
        mean_C, std_C = (statistics[name].float().cpu() for name in ("mean_C", "std_C"))
        if len(mean_C) != self.trained_on.image_shape[0]:
            raise KeyError(f"statistics of {len(mean_C)} channels")
        return Normalisation(mean_C=mean_C, std_C=std_C)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
