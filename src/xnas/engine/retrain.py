"""Retraining: the network of a genotype, from scratch on the whole training set (section 4.2)."""

import time

import torch
from torch import nn

from xnas.data.batches import batches, num_batches
from xnas.data.images import DataSet, Normalisation
from xnas.engine.config import Config
from xnas.engine.descent import Tally, build_sgd, descend, set_learning_rate
from xnas.engine.evaluate import TrainedNetwork
from xnas.engine.interrupt import Interrupt
from xnas.engine.plans import augmentation_of, network_plan
from xnas.engine.progress import Progress, Silent
from xnas.engine.run_folder import RunFolder
from xnas.engine.runtime import make_repeatable
from xnas.engine.schedule import cosine
from xnas.report.cost import count_multiply_adds, count_parameters
from xnas.space.genotype import Genotype
from xnas.space.network import Network
from xnas.space.stack import StackPlan


def check_fit(config: Config, data: DataSet) -> StackPlan:
    """The shape of the network for these images. Raises ValueError if the settings of retraining do not fit them."""
    augmentation_of(config.data, data.image_shape)
    if config.retrain.batch_size > len(data.train):
        raise ValueError(
            f"retrain.batch_size {config.retrain.batch_size} is larger than the training set of "
            f"{len(data.train)} images; use at most {len(data.train)}"
        )
    return network_plan(config.retrain, image_channels=data.image_shape[0], num_classes=data.num_classes)


def retrain(
    genotype: Genotype,
    config: Config,
    data: DataSet,
    *,
    name: str,
    device: torch.device,
    folder: RunFolder,
    progress: Progress | None = None,
    interrupt: Interrupt | None = None,
) -> dict[str, object]:
    """Train the network of `genotype` from scratch, test it once at the end; write weights and result into `folder`.

    Returns the result, as in result.json. Raises ValueError for settings that do not fit the data, NonFinite where
    training breaks down, and Interrupted after a signal.
    """
    settings = config.retrain
    plan = check_fit(config, data)
    make_repeatable(config.seed)
    network: nn.Module = Network(genotype, plan).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = count_parameters(network)
    multiply_adds = count_multiply_adds(network, data.image_shape)
    normalisation = Normalisation.of(data.train)
    _train(
        network, config, data, normalisation, device, folder, progress or Silent(), interrupt or Interrupt()
    )
    trained = TrainedNetwork(
        network=network, genotype=genotype, classes=data.train.classes, normalisation=normalisation
    )
    trained.write(folder)
    started = time.perf_counter()
    test = trained.test(data.test, device=device)
    folder.add_timing("test", seconds=round(time.perf_counter() - started, 3))
    folder.log({"kind": "test", "accuracy": test.accuracy, "loss": test.loss, "samples": test.samples})
    result: dict[str, object] = {
        "name": name,
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "test_samples": test.samples,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "epochs": settings.epochs,
        "seed": config.seed,
    }
    folder.write_result(result)
    return result


def _train(
    network: nn.Module,
    config: Config,
    data: DataSet,
    normalisation: Normalisation,
    device: torch.device,
    folder: RunFolder,
    progress: Progress,
    interrupt: Interrupt,
) -> None:
    settings = config.retrain
    optimizer = build_sgd(network, settings)
    augmentation = augmentation_of(config.data, data.image_shape)
    rounds = num_batches(len(data.train), settings.batch_size, drop_last=True)
    progress.start("retrain", epochs=settings.epochs, rounds=rounds)
    started = time.perf_counter()
    try:
        for epoch in range(1, settings.epochs + 1):
            rate = cosine(
                epoch - 1,
                epochs=settings.epochs,
                start=settings.learning_rate,
                end=settings.learning_rate_min,
            )
            set_learning_rate(optimizer, rate)
            network.train()
            tally = Tally(data.num_classes, device)
            stream = batches(
                data.train,
                batch_size=settings.batch_size,
                normalisation=normalisation,
                seed=config.seed,
                epoch=epoch,
                shuffle=True,
                augmentation=augmentation,
                drop_last=True,
                device=device,
            )
            for number, batch in enumerate(stream, start=1):
                where = f"round {number} of retraining epoch {epoch}"
                descend(network, optimizer, batch, clip_norm=settings.clip_norm, where=where, tally=tally)
                progress.round_done(epoch=epoch, round_in_epoch=number, values={"train loss": tally.loss})
                interrupt.check()
            row = {
                "kind": "retrain_epoch",
                "epoch": epoch,
                "learning_rate": rate,
                "train_loss": tally.loss,
                "train_accuracy": tally.accuracy,
            }
            folder.log(row)
            progress.epoch_done(row)
    finally:
        progress.finish()
    folder.add_timing("retrain", seconds=round(time.perf_counter() - started, 3), epochs=settings.epochs)
