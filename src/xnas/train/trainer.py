"""Base trainer: network, optimizer and meters after `step` steps, with everything needed to resume bit for bit.

`fit` (loop.py) runs a trainer to its end. B: samples; C H W: channels, height, width; D: classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.config.schema import Config, RetrainConfig, SearchConfig
from xnas.data.images import Images, Normalisation
from xnas.data.loader import Augmentation, Batch, Shard, batches
from xnas.optimizers.group_info import GroupInfo
from xnas.runs.history import Epoch, HistoryRow, ImageStatistics
from xnas.train.build import LARGE
from xnas.train.device import autocast, random_states, set_random_states
from xnas.train.distributed import ProcessGroup, Result, process_group
from xnas.train.meters import LossAccuracyMeter
from xnas.train.schedule import learning_rate
from xnas.train.step import StepOutput, build_sgd, parameters_of, require_finite, set_learning_rate

"""A line of metrics.jsonl."""


class Trainer(ABC):
    """The state of a search or a retraining, and the step of the network weights that both make.

    An auxiliary `tower` is trained along with the network and is no part of it.
    """

    phase: ClassVar[str]
    """First word of the checkpoints' names and of progress lines."""
    row_kinds: ClassVar[tuple[str, ...]]
    """Kinds of rows that it adds to metrics.jsonl."""
    channels_flag: ClassVar[str]
    """Command-line flag of the network's channels."""
    full_multiply_adds: int | None = None
    """Multiply-adds of a supernet with all its experts, for one image."""

    def __init__(
        self,
        network: nn.Module,
        config: Config,
        settings: SearchConfig | RetrainConfig,
        *,
        steps_per_epoch: int,
        meters: tuple[str, ...],
        images: Images,
        augmentation: Augmentation,
        device: torch.device,
        tower: nn.Module | None = None,
    ) -> None:
        self.network, self.tower = network, tower
        self.config, self.settings = config, settings
        self.sgd = build_sgd((weight for _, weight in self.named_parameters()), settings)
        self.steps_per_epoch = steps_per_epoch
        self.meters = {name: LossAccuracyMeter(device) for name in meters}
        self.train_images, self.augmentation = images, augmentation
        self._normalisation: Normalisation | None = None
        self.device = device
        self.step = 0
        self._ddp: Callable[[Callable[[], Any]], Any] | None = None
        autocast(device, settings.precision)  # a device that cannot says so before anything is computed

    # What a search and a retraining do differently.

    @abstractmethod
    def training_step(self, *batches: Batch) -> list[HistoryRow]:
        """Make one step; returns the rows it adds to metrics.jsonl. Raises NonFinite before it updates anything."""

    @abstractmethod
    def epoch_batches(self, epoch: int, *, start: int) -> Iterator[tuple[Batch, ...]]:
        """The batches of each step of an epoch (counted from 1), without the first `start` steps."""

    @abstractmethod
    def epoch_row(self) -> Epoch:
        """The row of metrics.jsonl for the epoch that has just ended."""

    @abstractmethod
    def fingerprints(self) -> dict[str, str]:
        """What decides the result beside the settings, by name: the images, the architecture."""

    @property
    @abstractmethod
    def has_unused_parameters(self) -> bool:
        """Whether some weights may have no part in a pass. Asked where several ranks average their gradients."""

    def groups(self) -> dict[str, GroupInfo]:
        """The forecaster groups that it searches."""
        return {}

    def warnings(self, epoch: Epoch) -> list[str]:
        """Warnings about an epoch; each kind is returned once in a run."""
        del epoch
        return []

    def rank_state(self) -> bytes:
        """State on which all ranks must agree, beside the weights that they average."""
        return b""

    @property
    def step_kind(self) -> str:
        """Kind of the next step: steps of one kind have the same peak memory."""
        return "steps"

    @property
    def learning_rate(self) -> float:
        """Learning rate of the network weights in the running epoch."""
        settings = self.settings
        return learning_rate(
            self.epochs_done,
            epochs=settings.epochs,
            start=settings.learning_rate,
            end=settings.learning_rate_min,
        )

    # The step of the network weights.

    def sgd_step(self, batch: Batch) -> None:
        """Make one SGD step on a training batch (algorithm 1, line 4). Raises NonFinite before it."""
        self.sgd.zero_grad(set_to_none=True)
        output = self.under_ddp(lambda: self.forward_loss(batch))
        output.loss.backward()  # type: ignore[no-untyped-call]
        self.apply_gradients(batch, output)

    def forward_loss(self, batch: Batch) -> StepOutput:
        """The network's logits of a training batch, and the loss to descend."""
        logits_BD = self.logits(batch.images_BCHW)
        loss = F.cross_entropy(logits_BD, batch.labels_B)
        return StepOutput(loss, loss, logits_BD)

    def logits(self, images_BCHW: Tensor) -> Tensor:
        """The network's logits, (B, D): float32, whatever the precision of the pass."""
        with autocast(self.device, self.settings.precision):
            logits_BD: Tensor = self.network(images_BCHW)
        return logits_BD.float()

    def apply_gradients(self, batch: Batch, output: StepOutput) -> None:
        """Clip the gradients that are there and step. Raises NonFinite, naming the images, before the step."""
        norm = nn.utils.clip_grad_norm_(parameters_of(self.sgd), self.settings.clip_norm)
        ranks = process_group()
        if not ranks.all_true(output.loss.isfinite() & norm.isfinite()):
            losses_B = F.cross_entropy(output.logits_BD.detach(), batch.labels_B, reduction="none")
            values = {"loss": losses_B, "mean loss": output.loss[None], "gradient norm": norm[None]}
            values = {name: ranks.all_gather(value) for name, value in values.items()}
            require_finite(values, batch=batch, images=self.train_images, where=self.where)
        self.sgd.step()
        self.meters["train"].add(output.cross_entropy.detach(), output.logits_BD.detach(), batch.labels_B)

    # Several ranks.

    def under_ddp(self, compute: Callable[[], Result]) -> Result:
        """Run a pass through the network; its backward gives all ranks the mean of their gradients."""
        ranks = process_group()
        if not isinstance(ranks, ProcessGroup):
            return compute()
        if self._ddp is None:
            modules = [self.network] if self.tower is None else [self.network, self.tower]
            self._ddp = ranks.wrap_ddp(modules, has_unused_parameters=self.has_unused_parameters)
        result: Result = self._ddp(compute)
        return result

    def rebuild_ddp(self) -> None:
        """Wrap the network again before the next pass: weights have left it."""
        self._ddp = None

    def reduce_meters(self) -> None:
        """Sum the meters of all ranks on the main one. Raises RanksDiffer if the ranks went different ways."""
        process_group().assert_equal_across_ranks(
            self.rank_state(), what=f"the experts after {self.step:,} steps"
        )
        for meter in self.meters.values():
            meter.all_reduce()

    # Progress.

    @property
    def epochs(self) -> int:
        """Epochs from the start to the end."""
        return self.settings.epochs

    @property
    def total_steps(self) -> int:
        """Steps from the start to the end."""
        return self.epochs * self.steps_per_epoch

    @property
    def epochs_done(self) -> int:
        """Epochs completed."""
        return self.step // self.steps_per_epoch

    @property
    def step_in_epoch(self) -> int:
        """Steps made in the running epoch."""
        return self.step % self.steps_per_epoch

    @property
    def where(self) -> str:
        """The next step, in words."""
        return f"step {self.step_in_epoch + 1} of {self.phase} epoch {self.epochs_done + 1}"

    @property
    def memory_hints(self) -> str:
        """Settings that would lower the memory, beside --activation-checkpointing."""
        large = max(self.train_images.image_shape[1:]) > LARGE
        sizes = "smaller images (--data.image-size), " if large else ""
        return f"{sizes}a smaller --{self.phase}.batch-size or fewer {self.channels_flag}"

    def opening_rows(self) -> list[HistoryRow]:
        """Rows of metrics.jsonl before the first step: the statistics that images are normalised by."""
        return [
            ImageStatistics(
                phase=self.phase,
                mean=self.normalisation.mean_C.tolist(),
                std=self.normalisation.std_C.tolist(),
            )
        ]

    # Data.

    @property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the training images. Kept in checkpoints: measuring decodes every file."""
        if self._normalisation is None:
            self._normalisation = Normalisation.of(self.train_images)
        return self._normalisation

    def remaining_batches(self) -> Generator[tuple[Batch, ...], None, None]:
        """The batches of every step to come; call `training_step` with each before taking the next."""
        while self.step < self.total_steps:
            start = self.step_in_epoch
            if start == 0:
                for meter in self.meters.values():
                    meter.reset()
            set_learning_rate(self.sgd, self.learning_rate)
            stream = self.epoch_batches(self.epochs_done + 1, start=start)
            yield from islice(stream, self.steps_per_epoch - start)

    def shuffled(self, images: Images, *, seed: int, epoch: int, start: int) -> Iterator[Batch]:
        """An epoch's full batches of a training set, augmented, without the first `start`."""
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

    # State.

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All weights that are trained: the network's and the tower's."""
        yield from self.network.named_parameters()
        if self.tower is not None:
            yield from self.tower.named_parameters(prefix="tower")

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a later process needs to resume bit for bit, but for `step`."""
        states = {
            "network": self.network.state_dict(),
            "random": random_states(self.device),
            "normalisation": {"mean_C": self.normalisation.mean_C, "std_C": self.normalisation.std_C},
            **{f"meter.{name}": meter.state_dict() for name, meter in self.meters.items()},
        }
        if self.tower is not None:
            states["tower"] = self.tower.state_dict()
        names = {id(parameter): name for name, parameter in self.named_parameters()}
        for parameter, values in self.sgd.state.items():
            for key, value in values.items():
                if value is not None:
                    states.setdefault(f"sgd.{key}", {})[names[id(parameter)]] = value
        return {f"{part}/{name}": value for part, state in states.items() for name, value in state.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], *, step: int) -> None:
        """Resume from the `state_dict` after `step` steps. Raises ValueError if it does not fit."""
        if not 0 <= step <= self.total_steps:
            raise ValueError(f"step {step:,} is not among the {self.total_steps:,} of this {self.phase}")
        states: dict[str, dict[str, Tensor]] = {}
        for address, value in tensors.items():
            part, _, name = address.partition("/")
            states.setdefault(part, {})[name] = value
        try:
            self._load_parts(states)
        except (RuntimeError, KeyError, TypeError) as error:
            line = " ".join(str(error).split())[:300]
            raise ValueError(f"the state does not fit this {self.phase}: {line}") from error
        self.step = step
        self.rebuild_ddp()

    def _load_parts(self, states: dict[str, dict[str, Tensor]]) -> None:
        self.network.load_state_dict(states["network"])
        if self.tower is not None:
            self.tower.load_state_dict(states["tower"])
        statistics = {name: states["normalisation"][name].float().cpu() for name in ("mean_C", "std_C")}
        if any(len(value_C) != self.train_images.image_shape[0] for value_C in statistics.values()):
            raise KeyError(f"statistics of {len(statistics['mean_C'])} channels")
        self._normalisation = Normalisation(**statistics)
        set_random_states(states["random"], device=self.device)
        for name, meter in self.meters.items():
            meter.load_state_dict(states[f"meter.{name}"])
        parameters = dict(self.named_parameters())
        self.sgd.state.clear()
        for part, values in states.items():
            kind, _, key = part.partition(".")
            if kind == "sgd":
                for name, value in values.items():
                    # In the memory layout of the parameter, on its device.
                    stored = torch.empty_like(parameters[name]).copy_(value) if value.dim() else value.clone()
                    self.sgd.state[parameters[name]][key] = stored
