"""The search: network weights and experts in turn, until the horizon (algorithm 1; section 4.1).

One round is a step of the weights on a training batch, rewards from a validation batch, an exponentiated-gradient
step and the wipeout. B: samples; D: classes; F: feedbacks; E: forecasters of a group; K: experts of each.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.config.schema import CONFIG, SEARCH_SECTIONS, Config, SearchConfig
from xnas.data.images import DataSet, Images
from xnas.data.loader import Batch, num_batches
from xnas.data.rng import TRAIN, VALIDATION, mix_address
from xnas.data.sampling import split
from xnas.io.json import LARGEST
from xnas.optimizers.base import Wipeout
from xnas.optimizers.group_info import GroupInfo
from xnas.optimizers.learner import Learner
from xnas.optimizers.xnas import XNASLearner
from xnas.report.health import concerns
from xnas.runs.callbacks import Callback, NullCallback
from xnas.runs.environment import environment
from xnas.runs.folder import GENOTYPE, SEARCH, RunFolder
from xnas.runs.history import Epoch, GroupWeights, HistoryRow, Ledger, SearchEpoch, WipeoutRow
from xnas.runs.signals import StopRequest
from xnas.space.architecture import Architecture, parse_architecture
from xnas.space.backbone import NetworkSpec
from xnas.space.cost import count_layer_multiply_adds, count_parameters
from xnas.space.search_space import SearchSpace
from xnas.train.build import build_augmentation, build_optimizer, build_space, resolve_stems, supernet_spec
from xnas.train.checkpointing import ResumeKey
from xnas.train.device import keeping_process_state, make_repeatable, random_states, set_random_states
from xnas.train.distributed import process_group
from xnas.train.loop import fit
from xnas.train.step import StepOutput, require_finite
from xnas.train.trainer import Trainer

log = logging.getLogger(__name__)


def search_step(trainer: "SearchTrainer", train: Batch, validation: Batch) -> list[Wipeout]:
    """Make one round of algorithm 1; returns the experts wiped out."""
    trainer.sgd_step(train)  # line 4
    losses_B, logits_BD = trainer.measure(validation, training=train)  # lines 5-8
    trainer.meters["validation"].add(losses_B, logits_BD, validation.labels_B)
    return trainer.experts.step()  # lines 9-13


def joint_step(trainer: "SearchTrainer", batch: Batch) -> list[Wipeout]:
    """Make one round on one level: the same batch trains the weights and rewards the experts, in one pass.

    Single-level search is from Li et al. 2021, section 4.
    """
    trainer.sgd.zero_grad(set_to_none=True)
    losses_B, logits_BD = trainer.measure(batch, with_weight_grads=True)  # lines 4-8
    loss = losses_B.mean()
    trainer.apply_gradients(batch, StepOutput(loss, loss, logits_BD))
    return trainer.experts.step()  # lines 9-13


@dataclass(frozen=True)
class TrainValSplit:
    """The training set's two parts: one for the network weights, one that rewards the experts. They may be one."""

    train: Images
    validation: Images

    @classmethod
    def of(cls, config: Config, images: Images) -> "TrainValSplit":
        """Split by the seed, if there is a validation share. Raises ValueError if a batch is larger than a part."""
        parts = cls(images, images)
        if config.search.validation_share > 0:
            validation_N, train_N = split(
                images.labels_N,
                fraction=config.search.validation_share,
                seed=config.seed,
                classes=images.classes,
            )
            parts = cls(images.subset(train_N), images.subset(validation_N))
        for name, part in (("training", parts.train), ("validation", parts.validation)):
            if config.search.batch_size > len(part):
                raise ValueError(
                    f"search.batch_size {config.search.batch_size} is larger than the {name} part of "
                    f"{len(part)} images; use at most {len(part)}"
                )
        return parts

    def steps(self, batch_size: int) -> int:
        """Steps of an epoch: full batches of the smaller part."""
        return min(
            num_batches(len(part), batch_size, drop_last=True) for part in (self.train, self.validation)
        )


