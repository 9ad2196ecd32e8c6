"""Retraining: the network of a genotype, from scratch on the whole training set (section 4.2)."""

import time

import torch
from torch import nn

from xnas.data.batches import Augmentation, batches, num_batches
from xnas.data.images import DataSet, Normalisation
from xnas.engine.config import Config
from xnas.engine.descent import Tally, build_sgd, descend, set_learning_rate
from xnas.engine.evaluate import test_network
from xnas.engine.interrupt import Interrupt
from xnas.engine.progress import Progress
from xnas.engine.run_folder import RunFolder
from xnas.engine.runtime import make_repeatable
from xnas.engine.schedule import cosine
from xnas.report.cost import count_multiply_adds, count_parameters
from xnas.space.genotype import Genotype
from xnas.space.network import Network
from xnas.space.stack import StackPlan


def network_plan(config: Config, *, image_channels: int, num_classes: int) -> StackPlan:
    """The shape of the network that retraining trains."""
    settings = config.retrain
    return StackPlan(
        image_channels=image_channels,
        num_classes=num_classes,
        channels=settings.channels,
        cells=settings.cells,
        reductions=settings.reductions,
        stem=settings.stem,
        stem_channels=settings.stem_channels,
        squeeze_excite=settings.squeeze_excite,
    )


def retrain(
    genotype: Genotype,
    config: Config,
    data: DataSet,
    *,
    name: str,
    device: torch.device,
    folder: RunFolder,
    progress: Progress,
    interrupt: Interrupt,
) -> dict[str, object]:
    """Train the network of `genotype` from scratch, test it once at the end; write weights and result into `folder`.

    Returns the result, as in result.json. Raises ValueError for settings that do not fit the data, NonFinite where
    training breaks down, and Interrupted after a signal.
    """
    settings = config.retrain
    if settings.batch_size > len(data.train):
        raise ValueError(
            f"retrain.batch_size {settings.batch_size} is larger than the training set of {len(data.train)} images; "
            f"use at most {len(data.train)}"
        )
    make_repeatable(config.seed)
    plan = network_plan(config, image_channels=data.image_shape[0], num_classes=data.num_classes)
    network: nn.Module = Network(genotype, plan).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = count_parameters(network)
    multiply_adds = count_multiply_adds(network, data.image_shape)
    normalisation = Normalisation.of(data.train)
    _train(network, config, data, normalisation, device, folder, progress, interrupt)
    started = time.perf_counter()
    test = test_network(network, data.test, normalisation=normalisation, device=device)
    folder.add_timing("test", seconds=round(time.perf_counter() - started, 3))
    folder.log({"kind": "test", "accuracy": test.accuracy, "loss": test.loss, "samples": test.samples})
    folder.write_weights(
        network.state_dict(),
        about={
            "genotype": genotype.to_json(),
            "classes": "\n".join(data.train.classes),
            "mean": " ".join(map(str, normalisation.mean_C.tolist())),
            "std": " ".join(map(str, normalisation.std_C.tolist())),
        },
    )
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
    augmentation = Augmentation(padding=config.data.padding, flip=config.data.flip, cutout=config.data.cutout)
    rounds = num_batches(len(data.train), settings.batch_size, drop_last=True)
    progress.start("retrain", epochs=settings.epochs, rounds=rounds)
    started = time.perf_counter()
    try:
        for epoch in range(1, settings.epochs + 1):
            rate = cosine(
                epoch - 1, epochs=settings.epochs, start=settings.learning_rate, end=settings.learning_rate_min
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
