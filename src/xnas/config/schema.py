"""The settings of a run: frozen dataclasses, read from TOML presets and files, overridden by single flags.

This file imports nothing heavy, so that help and mistakes are answered at once.
"""

import dataclasses
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tomli_w
import tyro
from dacite.types import is_instance

from xnas.config.limits import (
    LARGEST,
    LONGEST_TEXT,
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_EPOCHS,
    MOST_PIXELS,
    MOST_SEED,
    MOST_TRAINED,
    PRECISIONS,
    check_decode_memory,
    check_nasbench201,
    check_range,
    check_scale,
    check_stack,
    check_supernet,
    check_text,
)
from xnas.data.names import DATA_SETS
from xnas.io.paths import absolute, expanded, is_path
from xnas.io.plain_value import plain_value
from xnas.io.text import choose, printable, short_repr
from xnas.optimizers.registry import METHODS
from xnas.space.genotype import MAX_NODES
from xnas.space.names import EXPERTS, StemSetting
from xnas.space.registry import SPACES

CONFIG = "config.toml"
"""The file of a run folder that holds its settings."""

SEARCH_SECTIONS = ("seed", "data", "space", "search", "distributed")
"""The settings that decide what a search finds."""


RETRAIN_SECTIONS = ("seed", "data", "retrain", "distributed")
"""The settings that decide what a retraining gives."""


LAST_BITS = ("device", "threads")
"""The settings that decide the last bits of both."""


AUGMENTATION = ("crop", "padding", "flip", "policy", "cutout")
"""The settings of [data] that say how images are varied, not which they are."""

Settings = TypeVar("Settings")


IN_MEMORY = "given to ImageClassifier.fit"
"""In place of a data set's name, of images that were in memory."""

