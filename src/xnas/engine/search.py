"""The search: network weights and experts in turn, until the horizon (algorithm 1; section 4.1).

One round: descend the weights on a training batch; forecast and reward on a validation batch;
exponentiated-gradient step; wipeout. First-order approximation; the training set is split in two halves.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.data.batches import Batch, batches, num_batches
from xnas.data.images import DataSet, Images, Normalisation
from xnas.data.order import mix_address, split
from xnas.engine.config import Config
from xnas.engine.descent import Tally, build_sgd, descend, require_finite, set_learning_rate
from xnas.engine.interrupt import Interrupt
from xnas.engine.plans import augmentation_of, build_space, supernet_plan
from xnas.engine.progress import GroupLabels, Progress, Silent
from xnas.engine.run_folder import RunFolder
from xnas.engine.runtime import make_repeatable
from xnas.engine.schedule import cosine
from xnas.optimizers.base import Wipeout
from xnas.optimizers.xnas import XNAS
from xnas.report.cost import count_parameters
from xnas.space.darts import SearchSpace
from xnas.space.genotype import Genotype

TRAIN, VALIDATION = 0, 1
"""Addresses of the two halves' randomness."""


@dataclass(frozen=True)
class Halves:
    """The training set's two parts: one for the network weights, one that rewards the experts."""

    train: Images
    validation: Images

    @classmethod
    def of(cls, config: Config, images: Images) -> "Halves":
        """Split by the seed. Raises ValueError if a batch is larger than a part."""
        validation_N, train_N = split(
            images.labels_N, fraction=config.search.validation_share, seed=config.seed
        )
        halves = cls(images.subset(train_N), images.subset(validation_N))
        for name, part in (("training", halves.train), ("validation", halves.validation)):
            if config.search.batch_size > len(part):
                raise ValueError(
                    f"search.batch_size {config.search.batch_size} is larger than the {name} part of "
                    f"{len(part)} images; use at most {len(part)}"
                )
        return halves

    def rounds(self, batch_size: int) -> int:
        """Rounds of an epoch: whole batches of the smaller part."""
        return min(
            num_batches(len(part), batch_size, drop_last=True) for part in (self.train, self.validation)
        )


