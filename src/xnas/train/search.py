"""The search: network weights and experts in turn, until the horizon (algorithm 1; section 4.1).

One round: descend the weights on a training batch; forecast and reward on a validation batch;
exponentiated-gradient step; wipeout. First-order approximation; the training set is split in two halves.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.config.schema import CONFIG, SEARCH_SECTIONS, Config, SearchConfig
from xnas.data.images import DataSet, Images
from xnas.data.loader import Batch, num_batches
from xnas.data.rng import TRAIN, VALIDATION, mix_address
from xnas.data.sampling import split
from xnas.io.json import LARGEST, JsonObject
from xnas.optimizers.base import Wipeout
from xnas.optimizers.learner import Learner
from xnas.optimizers.xnas import XNASLearner
from xnas.report.health import concerns
from xnas.runs.callbacks import Callback, NullCallback
from xnas.runs.environment import environment
from xnas.runs.folder import GENOTYPE, SEARCH, RunFolder
from xnas.runs.history import Group, parse_search_epoch
from xnas.runs.signals import StopRequest
from xnas.space.architecture import Architecture
from xnas.space.cost import count_layer_multiply_adds, count_parameters
from xnas.space.search_space import SearchSpace
from xnas.train.build import build_augmentation, build_optimizer, build_space, resolve_stems, supernet_spec
from xnas.train.checkpointing import ResumeKey
from xnas.train.device import keeping_process_state, make_repeatable, random_states, set_random_states
from xnas.train.distributed import process_group
from xnas.train.loop import fit
from xnas.train.meters import LossAccuracyMeter
from xnas.train.step import StepOutput, optimizer_step, require_finite
from xnas.train.trainer import Row, Trainer


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
        """Rounds of an epoch: whole batches of the smaller part."""
        return min(
            num_batches(len(part), batch_size, drop_last=True) for part in (self.train, self.validation)
        )


def validate_search(config: Config, data: DataSet) -> None:
    """Raises ValueError for settings with which no search of these images can begin."""
    config = resolve_stems(config, data.image_shape)
    process_group().check_batch("search.batch_size", config.search.batch_size)
    TrainValSplit.of(config, data.train)
    build_augmentation(config.data, data.image_shape)
    with torch.device("meta"):  # only a whole supernet shows whether it can be built; here it takes no memory
        _supernet(build_space(config.space), config, data)


def _supernet(space: SearchSpace, config: Config, data: DataSet) -> nn.Module:
    plan = supernet_spec(
        config.space,
        image_channels=data.image_shape[0],
        num_classes=data.num_classes,
        activation_checkpointing=config.activation_checkpointing,
    )
    return space.supernet(plan)


class SearchTrainer(Trainer):
    """A search at some point of its trainer, and the steps that move it on."""

    phase = SEARCH
    row_kinds = ("search_images", "group", "search_epoch", "wipeout")
    width = "--space.channels"
    settings: SearchConfig

    @keeping_process_state()
    def __init__(self, config: Config, data: DataSet, *, device: torch.device) -> None:
        config = resolve_stems(config, data.image_shape)
        settings = config.search
        process_group().check_batch("search.batch_size", settings.batch_size)
        self.config = config
        self.images = data.fingerprint()
        self.parts = TrainValSplit.of(config, data.train)
        augmentation = build_augmentation(config.data, data.image_shape)
        self.space: SearchSpace = build_space(config.space)
        make_repeatable(config.seed)
        supernet = _supernet(self.space, config, data)
        if config.distributed.sync_norm:
            supernet = process_group().convert_sync_batchnorm(supernet)
        super().__init__(
            supernet.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
            settings,
            steps_per_epoch=self.parts.steps(settings.batch_size),
            meters={part: LossAccuracyMeter(device) for part in ("train", "validation")},
            images=self.parts.train,
            augmentation=augmentation,
            device=device,
        )
        self.experts = build_optimizer(
            config,
            self.network,
            rounds=self.steps_per_epoch * (settings.epochs - settings.warmup_epochs),
            weight_optimizer=self.weights,
        )
        self.experts.ranks = process_group()
        self.image_shape = data.image_shape
        self._counted: tuple[int, int | None] = (0, None)
        self.full_multiply_adds = self.multiply_adds()
        self._warned: set[str] = set()
        self._random = random_states(device)

    def make_repeatable(self) -> None:
        """Have torch go on from where building this has left its random generators, for the whole process."""
        make_repeatable(self.config.seed)
        set_random_states(self._random, device=self.device)

    @property
    def epochs(self) -> int:
        """None where nothing is learned: the architecture is there from the start."""
        return super().epochs if self.experts.learns else 0

    @property
    def single_level(self) -> bool:
        """Whether the same batches train the weights and reward the experts (Li et al. 2021, section 4)."""
        return self.settings.validation_share == 0

    @property
    def warming_up(self) -> bool:
        """Whether the step that comes next only trains the weights."""
        return self.epochs_done < self.settings.warmup_epochs

    @property
    def step_kind(self) -> str:
        """What the step that comes next is one of."""
        return "warm-up steps" if self.warming_up else "steps"

    def facts(self) -> dict[str, str]:
        """The images."""
        return {"the images": self.images}

    def groups(self) -> dict[str, Group]:
        """What every group is fixed by, and what its edges and experts are called."""
        return {
            name: Group(
                name=name,
                experts=self.experts.names(name),
                edges=self.space.edge_labels(name),
                replicas=group.num_replicas,
                method=group.method,
                feedback=group.feedback,
                horizon=group.horizon,
                step_size=group.step_size,
                reward_bound=group.reward_bound,
                zeta=group.zeta,
                scaled=group.scaled,
            )
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

    def genotype(self) -> Architecture:
        """The architecture that would be derived now."""
        return self.space.derive({name: self.experts.log_weights(name) for name in self.experts.groups})

    def epoch_batches(self, epoch: int, *, start: int = 0) -> Iterator[tuple[Batch, ...]]:
        """A training and a validation batch for each step of an epoch, counted from 1, from step `start` on.

        On one level they are one batch.
        """
        parts = [(TRAIN, self.parts.train), (VALIDATION, self.parts.validation)]
        streams = [
            self.shuffled(part, seed=mix_address(self.config.seed, address), epoch=epoch, start=start)
            for address, part in (parts[:1] if self.single_level else parts)
        ]
        return zip(*streams, strict=False)  # the larger part waits for the next epoch

    def training_step(self, *batches: Batch) -> list[Row]:
        """One round of algorithm 1; a warm-up's only trains the weights. Returns a row for each expert wiped out."""
        train, *validation = batches
        if self.warming_up:
            self.sgd_step(train, self.parts.train)
        elif self.single_level:
            self.joint_step(train)  # lines 4-8
        else:
            self.sgd_step(train, self.parts.train)  # line 4
            self.measure_rewards(train, *validation)  # lines 5-8
        wiped = [] if self.warming_up else self.experts.step()  # lines 9-13
        if wiped:
            self.rebuild_ddp()
        epoch = self.epochs_done + 1
        self.step += 1
        return [_wipeout_row(gone, epoch=epoch, step=self.step) for gone in wiped]

    def measure_rewards(self, train: Batch, validation: Batch) -> None:
        """Forecast a validation batch and keep the gradients by the mixture weights (lines 5-8).

        The training batch is for rules of second order.
        """
        losses_B, logits_BD = self._listen(validation, training=train)
        self.meters["validation"].add(losses_B, logits_BD, validation.labels_B)

    def joint_step(self, batch: Batch) -> None:
        """One pass on one level: a step of the weights, and the gradients by the mixture weights, of the same batch."""
        self.weights.zero_grad(set_to_none=True)
        losses_B, logits_BD = self._listen(batch, with_weight_grads=True)
        loss = losses_B.mean()
        optimizer_step(
            self.weights,
            batch,
            StepOutput(loss, loss, logits_BD),
            images=self.parts.train,
            clip_norm=self.settings.clip_norm,
            where=self.where,
            meter=self.meters["train"],
        )

    def _listen(
        self, batch: Batch, *, training: Batch | None = None, with_weight_grads: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Losses (B,) and logits (B, D) of a batch, detached; the experts have kept their gradients.

        Raises NonFinite for losses or rewards that are not finite.
        """
        seen: list[Tensor] = []

        def losses_of(batch: Batch) -> Tensor:
            images_BCHW = batch.images_BCHW
            logits_BD = (
                self.under_ddp(lambda: self.logits(images_BCHW))
                if with_weight_grads
                else self.logits(images_BCHW)
            )
            seen[:] = [logits_BD.detach()]
            return F.cross_entropy(logits_BD, batch.labels_B, reduction="none")

        losses_B = self.experts.measure(
            lambda: losses_of(batch),
            training=None if training is None else lambda: losses_of(training),
            with_weight_grads=with_weight_grads,
        )
        rewards = {f"reward in group {name!r}": self._rewards(name, batch) for name in self.experts.groups}
        images = self.parts.train if with_weight_grads else self.parts.validation
        kind = "loss" if with_weight_grads else "validation loss"
        values = {kind: process_group().all_gather(losses_B), **rewards}
        require_finite(values, batch=batch, images=images, where=self.where)
        return losses_B, seen[0]

    def _rewards(self, group: str, batch: Batch) -> Tensor:
        """Those of a step: a row for each sample if that is what a feedback is, else one row."""
        rewards_FEK = -self.experts.gradients(group)
        if self.experts.feedback != "sample" or not len(rewards_FEK):  # none of a group that nothing reached
            return rewards_FEK[None]
        samples = len(batch) * process_group().size
        return rewards_FEK.reshape(-1, samples, *rewards_FEK.shape[1:]).transpose(0, 1)

    def opening_rows(self) -> list[Row]:
        """The images' statistics, what every group is fixed by, and where the experts start."""
        return [*super().opening_rows(), *map(_group_row, self.groups().values()), _state_row(self)]

    def epoch_row(self) -> Row:
        """Losses, accuracies and expert weights at the end of an epoch."""
        train, validation = self.meters["train"], self.meters["validation"]
        heard = self.epochs_done > self.settings.warmup_epochs and not self.single_level
        return _state_row(self) | {
            "learning_rate": self.weights.param_groups[0]["lr"],
            "train_loss": train.loss,
            "train_accuracy": train.accuracy,
            "val_loss": validation.loss if heard else None,
            "val_accuracy": validation.accuracy if heard else None,
        }

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

    def fingerprint(self) -> bytes:
        """Log-weights, survivors, and the architecture that would be derived."""
        parts = [self.genotype().to_json().encode()]
        for name in self.experts.groups:
            parts += [
                self.experts.log_weights(name).numpy().tobytes(),
                self.experts.alive(name).numpy().tobytes(),
            ]
        return b"".join(parts)

    def warnings(self, row: Row) -> list[str]:
        """What the health of the search gives cause to say, each kind of it once."""
        if row["kind"] != "search_epoch":
            return []
        groups = self.groups()
        epoch = parse_search_epoch(JsonObject(row, where="the epoch's row"), groups)
        found = concerns(groups, epoch)
        new = [f"warning: {line}" for kind, line in found.items() if kind not in self._warned]
        self._warned |= found.keys()
        return new

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a later process needs to go on bit for bit, the experts' weights and survivors too."""
        experts = {f"experts/{name}": value for name, value in self.experts.state_dict().items()}
        return super().tensors() | experts

    def _load_parts(self, states: dict[str, dict[str, Tensor]]) -> None:
        # First of all: experts that were wiped out leave the network, so that the rest fits.
        self.experts.load_state_dict(states["experts"])
        super()._load_parts(states)


@keeping_process_state()
def search(
    trainer: SearchTrainer,
    *,
    folder: RunFolder,
    progress: Callback | None = None,
    interrupt: StopRequest | None = None,
) -> Architecture:
    """Go through a search to its horizon, from where `folder` knows it to be; write its course and result there.

    A search that has ended there already is not done again. Raises ValueError if the folder is of other settings or
    its checkpoints are damaged, NonFinite where the search breaks down, and Interrupted after a signal: then
    genotype-so-far.json holds the choice as it stood. The process's random generators and torch's settings are
    afterwards as they were.
    """
    trainer.make_repeatable()
    progress, interrupt = progress or NullCallback(), interrupt or StopRequest()
    config = trainer.config
    if not folder.has(CONFIG):
        folder.describe(config, environment(trainer.device, processes=process_group().size))
    folder.check_same(config, sections=SEARCH_SECTIONS)
    if folder.has(GENOTYPE):
        return folder.genotype()
    origin = ResumeKey(config=config, sections=SEARCH_SECTIONS, facts=trainer.facts())
    for group in trainer.experts.settings.values():
        progress.say(str(group))
    try:
        fit(trainer, origin=origin, folder=folder, progress=progress, interrupt=interrupt)
    except BaseException:
        if trainer.step > 0:  # else it has not come to where the folder is, which may know a better choice
            with suppress(ValueError):  # what ended the search is said, not that the folder is damaged too
                folder.write_genotype_so_far(trainer.genotype())
        raise
    genotype = trainer.genotype()
    folder.write_genotype(genotype)
    return genotype


def _group_row(group: Group) -> Row:
    return {
        "kind": "group",
        "group": group.name,
        "experts": list(group.experts),
        "edges": list(group.edges),
        "replicas": group.replicas,
        "method": group.method,
        "feedback": group.feedback,
        "horizon": group.horizon,
        "step_size": group.step_size,
        "reward_bound": group.reward_bound,
        "zeta": group.zeta,
        "scaled": group.scaled,
    }


def _state_row(trainer: SearchTrainer) -> Row:
    return {
        "kind": "search_epoch",
        "epoch": trainer.epochs_done,
        "step": trainer.step,
        "parameters": count_parameters(trainer.network),
        "multiply_adds": trainer.multiply_adds(),
        "groups": {
            name: {
                "feedbacks": learner.num_feedbacks,
                "u": learner.mixture_EK.tolist(),
                "log_v": learner.log_v_EK.tolist(),
                "alive": learner.alive_EK.tolist(),
            }
            | _ledger(learner)
            for name, learner in trainer.experts.learners.items()
        },
    }


def _ledger(learner: Learner) -> Row:
    """What a row says of the regret, where there is a ledger."""
    standing = learner.standing if isinstance(learner, XNASLearner) else None
    if standing is None:
        return {}
    values = {item.name.removesuffix("_E"): getattr(standing, item.name) for item in fields(standing)}
    if not all((value_E.abs() <= LARGEST).all() for value_E in values.values()):
        return {}  # under settings that only a stranger's file has; no reader would take them
    return {"ledger": {name: value_E.tolist() for name, value_E in values.items()}}


def _wipeout_row(gone: Wipeout, *, epoch: int, step: int) -> dict[str, object]:
    return {
        "kind": "wipeout",
        "epoch": epoch,
        "step": step,
        "group": gone.group,
        "edge": gone.index,
        "expert": gone.expert,
        "feedbacks": gone.num_feedbacks,
    }