Precision = Annotated[str, tyro.conf.arg(metavar="{" + ",".join(PRECISIONS) + "}")]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The labelled images. Paths are kept from the root on, so that they mean the same wherever a run is resumed."""

    source: Annotated[str, tyro.conf.arg(aliases=("--data",))] = "fashion-mnist-small"
    """A data set (fashion-mnist-small is shipped; fashion-mnist, cifar10, cifar100, svhn, imagenet, tiny-imagenet,
    imagenette, cinic10, cinic10-enlarged, freiburg) or a folder: train/CLASS/*.png and test/CLASS/*.png, or CLASS/*.png
    to be split."""
    root: Annotated[Path | None, tyro.conf.arg(aliases=("--root",))] = None
    """Where the files of a named data set are, or are downloaded to."""
    image_size: int | None = None
    """Side in pixels to which the images of a folder are brought; by default their own or a middle size."""
    test_fraction: float = 0.2
    """Share of each class that becomes the test set, for a folder without one."""
    held_out: float = 0.0
    """Share of each class of the training images that is set aside and stands in for the test images, which stay
    unread: to choose by. 0 trains on all of them, and tests on the test images."""
    split_seed: int | None = None
    """Seed by which test images and held-out images are drawn; by default the run's own."""
    download: bool = False
    """Fetch a named data set whose files are missing."""
    workers: int | None = None
    """Processes that read the images of a folder while training, at most one for each core, 0 to read them in the
    training itself; by default a folder is held in memory, and one beyond 8 GiB (on a machine, not for each of its
    processes) is read by one for each core."""
    max_broken: int = 0
    """Broken images of a folder that may be left out or replaced by others of their class; each is named."""
    decode_memory: float = 2.0
    """GiB of memory that decoding the images of a folder takes at most, in all that read for a process together; one
    that would take more than half of it counts as broken."""
    fold: int | None = None
    """Which of the official folds of a data set is its test, the first, 0, by default; freiburg has five."""
    crop: Literal["pad", "resized"] = "pad"
    """Random crops. pad: of the image's own size, out of it padded on every side. resized: 8 to 100 % of the image's
    area, at 3:4 to 4:3, scaled to its size, and test images lose an eighth at the borders, as on ImageNet."""
    padding: int = 4
    """Pixels of padding on every side; ignored with resized crops."""
    flip: bool = True
    """Random horizontal flips."""
    policy: Literal["none", "cifar10", "svhn", "imagenet"] = "none"
    """AutoAugment (Cubuk et al. 2019): one of 25 pairs of operations found for that data set, drawn for every training
    image after crop and flip."""
    cutout: int = 0
    """Side in pixels of the square that is cut out of every training image; 0 cuts nothing."""

    def __post_init__(self) -> None:
        _take_types(self, DataConfig, "data")
        check_text("data.source", self.source)
        check_text("data.root", str(self.root or ""))
        for name, value in located({"source": self.source, "root": self.root}).items():
            object.__setattr__(self, name, value)
        check_range("data.padding", self.padding, 0, MOST_PIXELS)
        check_range("data.cutout", self.cutout, 0, MOST_PIXELS)
        if self.fold is not None:
            check_range("data.fold", self.fold, 0, 1000)
        check_range("data.max_broken", self.max_broken, 0, 10**9)
        check_decode_memory("data.decode_memory", self.decode_memory)
        if self.workers is not None:
            check_range("data.workers", self.workers, 0, 1024)
        if self.image_size is not None:
            check_range("data.image_size", self.image_size, 8, MOST_TRAINED)
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"data.test_fraction must lie in (0, 1); got {self.test_fraction}")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"data.held_out must lie in [0, 1); got {self.held_out}")
        if self.split_seed is not None:
            check_range("data.split_seed", self.split_seed, 0, MOST_SEED)


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """The space of architectures, and the supernet that holds them all (section 4.1)."""

    kind: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(SPACES) + "}")] = "darts"
    """darts: a normal and a reduction cell of separable convolutions. nasbench201: the one cell of that benchmark (Dong
    and Yang 2020); --preset nasbench201 has settings that go with it."""
    nodes: int = 4
    """Intermediate nodes of a cell; 3 in nasbench201."""
    experts: tuple[str, ...] = EXPERTS
    """Operations between which every edge chooses. The paper's numbers count `none` as an eighth."""
    choose_none: bool = False
    """Whether an edge of nasbench201 may end with `none`, if that is among the experts."""
    channels: int = 16
    """Channels of the supernet's first cells."""
    cells: int = 8
    """Cells of the supernet."""
    reductions: int = 2
    """How many of them are reduction cells."""
    stem: StemSetting = "auto"
    """Size of the features that the cells see: cifar the image's, strided a half, imagenet an eighth. auto: cifar for
    images of fewer than 96 pixels a side, imagenet (strided in nasbench201) for larger ones; auto-strided: the same,
    but strided for small ones."""
    partial_channels: int = 1
    """k: only one channel in k of the supernet passes the experts, the rest goes around them, as in PC-DARTS (Xu et al.
    2020), which takes 4. 1 lets all pass."""

    def __post_init__(self) -> None:
        _take_types(self, SpaceConfig, "space")
        check_range("space.nodes", self.nodes, 1, MAX_NODES)
        known = SPACES[choose("space in space.kind", self.kind, SPACES)].operations
        for name in self.experts:
            choose(f"operation in space.experts of {self.kind}", name, known)
        if self.kind == "nasbench201":
            check_nasbench201("space", self.nodes, self.cells, self.reductions, self.stem)
        elif self.choose_none:
            raise ValueError("space.choose_none is for nasbench201; the edges of darts never end with none")
        check_stack("space", self.channels, self.cells, self.reductions)
        check_supernet(cells=self.cells, nodes=self.nodes, experts=len(self.experts))
        check_range("space.partial_channels", self.partial_channels, 1, MOST_CHANNELS)
        if self.channels % self.partial_channels:
            raise ValueError(
                f"space.partial_channels = {self.partial_channels} does not divide space.channels = {self.channels}; "
                "use a divisor of it"
            )


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """The search (section 4.1)."""

    epochs: int = 50
    """Passes over both halves of the training set."""
    batch_size: int = 96
    """Images of a batch, of either half."""
    validation_share: float = 0.5
    """Share of the training set that rewards the experts; the rest trains the network weights. 0: every batch of the
    whole set does both, in one pass (one level, Li et al. 2021)."""
    learning_rate: float = 0.025
    """Of the network weights' SGD at the start; it follows a cosine."""
    learning_rate_min: float = 0.001
    """Where the cosine ends."""
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip_norm: float = 5.0
    """The gradient of the network weights is scaled down to this norm."""
    warmup_epochs: int = 0
    """Epochs at the start that train only the network weights, so that convolutions can catch up with pooling."""
    method: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(METHODS) + "}")] = "xnas"
    """What learns the architecture weights: xnas; paper, which is algorithm 1 as printed (a feedback for each sample,
    L = 1, zeta = 1, eta*); or a rival, which takes the mean loss of a batch as one feedback. The settings from
    `feedback` to `zeta` are for xnas alone."""
    feedback: Literal["sample", "replica", "batch"] = "batch"
    """One feedback is the reward of one validation sample in one replica, of a batch in one replica,
    or of a batch over all replicas. Only a reward bound tells them apart."""
    reward_bound: float | None = None
    """L: rewards are clipped to [-L, L]. By default nothing is clipped, and every forecaster takes its rewards in units
    of the size that they have had."""
    wipeout: bool = True
    """Remove experts that can no longer win."""
    zeta: float = 1.0
    """Relaxation of the wipeout threshold, in (0, 1]; below 1 the regret bound no longer holds (section 3.2.1)."""
    step_size: float | None = None
    """eta of every group, by default each group's optimal one (equation 4), or a rival's learning rate, by default as
    published."""
    architecture_weight_decay: float | None = None
    """Of a rival's architecture weights; by default as published. XNAS has none (section 3.2.2)."""
    precision: Precision = "float32"
    """bfloat16 computes convolutions and features in 16 bits; the weights, the statistics of norms, losses, rewards and
    expert weights keep their 32 or 64."""

    def __post_init__(self) -> None:
        _take_types(self, SearchConfig, "search")
        check_range("search.epochs", self.epochs, 1, MOST_EPOCHS)
        check_range("search.batch_size", self.batch_size, 1, MOST_BATCH)
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"search.warmup_epochs must lie between 0 and search.epochs - 1 = {self.epochs - 1}; "
                f"got {self.warmup_epochs}"
            )
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"search.validation_share must lie in [0, 1); got {self.validation_share}")
        if self.validation_share == 0 and self.method == "darts-2nd":
            raise ValueError(
                "search.validation_share = 0 leaves darts-2nd no other images to look at after a step; give it a share"
            )
        if not 0 < self.zeta <= 1:
            raise ValueError(f"search.zeta must lie in (0, 1]; got {self.zeta}")
        choose("method in search.method", self.method, METHODS)
        if self.reward_bound is not None:
            check_scale("search.reward_bound", self.reward_bound)
        elif self.feedback != "batch":
            raise ValueError(
                f"search.feedback = {self.feedback} needs a search.reward_bound: without one nothing is clipped, and "
                "it is the same as batch"
            )
        if self.method in ("random", "paper") and self.step_size is not None:
            why = "which learns nothing" if self.method == "random" else "which has eta*"
            raise ValueError(f"search.step_size has no place in {self.method}, {why}; leave it out")
        if self.architecture_weight_decay is not None:
            if self.method == "random":
                raise ValueError(
                    "search.architecture_weight_decay has no place in random, which learns nothing; leave it out"
                )
            if self.method in ("xnas", "paper"):
                raise ValueError(
                    f"search.architecture_weight_decay has no place in {self.method} (section 3.2.2); leave it out, "
                    "or choose a rival with search.method"
                )
            if not 0 <= self.architecture_weight_decay <= LARGEST:
                raise ValueError(
                    f"search.architecture_weight_decay must lie between 0 and {LARGEST:g}; "
                    f"got {self.architecture_weight_decay}"
                )
        if self.step_size is not None:
            check_scale("search.step_size", self.step_size)
        _check_descent("search", self)


@dataclass(frozen=True, kw_only=True)
class RetrainConfig:
    """The network of the found genotype, and its training from scratch (section 4.2)."""

    channels: int = 36
    """Channels of the network's first cells."""
    cells: int = 20
    reductions: int = 2
    stem: StemSetting = "auto"
    """As in the search; auto chooses for the images of the retraining."""
    stem_channels: int | None = None
    """Channels of the stem; by default three times `channels`, or `channels` for imagenet and in nasbench201."""
    squeeze_excite: bool = False
    """Squeeze-and-excitation after the cells up to two thirds of the depth, as in the published ImageNet network."""
    epochs: int = 600
    batch_size: int = 96
    learning_rate: float = 0.025
    """Of SGD at the start; it follows a cosine."""
    learning_rate_min: float = 0.0
    """Where the cosine ends."""
    cosine_power: float = 1.0
    """p of power-cosine annealing (Hundt et al. 2019): the larger, the sooner the learning rate falls. 1 is the plain
    cosine."""
    cycles: int = 1
    """Times that the learning rate anneals in the epochs, each time from its peak."""
    cycle_decay: float = 1.0
    """Amplitude of each cycle, as a share of that of the one before."""
    momentum: float = 0.9
    nesterov: bool = False
    """Take the gradient where the momentum leads to (Nesterov's momentum)."""
    weight_decay: float = 3e-4
    clip_norm: float = 5.0
    """The gradient is scaled down to this norm."""
    label_smoothing: float = 0.0
    """Share of every label that is spread evenly over all classes (Szegedy et al. 2016), in [0, 1)."""
    drop_path: float = 0.0
    """Probability in the last epoch that an image goes without the output of an edge, all but identities; it rises
    evenly from 0 in the first (scheduled drop-path, Zoph et al. 2018)."""
    auxiliary_weight: float = 0.0
    """Weight in the loss of a second classifier, which reads the features at two thirds of the depth while training
    (Szegedy et al. 2015). 0: there is none. The trained network is without it in any case."""
    precision: Precision = "float32"
    """bfloat16 computes convolutions and features of the training in 16 bits; the weights, the statistics of norms, and
    losses keep their 32, and the test is float32 in any case."""

    def __post_init__(self) -> None:
        _take_types(self, RetrainConfig, "retrain")
        check_range("retrain.epochs", self.epochs, 1, MOST_EPOCHS)
        check_range("retrain.batch_size", self.batch_size, 1, MOST_BATCH)
        if self.stem_channels is not None:
            check_range("retrain.stem_channels", self.stem_channels, 1, MOST_CHANNELS)
        check_stack("retrain", self.channels, self.cells, self.reductions)
        _check_descent("retrain", self)
        _check_recipe(self)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When a run is saved. None of these changes a result, so they may differ when a run is continued."""

    minutes: float = 1.0
    """Minutes between checkpoints. A signal and the end of a phase are saved in any case."""
    steps: int | None = None
    """Rounds between checkpoints, where that comes sooner."""
    keep: int = 2
    """Checkpoints of a phase that are kept, the newest; at least 2, so that one may be damaged."""

    def __post_init__(self) -> None:
        _take_types(self, CheckpointConfig, "checkpoint")
        if not self.minutes > 0:
            raise ValueError(f"checkpoint.minutes must be positive; got {self.minutes}")
        if self.steps is not None:
            check_range("checkpoint.steps", self.steps, 1, 10**9)
        check_range("checkpoint.keep", self.keep, 2, 1000)


@dataclass(frozen=True, kw_only=True)
class DistributedConfig:
    """How the processes of one run work together, where torchrun or another launcher starts several.

    Batch sizes are those of all processes together, so these settings may differ when a run is continued, but for
    `sync_norm`.
    """

    backend: Literal["auto", "gloo", "nccl"] = "auto"
    """What carries tensors between processes: auto is nccl on CUDA devices and gloo elsewhere."""
    timeout: float = 600.0
    """Seconds after which a process that does not answer counts as lost, and the others end."""
    sync_norm: bool = False
    """Batch norms take their statistics of the images of all processes, not of each one's own; on CUDA devices."""

    def __post_init__(self) -> None:
        _take_types(self, DistributedConfig, "distributed")
        if not 1 <= self.timeout <= 86_400:
            raise ValueError(f"distributed.timeout must lie between 1 and 86400 seconds; got {self.timeout}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run."""

    seed: int = 0
    """Of everything random: the split, the order and augmentation of images, the initial weights."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto: the fastest that is there."""
    threads: int | None = None
    """CPU threads; by default one for each core. Give 1 where other work keeps the cores busy."""
    activation_checkpointing: bool = False
    """Train with less memory, in more time: the backward pass computes each cell again and does not keep what is in it.
    No result changes, so a run may be resumed with it."""
    data: DataConfig = field(default_factory=DataConfig)
    space: SpaceConfig = field(default_factory=SpaceConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)

    def __post_init__(self) -> None:
        _take_types(self, Config, "")
        check_range("seed", self.seed, 0, MOST_SEED)
        check_text("device", self.device)
        if self.threads is not None:
            check_range("threads", self.threads, 1, 1024)

    def to_toml(self) -> str:
        """Return the settings as a file that `read_config` reads back as an equal value."""
        return settings_text(self)


def located(data: dict[str, Any]) -> dict[str, Any]:
    """Settings of [data] with paths from the root on, where a file of settings can hold these.

    The name of a data set is no path, nor is a name without a folder.
    """
    found = dict(data)
    with suppress(ValueError):  # of a home that is not there; reading the images says so
        source, root = data.get("source"), data.get("root")
        if isinstance(source, str) and source not in DATA_SETS and is_path(source):
            found["source"] = _if_plain(absolute(source), else_=source)
        if isinstance(root, str | Path) and str(root):
            found["root"] = type(root)(_if_plain(absolute(root), else_=str(root)))
    return found


def _if_plain(path: Path, *, else_: str) -> str:
    """Return the path, unless the name of a folder above is long, not UTF-8, or acts on a terminal."""
    text = str(path)
    return text if printable(text) == text and len(text) <= LONGEST_TEXT else else_


def images_are_gone(data: DataConfig) -> bool:
    """Return whether the settings name a folder of images, and it is not there."""
    if data.source in ("", IN_MEMORY, *DATA_SETS):
        return False
    with suppress(ValueError):
        return not os.path.exists(expanded(data.source))
    return True


def settings_text(settings: Any) -> str:
    """Frozen settings as TOML; what is None is left out."""
    return tomli_w.dumps(_plain(dataclasses.asdict(settings)))


def fields_of(config: Config) -> dict[str, Any]:
    """Return the settings by the name of their section."""
    return {item.name: getattr(config, item.name) for item in dataclasses.fields(Config)}


def _plain(tree: dict[str, Any]) -> dict[str, Any]:
    """Without what TOML cannot say: None is left out, paths are text, tuples are lists."""
    plain: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            plain[key] = _plain(value)
        elif value is not None:
            plain[key] = (
                str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            )
    return plain


def _take_types(settings: Any, kind: type, section: str) -> None:
    """Have frozen settings hold Python's own values, of the types that `kind` declares; numbers of numpy are taken.

    What comes from files has been checked already; what a program gives has not. Raises ValueError.
    """
    for name, wanted in _types(kind).items():
        given = getattr(settings, name)
        value = plain_value(given)
        if wanted in (float, float | None):
            value = _number(value)
        elif wanted == Path | None and isinstance(value, str):
            value = Path(value)
        elif get_origin(wanted) is tuple and isinstance(value, list):
            value = tuple(value)
        if not is_instance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            full = f"{section}.{name}".lstrip(".")
            raise ValueError(f"{full} must be {_kind_in_words(wanted)}; got {short_repr(given)}")
        if value is not given:
            object.__setattr__(settings, name, value)


@cache
def _types(kind: Any) -> dict[str, Any]:
    hints: dict[str, Any] = get_type_hints(kind)
    return hints


def _kind_in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_kind_in_words, get_args(kind)))
    if get_origin(kind) is tuple:
        return "a list of names"
    known = {int: "a whole number", float: "a number", bool: "True or False", str: "text", type(None): "None"}
    return known.get(kind, "a path" if kind is Path else f"a {getattr(kind, '__name__', kind)}")


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_recipe(config: RetrainConfig) -> None:
    if not 1 <= config.cosine_power <= LARGEST:
        raise ValueError(
            f"retrain.cosine_power must lie between 1, the plain cosine, and {LARGEST:g}; got {config.cosine_power}"
        )
    if not 1 <= config.cycles <= config.epochs:
        raise ValueError(
            f"retrain.cycles must lie between 1 and retrain.epochs = {config.epochs}; got {config.cycles}"
        )
    if not 0 < config.cycle_decay <= 1:
        raise ValueError(f"retrain.cycle_decay must lie in (0, 1]; got {config.cycle_decay}")
    if config.nesterov and config.momentum == 0:
        raise ValueError(
            "retrain.nesterov needs momentum, and retrain.momentum is 0; give it one, or leave out nesterov"
        )
    for name in ("label_smoothing", "drop_path"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"retrain.{name} must lie in [0, 1); got {getattr(config, name)}")
    if not 0 <= config.auxiliary_weight <= LARGEST:
        raise ValueError(
            f"retrain.auxiliary_weight must lie between 0 and {LARGEST:g}; got {config.auxiliary_weight}"
        )
    if config.auxiliary_weight > 0 and config.batch_size < 2:
        raise ValueError(
            "retrain.auxiliary_weight needs batches of at least 2 images, of which its norms take statistics; "
            f"retrain.batch_size is {config.batch_size}"
        )


def _check_descent(section: str, config: SearchConfig | RetrainConfig) -> None:
    choose(f"precision in {section}.precision", config.precision, PRECISIONS)
    check_scale(f"{section}.learning_rate", config.learning_rate)
    check_scale(f"{section}.clip_norm", config.clip_norm)
    if not 0 <= config.learning_rate_min <= config.learning_rate:
        raise ValueError(
            f"{section}.learning_rate_min must lie between 0 and the learning rate {config.learning_rate}; "
            f"got {config.learning_rate_min}"
        )
    if not 0 <= config.momentum < 1:
        raise ValueError(f"{section}.momentum must lie in [0, 1); got {config.momentum}")
    if not 0 <= config.weight_decay <= LARGEST:
        raise ValueError(
            f"{section}.weight_decay must lie between 0 and {LARGEST:g}; got {config.weight_decay}"
        )