def validate_search(config: Config, data: DataSet) -> None:
    """Raise ValueError for settings with which no search of these images can start."""
    process_group().check_batch("search.batch_size", config.search.batch_size)
    TrainValSplit.of(config, data.train)
    build_augmentation(config.data, data.image_shape)
    with torch.device(
        "meta"
    ):  # only a supernet that is built shows whether it can be; here it takes no memory
        build_space(config.space).supernet(_spec(config, data))


def _spec(config: Config, data: DataSet) -> NetworkSpec:
    return supernet_spec(
        config.space,
        image_channels=data.image_shape[0],
        num_classes=data.num_classes,
        activation_checkpointing=config.activation_checkpointing,
    )


class SearchTrainer(Trainer):
    """A supernet, its weights' optimizer and its experts, after `step` steps of a search."""

    phase = SEARCH
    row_kinds = ("search_images", "group", "search_epoch", "wipeout")
    channels_flag = "--space.channels"
    settings: SearchConfig

    @keeping_process_state()
    def __init__(self, config: Config, data: DataSet, *, device: torch.device) -> None:
        config = resolve_stems(config, data.image_shape)
        settings = config.search
        process_group().check_batch("search.batch_size", settings.batch_size)
        self.parts = TrainValSplit.of(config, data.train)
        augmentation = build_augmentation(config.data, data.image_shape)
        self.space: SearchSpace = build_space(config.space)
        make_repeatable(config.seed)
        supernet: nn.Module = self.space.supernet(_spec(config, data))
        if config.distributed.sync_norm:
            supernet = process_group().convert_sync_batchnorm(supernet)
        super().__init__(
            supernet.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
            config,
            settings,
            steps_per_epoch=self.parts.steps(settings.batch_size),
            meters=("train", "validation"),
            images=self.parts.train,
            augmentation=augmentation,
            device=device,
        )
        self.experts = build_optimizer(
            config,
            self.network,
            rounds=self.steps_per_epoch * (settings.epochs - settings.warmup_epochs),
            weight_optimizer=self.sgd,
        )
        self.experts.ranks = process_group()
        self.data_fingerprint, self.image_shape = data.fingerprint(), data.image_shape
        self._counted: tuple[int, int | None] = (0, None)
        self.full_multiply_adds = self.multiply_adds()
        self._warned: set[str] = set()
        self._random = random_states(device)

    def training_step(self, *batches: Batch) -> list[HistoryRow]:
        """Make one step, in a warm-up of the weights alone; returns a row for each expert wiped out."""
        if self.warming_up:
            self.sgd_step(batches[0])
            wiped = []
        elif self.single_level:
            wiped = joint_step(self, *batches)
        else:
            wiped = search_step(self, *batches)
        if wiped:
            self.rebuild_ddp()
        epoch = self.epochs_done + 1
        self.step += 1
        return [
            WipeoutRow(
                epoch=epoch,
                step=self.step,
                group=gone.group,
                edge=gone.index,
                expert=gone.expert,
                feedbacks=gone.num_feedbacks,
            )
            for gone in wiped
        ]

    def measure(
        self, batch: Batch, *, training: Batch | None = None, with_weight_grads: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Run a batch forward and backward, and keep the gradients by the mixture weights (lines 5-8).

        Returns losses (B,) and logits (B, D), detached. `training` is the batch that rules of second order
        differentiate through; `with_weight_grads` leaves the network weights' gradients as well. Raises NonFinite for
        losses or rewards that are not finite.
        """
        logits_BD: Tensor

        def losses_of(batch: Batch) -> Tensor:
            nonlocal logits_BD
            images_BCHW = batch.images_BCHW
            logits = (
                self.under_ddp(lambda: self.logits(images_BCHW))
                if with_weight_grads
                else self.logits(images_BCHW)
            )
            logits_BD = logits.detach()
            return F.cross_entropy(logits, batch.labels_B, reduction="none")

        losses_B = self.experts.measure(
            lambda: losses_of(batch),
            training=None if training is None else lambda: losses_of(training),
            with_weight_grads=with_weight_grads,
        )
        kind, images = (
            ("loss", self.parts.train) if with_weight_grads else ("validation loss", self.parts.validation)
        )
        rewards = {f"reward in group {name!r}": self._rewards(name, batch) for name in self.experts.groups}
        values = {kind: process_group().all_gather(losses_B), **rewards}
        require_finite(values, batch=batch, images=images, where=self.where)
        return losses_B, logits_BD

    def _rewards(self, group: str, batch: Batch) -> Tensor:
        """Rewards of a step: a row for each sample if that is what a feedback is, else one row."""
        rewards_FEK = -self.experts.gradients(group)
        if self.experts.feedback != "sample" or not len(rewards_FEK):  # none of a group that nothing reached
            return rewards_FEK[None]
        samples = len(batch) * process_group().size
        return rewards_FEK.reshape(-1, samples, *rewards_FEK.shape[1:]).transpose(0, 1)

    def epoch_batches(self, epoch: int, *, start: int = 0) -> Iterator[tuple[Batch, ...]]:
        """A training and a validation batch for each step of an epoch; on one level they are one batch."""
        parts = [(TRAIN, self.parts.train), (VALIDATION, self.parts.validation)]
        streams = [
            self.shuffled(part, seed=mix_address(self.config.seed, address), epoch=epoch, start=start)
            for address, part in (parts[:1] if self.single_level else parts)
        ]
        return zip(*streams, strict=False)  # the larger part waits for the next epoch

    @property
    def epochs(self) -> int:
        """Epochs from the start to the end: 0 for a method that learns nothing."""
        return super().epochs if self.experts.learns else 0

    @property
    def single_level(self) -> bool:
        """Whether the same batches train the weights and reward the experts."""
        return self.settings.validation_share == 0

    @property
    def warming_up(self) -> bool:
        """Whether the next step only trains the weights."""
        return self.epochs_done < self.settings.warmup_epochs

    @property
    def step_kind(self) -> str:
        """Kind of the next step (warm-up or search)."""
        return "warm-up steps" if self.warming_up else "steps"

    def genotype(self) -> Architecture:
        """The architecture that would be derived now."""
        return self.space.derive({name: self.experts.log_weights(name) for name in self.experts.groups})

    def make_repeatable(self) -> None:
        """Set torch's random generators, of the process, to where building the supernet has left them."""
        make_repeatable(self.config.seed)
        set_random_states(self._random, device=self.device)

    def fingerprints(self) -> dict[str, str]:
        """The images."""
        return {"the images": self.data_fingerprint}

    def groups(self) -> dict[str, GroupInfo]:
        """The settings of every group, and the names of its edges and experts."""
        return {
            name: replace(group, edges=self.space.edge_labels(name))
            for name, group in self.experts.settings.items()
        }

    def multiply_adds(self) -> int | None:
        """Of the supernet as it is, for one image; None for rules that draw what a pass computes.

        Counted again only after an expert has left.
        """
        learners = self.experts.learners.values()
        if any(learner.one_hot for learner in learners):
            return None
        alive = sum(int(learner.alive_EK.sum()) for learner in learners)
        if alive != self._counted[0]:
            self._counted = (alive, count_layer_multiply_adds(self.network, self.image_shape))
        return self._counted[1]

    def opening_rows(self) -> list[HistoryRow]:
        """The images' statistics, what every group is fixed by, and where the experts start."""
        return [*super().opening_rows(), *self.groups().values(), _state(self)]

    def epoch_row(self) -> SearchEpoch:
        """Losses, accuracies and expert weights at the end of an epoch."""
        train, validation = self.meters["train"], self.meters["validation"]
        rewarded = self.epochs_done > self.settings.warmup_epochs and not self.single_level
        return replace(
            _state(self),
            learning_rate=self.sgd.param_groups[0]["lr"],
            train_loss=train.loss,
            train_accuracy=train.accuracy,
            val_loss=validation.loss if rewarded else None,
            val_accuracy=validation.accuracy if rewarded else None,
        )

    @property
    def has_unused_parameters(self) -> bool:
        """Rules that sample compute one expert of an edge; and where only `none` is left, nothing before it learns."""
        return any(
            learner.one_hot or self._is_cut(name, learner) for name, learner in self.experts.learners.items()
        )

    def _is_cut(self, group: str, learner: Learner) -> bool:
        names = self.experts.names(group)
        others_K = torch.tensor([name != "none" for name in names])
        return bool((~(learner.alive_EK & others_K).any(dim=-1)).any())

    def rank_state(self) -> bytes:
        """Log-weights, survivors, and the architecture that would be derived."""
        parts = [self.genotype().to_json().encode()]
        for name in self.experts.groups:
            parts += [
                self.experts.log_weights(name).numpy().tobytes(),
                self.experts.alive(name).numpy().tobytes(),
            ]
        return b"".join(parts)

    def warnings(self, epoch: Epoch) -> list[str]:
        """Health warnings for an epoch, each kind once."""
        if not isinstance(epoch, SearchEpoch):
            return []
        found = concerns(self.groups(), epoch)
        new = [line for kind, line in found.items() if kind not in self._warned]
        self._warned |= found.keys()
        return new

    def state_dict(self) -> dict[str, Tensor]:
        """The base state and the experts' weights and survivors."""
        experts = {f"experts/{name}": value for name, value in self.experts.state_dict().items()}
        return super().state_dict() | experts

    def _load_parts(self, states: dict[str, dict[str, Tensor]]) -> None:
        # First of all: experts that were wiped out leave the network, so that the rest fits.
        self.experts.load_state_dict(states["experts"])
        super()._load_parts(states)


@keeping_process_state()
def fit_search(
    trainer: SearchTrainer,
    *,
    folder: RunFolder,
    callback: Callback | None = None,
    stop_request: StopRequest | None = None,
) -> Architecture:
    """Run a search from the newest checkpoint in `folder` to its horizon; write history and genotype there.

    A search that has ended there already is not done again. Raises ValueError if the folder is of other settings or
    its checkpoints are damaged, NonFinite where the search breaks down, and Interrupted after a signal: then
    genotype-so-far.json holds the choice as it stood. The process's random generators and torch's settings are
    afterwards as they were.
    """
    trainer.make_repeatable()
    callback, stop_request = callback or NullCallback(), stop_request or StopRequest()
    config = trainer.config
    ranks = process_group()

    def found() -> str | None:
        if not folder.has(CONFIG):
            folder.describe(config, environment(trainer.device, processes=ranks.size))
        folder.check_same(config, sections=SEARCH_SECTIONS)
        return folder.genotype().to_json() if folder.has(GENOTYPE) else None

    if (text := ranks.from_main(found)) is not None:
        return parse_architecture(text)
    key = ResumeKey(config=config, sections=SEARCH_SECTIONS, fingerprints=trainer.fingerprints())
    for group in trainer.experts.settings.values():
        log.info(str(group))
    try:
        fit(trainer, key=key, folder=folder, callback=callback, stop_request=stop_request)
    except BaseException:
        if (
            ranks.is_main and trainer.step > 0
        ):  # else it has not come to where the folder is, which may know a better choice
            with suppress(ValueError):  # what ended the search is said, not that the folder is damaged too
                folder.write_genotype_so_far(trainer.genotype())
        raise
    genotype = trainer.genotype()
    if ranks.is_main:
        folder.write_genotype(genotype)
    return genotype


def _state(trainer: SearchTrainer) -> SearchEpoch:
    """Where the experts stand at the end of an epoch, or at the start."""
    return SearchEpoch(
        epoch=trainer.epochs_done,
        step=trainer.step,
        parameters=count_parameters(trainer.network),
        multiply_adds=trainer.multiply_adds(),
        groups={
            name: GroupWeights(
                feedbacks=learner.num_feedbacks,
                u_EK=learner.mixture_EK.tolist(),
                log_v_EK=learner.log_v_EK.tolist(),
                alive_EK=learner.alive_EK.tolist(),
                ledger=_ledger(learner),
            )
            for name, learner in trainer.experts.learners.items()
        },
    )


def _ledger(learner: Learner) -> Ledger | None:
    regret = learner.regret if isinstance(learner, XNASLearner) else None
    if regret is None:
        return None
    values = {item.name: getattr(regret, item.name) for item in fields(Ledger)}
    if not all((value_E.abs() <= LARGEST).all() for value_E in values.values()):
        return None  # no reader would take them
    return Ledger(**{name: value_E.tolist() for name, value_E in values.items()})
