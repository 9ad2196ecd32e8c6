"""Retraining: the network of a genotype, from scratch on the whole training set, by the recipe of section 4.2.

The loss of a batch is that of the network's logits plus, with an auxiliary tower, its weight times that of the tower's,
both with smoothed labels: cross-entropy with (1 - s) + s / D for the true class and s / D for each other.

B: samples; C H W: channels, height, width; D: classes.
"""

import time
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.config.schema import CONFIG, RETRAIN_SECTIONS, Config, RetrainConfig
from xnas.data.images import DataSet
from xnas.data.loader import Batch, num_batches
from xnas.runs.callbacks import Callback, NullCallback
from xnas.runs.environment import environment
from xnas.runs.folder import RESULT, RETRAIN, TRAINING_ROWS, RunFolder
from xnas.runs.history import FinalTest, HistoryRow, RetrainEpoch
from xnas.runs.signals import StopRequest
from xnas.space.architecture import Architecture
from xnas.space.backbone import NetworkSpec
from xnas.space.cost import count_multiply_adds, count_parameters
from xnas.space.darts.auxiliary import AuxiliaryTower
from xnas.space.darts.network import Network, NetworkCell, build_network
from xnas.space.nasbench201.genotype import Nasbench201Genotype
from xnas.train.build import build_augmentation, build_space, network_spec, resolve_stems
from xnas.train.checkpointing import ResumeKey
from xnas.train.device import autocast, keeping_process_state, make_repeatable
from xnas.train.distributed import process_group
from xnas.train.drop_path import draw_paths
from xnas.train.loop import fit
from xnas.train.schedule import drop_probability, learning_rate
from xnas.train.step import StepOutput
from xnas.train.trained_network import TrainedNetwork
from xnas.train.trainer import Trainer

M = TypeVar("M", bound=nn.Module)


def validate_retrain(config: Config, data: DataSet, *, genotype: Architecture | None = None) -> NetworkSpec:
    """Return the shape of the network for these images.

    Raises ValueError if the settings of retraining do not fit them or the genotype; without one, a random genotype of
    the search space stands in.
    """
    genotype = genotype or build_space(config.space).random_genotype(0)
    if isinstance(genotype, Nasbench201Genotype):
        _check_nasbench201(config.retrain)
    build_augmentation(config.data, data.image_shape)
    if config.retrain.batch_size > len(data.train):
        raise ValueError(
            f"retrain.batch_size {config.retrain.batch_size} is larger than the training set of "
            f"{len(data.train)} images; use at most {len(data.train)}"
        )
    process_group().check_batch("retrain.batch_size", config.retrain.batch_size)
    spec = network_spec(
        config.retrain,
        image_channels=data.image_shape[0],
        num_classes=data.num_classes,
        activation_checkpointing=config.activation_checkpointing,
    )
    with torch.device(
        "meta"
    ):  # only a network that is built shows whether it can be; here it takes no memory
        build_network(genotype, spec)
    return spec


def _check_nasbench201(settings: RetrainConfig) -> None:
    for name in ("drop_path", "auxiliary_weight"):
        if given := getattr(settings, name):
            raise ValueError(
                f"retrain.{name} = {given} is for networks of the darts space; those of nasbench201 are trained "
                "without it, as the benchmark did; set it to 0"
            )


