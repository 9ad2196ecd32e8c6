"""Build what settings describe: data set, augmentation, search space, networks, controls, architecture optimizer."""

import dataclasses
from collections.abc import Collection
from typing import cast

import torch
from torch import nn

from xnas.config.schema import (
    IN_MEMORY,
    Config,
    DataConfig,
    RetrainConfig,
    SpaceConfig,
)
from xnas.data.images import DataSet
from xnas.data.loader import Augmentation
from xnas.data.rng import ARCHITECTURE, mix_address
from xnas.data.sampling import hold_out
from xnas.data.sets.registry import load_data
from xnas.optimizers.base import ArchitectureOptimizer
from xnas.optimizers.registry import baseline
from xnas.optimizers.xnas import XNAS
from xnas.runs.folder import RETRAIN, SEARCH
from xnas.space.architecture import Architecture
from xnas.space.backbone import NetworkSpec
from xnas.space.names import OPEN_STEMS, Stem, StemSetting
from xnas.space.published import published_genotype
from xnas.space.registry import space_class
from xnas.space.search_space import SearchSpace
from xnas.train.distributed import process_group

SHRINKS = {"cifar": 1, "strided": 2, "imagenet": 8}
"""Factor by which a stem divides the sides of an image."""

PIXEL_BYTES = 5
"""Bytes of a channel's pixel: as it is read, and normalised."""

SEARCH_BYTES, RETRAIN_BYTES = 0.35, 20.0
"""Bytes of features kept for the backward pass, per pixel, channel and cell: of each expert of each edge, and of a
found cell."""

LARGE = 96
"""Pixels of an image's shorter side from which its features are brought to an eighth before the first cell.

At 96 that leaves 12 x 12, and 3 x 3 after two reductions; features of full size would take nine times the time and
memory of CIFAR's.
"""


def build_augmentation(settings: DataConfig, image_shape: tuple[int, int, int]) -> Augmentation:
    """Return the transforms of training images of this (C, H, W). Raises ValueError if they could come out empty."""
    augmentation = Augmentation(
        crop=settings.crop,
        padding=settings.padding,
        flip=settings.flip,
        policy=settings.policy,
        cutout=settings.cutout,
    )
    augmentation.check(image_shape)
    return augmentation


def resolve_stems(config: Config, image_shape: tuple[int, int, int]) -> Config:
    """Return the settings with stems that depend on the size of the images (C, H, W) decided."""
    stems = {
        section: stem_for(settings.stem, image_shape, kind=config.space.kind)
        for section, settings in (("space", config.space), ("retrain", config.retrain))
    }
    space = dataclasses.replace(config.space, stem=stems["space"])
    return dataclasses.replace(
        config, space=space, retrain=dataclasses.replace(config.retrain, stem=stems["retrain"])
    )


def check_memory(
    config: Config, image_shape: tuple[int, int, int], *, phases: Collection[str], has: int
) -> None:
    """Raise ValueError for batches of images (C, H, W) that need far more than the `has` bytes of memory.

    The estimate is below a fifth of what was measured at 32 x 32 pixels: nothing that fits is refused.
    """
    config, pixels = resolve_stems(config, image_shape), image_shape[1] * image_shape[2]
    for phase, stem, precision, batch_size, bytes_a_pixel in (
        (SEARCH, config.space.stem, config.search.precision, config.search.batch_size, _search_bytes(config)),
        (
            RETRAIN,
            config.retrain.stem,
            config.retrain.precision,
            config.retrain.batch_size,
            RETRAIN_BYTES * config.retrain.channels * config.retrain.cells,
        ),
    ):
        less = (8 if config.activation_checkpointing else 1) * (1 if precision == "float32" else 2)
        features = bytes_a_pixel / less / SHRINKS[stem] ** 2
        needed = batch_size * pixels * (features + PIXEL_BYTES * image_shape[0])
        if phase == SEARCH and config.search.method == "random":
            continue  # it trains no supernet
        if phase in phases and needed > has:
            raise ValueError(
                f"batches of {batch_size:,} images of {image_shape[1]:,} x {image_shape[2]:,} pixels take at least "
                f"{needed / 2**30:,.0f} GiB of memory in the {phase}, and there are {has / 2**30:,.0f}; use a smaller "
                f"--data.image-size or --{phase}.batch-size"
            )


def _search_bytes(config: Config) -> float:
    """Bytes of a supernet's features for each pixel that its cells see."""
    space = config.space
    edges = build_space(space).num_edges
    computed = 1 if config.search.method == "gdas" else len(space.experts)
    return SEARCH_BYTES * edges * computed * space.cells * space.channels / space.partial_channels