class Search:
    """A search at some point of its course, and the steps that move it on."""

    def __init__(self, config: Config, data: DataSet, *, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.halves = Halves.of(config, data.train)
        self.rounds_per_epoch = self.halves.rounds(config.search.batch_size)
        self.augmentation = augmentation_of(config.data, data.image_shape)
        self.space: SearchSpace = build_space(config.space)
        make_repeatable(config.seed)
        supernet = self.space.supernet(
            supernet_plan(config.space, image_channels=data.image_shape[0], num_classes=data.num_classes)
        )
        self.supernet: nn.Module = supernet.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = build_sgd(self.supernet, config.search)
        settings = config.search
        self.experts = XNAS(
            self.supernet,
            rounds=self.rounds_per_epoch * (settings.epochs - settings.warmup_epochs),
            batch_size=settings.batch_size,
            feedback=settings.feedback,
            reward_bound=settings.reward_bound,
            zeta=settings.zeta if settings.wipeout else None,
            step_size=settings.step_size,
            weight_optimizer=self.weights,
        )
        self.normalisation = Normalisation.of(self.halves.train)
        self.num_classes = data.num_classes
        self.rounds = 0

    def labels(self) -> dict[str, GroupLabels]:
        """What the edges and experts of every group are called."""
        return {
            name: GroupLabels(edges=self.space.edge_labels(name), experts=self.experts.names(name))
            for name in self.experts.groups
        }

    def genotype(self) -> Genotype:
        """The architecture that would be derived now."""
        return self.space.derive({name: state.log_v_EK for name, state in self.experts.states.items()})

    def epoch_batches(self, epoch: int) -> Iterator[tuple[Batch, Batch]]:
        """A training and a validation batch for each round of an epoch, counted from 1."""
        streams = [
            batches(
                part,
                batch_size=self.config.search.batch_size,
                normalisation=self.normalisation,
                seed=mix_address(self.config.seed, address),
                epoch=epoch,
                shuffle=True,
                augmentation=self.augmentation,
                drop_last=True,
                device=self.device,
            )
            for address, part in ((TRAIN, self.halves.train), (VALIDATION, self.halves.validation))
        ]
        return zip(*streams, strict=False)  # the larger part waits for the next epoch

    def round(
        self, train: Batch, validation: Batch, *, listen: bool, train_tally: Tally, validation_tally: Tally
    ) -> list[Wipeout]:
        """One round of algorithm 1; without `listen` it only trains the weights, as in a warm-up."""
        where = f"round {self.rounds + 1}"
        clip_norm = self.config.search.clip_norm
        descend(
            self.supernet, self.weights, train, clip_norm=clip_norm, where=where, tally=train_tally
        )  # line 4
        wiped: list[Wipeout] = []
        if listen:
            self.measure_rewards(validation, where=where, tally=validation_tally)  # lines 5-8
            wiped = self.experts.step()  # lines 9-13
        self.rounds += 1
        return wiped

    def measure_rewards(self, validation: Batch, *, where: str, tally: Tally) -> None:
        """Forecast a validation batch and keep the gradients by the mixture weights (lines 5-8)."""

        def forecast() -> Tensor:
            logits_BD = self.supernet(validation.images_BCHW)
            losses_B = F.cross_entropy(logits_BD, validation.labels_B, reduction="none")
            tally.add(losses_B.detach(), logits_BD.detach(), validation.labels_B)
            return losses_B

        losses_B = self.experts.measure(forecast)
        rewards = {f"reward in group {name!r}": self.experts.gradients(name) for name in self.experts.groups}
        require_finite({"validation loss": losses_B, **rewards}, where=where)


def search(
    course: Search, *, folder: RunFolder, progress: Progress | None = None, interrupt: Interrupt | None = None
) -> Genotype:
    """Go through a search from its start to its horizon; write its course and result into `folder`.

    Raises NonFinite where the search breaks down, and Interrupted after a signal: then genotype.json holds the
    choice as it stood.
    """
    progress, interrupt = progress or Silent(), interrupt or Interrupt()
    settings, device = course.config.search, course.device
    _log_groups(course, folder, progress)
    folder.log(_epoch_row(course, epoch=0))
    progress.start("search", epochs=settings.epochs, rounds=course.rounds_per_epoch, labels=course.labels())
    started = time.perf_counter()
    try:
        for epoch in range(1, settings.epochs + 1):
            rate = cosine(
                epoch - 1,
                epochs=settings.epochs,
                start=settings.learning_rate,
                end=settings.learning_rate_min,
            )
            set_learning_rate(course.weights, rate)
            tallies = [Tally(course.num_classes, device) for _ in range(2)]
            for number, (train, validation) in enumerate(course.epoch_batches(epoch), start=1):
                wiped = course.round(
                    train,
                    validation,
                    listen=epoch > settings.warmup_epochs,
                    train_tally=tallies[TRAIN],
                    validation_tally=tallies[VALIDATION],
                )
                for gone in wiped:
                    folder.log(_wipeout_row(gone, epoch=epoch, round_number=course.rounds))
                progress.round_done(
                    epoch=epoch, round_in_epoch=number, values={"train loss": tallies[TRAIN].loss}
                )
                interrupt.check()
            heard = epoch > settings.warmup_epochs
            row = _epoch_row(course, epoch=epoch) | {
                "learning_rate": rate,
                "train_loss": tallies[TRAIN].loss,
                "train_accuracy": tallies[TRAIN].accuracy,
                "val_loss": tallies[VALIDATION].loss if heard else None,
                "val_accuracy": tallies[VALIDATION].accuracy if heard else None,
            }
            folder.log(row)
            progress.epoch_done(row)
    finally:
        progress.finish()
        folder.write_genotype(course.genotype())
        folder.add_timing("search", seconds=round(time.perf_counter() - started, 3), rounds=course.rounds)
    return course.genotype()


def _log_groups(course: Search, folder: RunFolder, progress: Progress) -> None:
    labels = course.labels()
    for name, group in course.experts.settings.items():
        progress.say(str(group))
        folder.log(
            {
                "kind": "group",
                "group": name,
                "experts": list(labels[name].experts),
                "edges": list(labels[name].edges),
                "replicas": group.num_replicas,
                "feedback": group.feedback,
                "horizon": group.rule.horizon,
                "step_size": group.rule.step_size,
                "reward_bound": group.rule.reward_bound,
                "zeta": group.rule.zeta,
            }
        )


def _epoch_row(course: Search, *, epoch: int) -> dict[str, object]:
    return {
        "kind": "search_epoch",
        "epoch": epoch,
        "rounds": course.rounds,
        "parameters": count_parameters(course.supernet),
        "groups": {
            name: {
                "feedbacks": state.num_feedbacks,
                "u": state.mixture_EK.tolist(),
                "log_v": state.log_v_EK.tolist(),
                "alive": state.alive_EK.tolist(),
            }
            for name, state in course.experts.states.items()
        },
    }


def _wipeout_row(gone: Wipeout, *, epoch: int, round_number: int) -> dict[str, object]:
    return {
        "kind": "wipeout",
        "epoch": epoch,
        "round": round_number,
        "group": gone.group,
        "edge": gone.index,
        "expert": gone.expert,
        "feedbacks": gone.num_feedbacks,
    }