class RetrainTrainer(Trainer):
    """A network, its weights' optimizer and the auxiliary tower, after `step` steps of a training from scratch."""

    phase = RETRAIN
    row_kinds = TRAINING_ROWS
    channels_flag = "--retrain.channels"
    settings: RetrainConfig
    tower: AuxiliaryTower | None

    def __init__(
        self, genotype: Architecture, config: Config, data: DataSet, *, device: torch.device
    ) -> None:
        config = resolve_stems(config, data.image_shape)
        spec = validate_retrain(config, data, genotype=genotype)
        self.data, self.genotype, self.spec = data, genotype, spec
        augmentation = build_augmentation(config.data, data.image_shape)
        make_repeatable(config.seed)
        network = build_network(genotype, spec)
        # Built after the network, whose first weights are thus the same with and without it.
        tower = AuxiliaryTower(_cellular(network)) if config.retrain.auxiliary_weight > 0 else None
        if config.distributed.sync_norm:
            network = process_group().convert_sync_batchnorm(network)
            tower = None if tower is None else process_group().convert_sync_batchnorm(tower)
        super().__init__(
            _placed(network, device),
            config,
            config.retrain,
            steps_per_epoch=num_batches(len(data.train), config.retrain.batch_size, drop_last=True),
            meters=("train",),
            images=data.train,
            augmentation=augmentation,
            device=device,
            tower=None if tower is None else _placed(tower, device),
        )
        self.network.train()

    def training_step(self, *batches: Batch) -> list[HistoryRow]:
        """Make one step of the weights."""
        self.sgd_step(*batches)
        self.step += 1
        return []

    @property
    def learning_rate(self) -> float:
        """Of the running epoch: power-cosine annealing in cycles."""
        settings = self.settings
        return learning_rate(
            self.epochs_done,
            epochs=settings.epochs,
            start=settings.learning_rate,
            end=settings.learning_rate_min,
            power=settings.cosine_power,
            cycles=settings.cycles,
            cycle_decay=settings.cycle_decay,
        )

    @property
    def drop_probability(self) -> float:
        """Of drop-path in the running epoch."""
        settings = self.settings
        return drop_probability(self.epochs_done, epochs=settings.epochs, last=settings.drop_path)

    def fingerprints(self) -> dict[str, str]:
        """The architecture, and the images."""
        return {"the architecture": self.genotype.to_json(), "the images": self.data.fingerprint()}

    def epoch_batches(self, epoch: int, *, start: int = 0) -> Iterator[tuple[Batch, ...]]:
        """A training batch for each step of an epoch, counted from 1, from step `start` on."""
        stream = self.shuffled(self.data.train, seed=self.config.seed, epoch=epoch, start=start)
        return ((batch,) for batch in stream)

    @property
    def has_unused_parameters(self) -> bool:
        """A genotype may leave an input of its cells unread, and what prepares it has nothing to learn."""
        with torch.device("meta"):
            network = build_network(self.genotype, self.spec)
            network(torch.empty(2, *self.data.image_shape)).sum().backward()
        return any(weight.grad is None for weight in network.parameters())

    def forward_loss(self, batch: Batch) -> StepOutput:
        """Logits and loss of a batch by the recipe."""
        settings, labels_B = self.settings, batch.labels_B
        with autocast(self.device, settings.precision):
            logits_BD, tower_logits_BD = self._both_logits(batch)
        logits_BD = logits_BD.float()
        plain = loss = F.cross_entropy(logits_BD, labels_B)
        if settings.label_smoothing > 0:
            loss = F.cross_entropy(logits_BD, labels_B, label_smoothing=settings.label_smoothing)
        if tower_logits_BD is not None:
            loss = loss + settings.auxiliary_weight * F.cross_entropy(
                tower_logits_BD.float(), labels_B, label_smoothing=settings.label_smoothing
            )
        return StepOutput(loss, plain, logits_BD)

    def _both_logits(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The logits of the network, (B, D), and of the tower, if there is one; some paths of the network dropped."""
        tower, probability = self.tower, self.drop_probability
        if tower is None and probability == 0:
            return self.network(batch.images_BCHW), None
        network, from_tower = _cellular(self.network), None
        paths = None
        if probability > 0:
            paths = draw_paths(
                batch.ids_B,
                edges=[len(cell.operations) for cell in network.cells if isinstance(cell, NetworkCell)],
                seed=self.config.seed,
                epoch=self.epochs_done + 1,
                probability=probability,
            )
        for index, features in enumerate(network.features(batch.images_BCHW, paths=paths)):
            if tower is not None and index == tower.cell:
                from_tower = tower(features)
        return network.classify(features), from_tower

    def epoch_row(self) -> RetrainEpoch:
        """Loss and accuracy of the epoch.

        The loss is the plain cross-entropy of the network itself, which can be laid beside that of the test; what is
        descended has smoothed labels and the tower's loss in it, where the recipe has them.
        """
        return RetrainEpoch(
            epoch=self.epochs_done,
            learning_rate=self.sgd.param_groups[0]["lr"],
            train_loss=self.meters["train"].loss,
            train_accuracy=self.meters["train"].accuracy,
        )


def _cellular(network: nn.Module) -> Network:
    assert isinstance(network, Network)
    return network


def _placed(module: M, device: torch.device) -> M:
    placed: M = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


@keeping_process_state()
def fit_network(
    genotype: Architecture,
    config: Config,
    data: DataSet,
    *,
    device: torch.device,
    folder: RunFolder,
    callback: Callback | None = None,
    stop_request: StopRequest | None = None,
) -> TrainedNetwork:
    """Train as `fit_retrain` does, without the test: the test images are not read, and no result is written."""
    callback, stop_request = callback or NullCallback(), stop_request or StopRequest()
    config = _open_folder(folder, config, data, device=device)
    trainer = RetrainTrainer(genotype, config, data, device=device)
    key = ResumeKey(config=config, sections=RETRAIN_SECTIONS, fingerprints=trainer.fingerprints())
    fit(trainer, key=key, folder=folder, callback=callback, stop_request=stop_request)
    trained = TrainedNetwork(
        network=trainer.network.eval(),  # asking it must not move the averages of its norms
        genotype=genotype,
        classes=data.train.classes,
        normalisation=trainer.normalisation,
        image_shape=data.image_shape,
        border=data.border,
    )
    if process_group().is_main:
        trained.write(folder)
    return trained


def _open_folder(folder: RunFolder, config: Config, data: DataSet, *, device: torch.device) -> Config:
    """The resolved settings, described in the folder. Raises ValueError if it has others."""
    config, group = resolve_stems(config, data.image_shape), process_group()

    def describe() -> None:
        if not folder.has(CONFIG):
            folder.describe(config, environment(device, processes=group.size))
        folder.check_same(config, sections=RETRAIN_SECTIONS)

    group.from_main(describe)
    return config


@keeping_process_state()
def fit_retrain(
    genotype: Architecture,
    config: Config,
    data: DataSet,
    *,
    name: str,
    device: torch.device,
    folder: RunFolder,
    callback: Callback | None = None,
    stop_request: StopRequest | None = None,
) -> dict[str, object]:
    """Train the network of `genotype` from scratch, or from where `folder` knows it to be; test it once at the end.

    Weights and result go into `folder`; returns the result, as in result.json. A retraining that has ended there
    already is not done again. Raises ValueError for settings that do not fit the data or the folder, NonFinite where
    training breaks down, and Interrupted after a signal. The process's random generators and torch's settings are
    afterwards as they were.
    """
    callback, stop_request = callback or NullCallback(), stop_request or StopRequest()
    config = _open_folder(folder, config, data, device=device)
    group = process_group()
    result: dict[str, object] | None
    if (result := group.from_main(lambda: folder.result() if folder.has(RESULT) else None)) is not None:
        return result
    trained = fit_network(
        genotype, config, data, device=device, folder=folder, callback=callback, stop_request=stop_request
    )
    started = time.perf_counter()
    test = trained.test(data.test, device=device, stop_request=stop_request, config=config)
    seconds = round(time.perf_counter() - started, 3)
    result = {
        "name": name,
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "test_samples": test.samples,
        "parameters": count_parameters(trained.network),
        "multiply_adds": count_multiply_adds(trained.network, data.image_shape),
        "epochs": config.retrain.epochs,
        "seed": config.seed,
    }
    if group.is_main:
        folder.log(FinalTest(accuracy=test.accuracy, loss=test.loss, samples=test.samples))
        folder.add_timing("test", seconds=seconds)
        folder.write_result(result)
    return result