def stem_for(stem: StemSetting, image_shape: tuple[int, int, int], *, kind: str = "darts") -> Stem:
    """Return the stem that a setting means for images of this (C, H, W), in a space of this kind."""
    if stem not in OPEN_STEMS or min(image_shape[1:]) < LARGE:
        return small_stem(stem)
    return space_class(kind).large_stem


def small_stem(stem: StemSetting) -> Stem:
    """Return the stem that a setting means for small images."""
    return OPEN_STEMS.get(stem) or cast("Stem", stem)


def build_space(settings: SpaceConfig) -> SearchSpace:
    """The search space."""
    return space_class(settings.kind).from_settings(
        nodes=settings.nodes,
        experts=settings.experts,
        choose_none=settings.choose_none,
        partial_channels=settings.partial_channels,
    )


def supernet_spec(
    settings: SpaceConfig, *, image_channels: int, num_classes: int, activation_checkpointing: bool = False
) -> NetworkSpec:
    """Return the shape of the supernet. An unresolved stem is that of small images."""
    return NetworkSpec(
        image_channels=image_channels,
        num_classes=num_classes,
        channels=settings.channels,
        cells=settings.cells,
        reductions=settings.reductions,
        stem=small_stem(settings.stem),
        activation_checkpointing=activation_checkpointing,
    )


def network_spec(
    settings: RetrainConfig, *, image_channels: int, num_classes: int, activation_checkpointing: bool = False
) -> NetworkSpec:
    """Return the shape of the network that is retrained. An unresolved stem is that of small images."""
    return NetworkSpec(
        image_channels=image_channels,
        num_classes=num_classes,
        channels=settings.channels,
        cells=settings.cells,
        reductions=settings.reductions,
        stem=small_stem(settings.stem),
        stem_channels=settings.stem_channels,
        squeeze_excite=settings.squeeze_excite,
        activation_checkpointing=activation_checkpointing,
    )


def build_dataset(config: DataConfig, *, seed: int) -> DataSet:
    """Load the training images and the test images, or held-out ones instead. Raises ValueError if that fails."""
    if config.source == IN_MEMORY:
        raise ValueError(
            "the images of this run were given to ImageClassifier.fit and are not kept; say where images are, with "
            "--data FOLDER, or to export with --images FOLDER"
        )
    seed = seed if config.split_seed is None else config.split_seed
    data = load_data(
        config.source,
        root=config.root,
        image_size=config.image_size,
        test_fraction=config.test_fraction,
        seed=seed,
        download=config.download,
        workers=config.workers,
        local_world_size=process_group().local_world_size,
        max_broken=config.max_broken,
        decode_memory=config.decode_memory,
        fold=config.fold,
        resized_crops=config.crop == "resized",
    )
    return hold_out(data, share=config.held_out, seed=seed) if config.held_out > 0 else data


PUBLISHED = "xnas"


def control_genotypes(config: Config, *, count: int) -> dict[str, Architecture]:
    """Return `count` random genotypes of the search space, and in that of DARTS the published XNAS cell, by name.

    The name of a random genotype has the seed that draws it: random-SEED. Runs of other seeds draw others.
    """
    if count < 1:
        return {}
    published = {PUBLISHED: published_genotype(PUBLISHED)} if config.space.kind == "darts" else {}
    return {**published, **random_genotypes(config, count=count)}


def random_genotypes(config: Config, *, count: int) -> dict[str, Architecture]:
    """Return random genotypes of the search space, by name."""
    space = build_space(config.space)
    seeds = range(100 * config.seed + 1, 100 * config.seed + count + 1)
    return {f"random-{seed}": space.random_genotype(seed) for seed in seeds}


def build_optimizer(
    config: Config, network: nn.Module, *, rounds: int, weight_optimizer: torch.optim.Optimizer
) -> ArchitectureOptimizer:
    """Return the architecture optimizer of a search of so many rounds."""
    settings = config.search
    if settings.method == "paper":  # as printed, whatever the settings are
        return XNAS(
            network,
            rounds=rounds,
            batch_size=settings.batch_size,
            feedback="sample",
            reward_bound=1.0,
            weight_optimizer=weight_optimizer,
        )
    if settings.method == "xnas":
        return XNAS(
            network,
            rounds=rounds,
            batch_size=settings.batch_size,
            feedback=settings.feedback,
            reward_bound=settings.reward_bound,
            zeta=settings.zeta if settings.wipeout else None,
            step_size=settings.step_size,
            weight_optimizer=weight_optimizer,
        )
    return baseline(settings.method)(
        network,
        rounds=rounds,
        seed=mix_address(config.seed, ARCHITECTURE),
        step_size=settings.step_size,
        weight_decay=settings.architecture_weight_decay,
        weight_optimizer=weight_optimizer,
    )
