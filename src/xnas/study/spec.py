"""A study's specification: a grid of variants and seeds that are searched, what is trained, and how it is scored.

This file imports nothing heavy, so that mistakes are answered at once.
"""

import dataclasses
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from xnas.config.limits import MOST_CONTROLS, MOST_SEED, check_range, check_text
from xnas.config.loading import check_keys, settings_from
from xnas.config.schema import Config, DataConfig, RetrainConfig, located, settings_text
from xnas.io.text import choose, short_repr
from xnas.io.toml import parse_toml
from xnas.optimizers.registry import METHODS
from xnas.runs.finished_files import RunFiles
from xnas.space.published import published_names

FILE = "study.toml"
"""The file of a study's folder that holds its specification, beside the settings in config.toml."""
AXES = ("data", "space", "settings")
"""The settings that variants differ in, beside the method."""
COLUMNS = (*AXES, "method")
NASBENCH201 = "nasbench201"
MOST_SEEDS = 1000
MOST_TASKS = 10_000
LONGEST_NAME = 32
BRIEFLY = 4
"""A cell is judged after a training of so many times fewer epochs, unless the specification says otherwise."""

Overrides = dict[str, dict[str, Any]]
"""By the name of each variant, the settings in which it differs."""


@dataclass(frozen=True, kw_only=True)
class SearchImages:
    """The augmentation of the searches' images, where it is not that of the trainings; as in [data]."""

    crop: str = "pad"
    padding: int = 4
    flip: bool = True
    policy: str = "none"
    cutout: int = 0

    def __post_init__(self) -> None:
        self.over(DataConfig())  # which checks them

    def over(self, data: DataConfig) -> DataConfig:
        """Return `data` with this augmentation."""
        return dataclasses.replace(data, **dataclasses.asdict(self))

    @classmethod
    def of(cls, data: DataConfig) -> "SearchImages":
        """Return the augmentation of `data`."""
        return cls(**{item.name: getattr(data, item.name) for item in dataclasses.fields(cls)})


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One combination of the axes. A name is empty where its axis has no variants."""

    data: str = ""
    space: str = ""
    settings: str = ""
    method: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names on each axis that has any, and the method."""
        return tuple(name for column in COLUMNS if (name := getattr(self, column)))

    @property
    def title(self) -> str:
        """The names in one text."""
        return " ".join(self.names)

    @property
    def folder(self) -> str:
        """The part of folder names that stands for it: names have no hyphen, but for the method's at the end."""
        return "-".join(self.names)


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """The specification of a study: every variant of each axis with every one of the others.

    Raises ValueError, naming the field, for a value that it cannot have.
    """

    search_seeds: tuple[int, ...] = (0, 1, 2)
    """Every variant is searched with each. Without any there must be controls to train."""
    train_seeds: tuple[int, ...] | Literal["search"] = "search"
    """Every network is trained with each; search: once, with the seed of its search. () trains nothing."""
    methods: tuple[str, ...] = ()
    """The methods that learn the architecture weights, each at its own rate; by default search.method."""
    data: Overrides = field(default_factory=dict)
    """Variants of [data], by name; by default that one."""
    space: Overrides = field(default_factory=dict)
    """Variants of [space], by name; by default that one."""
    settings: Overrides = field(default_factory=dict)
    """Variants of any other settings, by name and section; by default none."""
    select: Literal["all", "best"] = "all"
    """all: every cell that is found is trained. best: of each variant the one whose network is the most accurate on
    held-out training images."""
    held_out: float = 0.1
    """Share of each class of the training images that is held out to select by. The searches see them all."""
    selection: RetrainConfig | None = None
    """The training of a cell on what is not held out; by default as in [retrain], in a quarter of the epochs."""
    search_images: SearchImages | None = None
    """The augmentation of the searches' images; by default as in [data]."""
    random_controls: int = 0
    """Cells drawn at random that are trained in the same way."""
    published_controls: tuple[str, ...] = ()
    """Names of published cells that are trained in the same way."""
    score: Literal["test", "nasbench201"] = "test"
    """test: trained networks are tested. nasbench201: cells are looked up in `table`, and nothing is trained."""
    table: str = ""
    """Path of the table of NAS-Bench-201."""

    def __post_init__(self) -> None:
        if self.score == NASBENCH201 and self.train_seeds == "search":
            object.__setattr__(self, "train_seeds", ())
        for name in ("search_seeds", "train_seeds", "methods", "published_controls"):
            values = getattr(self, name)
            if values != "search" and len(set(values)) < len(values):
                raise ValueError(f"{name} must differ; got {' '.join(map(str, values))}")
            if len(values) > MOST_SEEDS:
                raise ValueError(f"{name} may name at most {MOST_SEEDS:,}; got {len(values):,}")
        for name in ("search_seeds", "train_seeds"):
            for seed in getattr(self, name) if getattr(self, name) != "search" else ():
                check_range(name, seed, 0, MOST_SEED)
        for name in self.methods:
            choose("method in methods", name, METHODS)
        for name in self.published_controls:
            choose("published genotype in published_controls", name, published_names())
        choose("select", self.select, ("all", "best"))
        choose("score", self.score, ("test", NASBENCH201))
        check_range("random_controls", self.random_controls, 0, MOST_CONTROLS)
        check_text("table", self.table)
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out must lie in (0, 1); got {self.held_out}")
        if self.select == "best" and self.train_seeds in ((), "search"):
            raise ValueError("train_seeds must name at least one where select is best; got none")
        controls = self.random_controls + len(self.published_controls)
        if controls and (self.data or self.space or self.settings):
            raise ValueError(
                "random_controls and published_controls are trained under one set of settings; leave them out, or the "
                "variants of data, space and settings"
            )
        if self.score == NASBENCH201 and (self.train_seeds or controls):
            raise ValueError(
                "score nasbench201 looks cells up and trains none; leave out train_seeds and controls"
            )
        if not self.search_seeds and not (controls and self.control_seeds):
            raise ValueError(
                "search_seeds names none and there is nothing else to train; give search_seeds, or random_controls or "
                "published_controls with train_seeds"
            )
        for axis in AXES:
            for name in getattr(self, axis):
                if not re.fullmatch(r"\w[\w.]*", name, re.ASCII) or len(name) > LONGEST_NAME:
                    raise ValueError(
                        f"a name in {axis} is letters, digits, '_' and '.', at most {LONGEST_NAME} of them; "
                        f"got {short_repr(name)}"
                    )
        self._check_overrides()
        # Where the study is resumed, the current folder may be another.
        object.__setattr__(self, "data", {name: located(values) for name, values in self.data.items()})
        settings = {
            name: values | {"data": located(values["data"])} if "data" in values else values
            for name, values in self.settings.items()
        }
        object.__setattr__(self, "settings", settings)
        if self.num_tasks > MOST_TASKS:
            raise ValueError(
                f"the study asks for {self.num_tasks:,} searches and trainings; keep to {MOST_TASKS:,}, in several "
                "studies"
            )

    def _check_overrides(self) -> None:
        """Raise ValueError for a setting that there is not, or that a variant cannot have."""
        for axis in AXES:
            for name, values in getattr(self, axis).items():
                where = f"[{axis}.{name}]"
                given = values if axis == "settings" else {axis: values}
                check_keys(Config, given, where=where)
                if "seed" in given:
                    raise ValueError(f"{where}: seeds are those of search_seeds; leave out seed")
                if "method" in given.get("search", {}):
                    raise ValueError(f"{where}: methods are those of methods; leave out search.method")

    @property
    def chooses(self) -> bool:
        """True if one of several cells is selected."""
        return self.select == "best" and len(self.search_seeds) > 1

    @property
    def trains(self) -> bool:
        """True if networks are trained."""
        return bool(self.train_seeds)

    @property
    def compares_methods(self) -> bool:
        """True if variants differ in the method alone, so that their searches can be drawn side by side."""
        return bool(self.methods) and not (self.data or self.space or self.settings)

    @property
    def has_axes(self) -> bool:
        """True if variants are named; otherwise results are those of single cells."""
        return bool(self.methods or self.data or self.space or self.settings)

    @property
    def control_seeds(self) -> tuple[int, ...]:
        """The seeds with which controls, and selected cells, are trained."""
        return self.search_seeds if self.train_seeds == "search" else self.train_seeds

    def seeds_for(self, search_seed: int) -> tuple[int, ...]:
        """The seeds with which the cell of a search is trained."""
        return (search_seed,) if self.train_seeds == "search" else self.train_seeds

    @property
    def num_tasks(self) -> int:
        """The number of searches and trainings."""
        variants = max(len(self.methods), 1)
        for axis in AXES:
            variants *= max(len(getattr(self, axis)), 1)
        searches, trainings = len(self.search_seeds), len(self.control_seeds)
        if self.chooses:
            found = 2 * searches + trainings
        else:
            found = searches * (2 if self.train_seeds == "search" else 1 + trainings)
        return variants * found + trainings * (self.random_controls + len(self.published_controls))

    def variants(self, config: Config) -> tuple[Variant, ...]:
        """Return the variants under these settings, in the order of tables."""
        return tuple(
            Variant(data=data, space=space, settings=settings, method=method)
            for data, space, settings in itertools.product(*(getattr(self, axis) or ("",) for axis in AXES))
            for method in self.methods or (config.search.method,)
        )

    def config_of(self, variant: Variant, config: Config) -> Config:
        """Return a variant's settings. Raises ValueError, naming it, for some that do not go together."""
        given: dict[str, Any] = {}
        for axis in ("data", "space"):
            if name := getattr(variant, axis):
                given[axis] = dict(getattr(self, axis)[name])
        for section, values in self.settings.get(variant.settings, {}).items():
            given[section] = {**given.get(section, {}), **values} if isinstance(values, dict) else values
        if self.methods:
            given["search"] = {**given.get("search", {}), "method": variant.method}
        return settings_from(given, where=variant.title, base=config)

    def search_config(self, config: Config) -> Config:
        """Return the settings of searches, from those of trainings."""
        if self.search_images is None:
            return config
        return dataclasses.replace(config, data=self.search_images.over(config.data))

    def selection_config(self, config: Config) -> Config:
        """Return the settings by which a found cell is judged without the test images."""
        data = dataclasses.replace(config.data, held_out=self.held_out)
        return dataclasses.replace(config, data=data, retrain=self.selection or briefly(config.retrain))

    def check(self, config: Config) -> None:
        """Raise ValueError for settings with which the study cannot be."""
        if len(self.methods) > 1 and config.search.step_size is not None:
            raise ValueError(
                "search.step_size is of one method, and methods names several, each with a rate of its own; leave it "
                "out, or give it in a variant of settings"
            )
        if self.chooses and config.data.held_out > 0:
            raise ValueError("data.held_out cannot be set where select is best; give held_out of the study")
        for variant in self.variants(config):
            made = self.config_of(variant, config)
            if self.score == NASBENCH201:
                _check_nasbench201(made)

    def extends(self, before: "StudySpec", *, path: Path) -> None:
        """Raise ValueError, naming it, for what cannot change once the study in the folder `path` has started.

        Seeds, controls, methods and variants can be added: methods and variants where there were some, searches where
        no cell is selected among them.
        """
        for item in dataclasses.fields(self):
            old, new = getattr(before, item.name), getattr(self, item.name)
            fixed = item.name == "search_seeds" and self.select == "best"
            if item.name == "table":
                grown = True
            elif item.name == "random_controls":
                grown = old <= new
            elif isinstance(old, tuple) and isinstance(new, tuple) and not fixed:
                grown = set(old) <= set(new) and (item.name != "methods" or bool(old) == bool(new))
            elif isinstance(old, dict):
                same = all(new.get(name) == values for name, values in old.items())
                grown = same and bool(old) == bool(new)
            else:
                grown = old == new
            if not grown:
                if isinstance(old, dict):
                    old, new = list(old), list(new)
                plain = old != new and not dataclasses.is_dataclass(old or new)
                said = f" was {old!r}, is {new!r}" if plain else " differs"
                raise ValueError(
                    f"{path} was started with different settings: {item.name}{said}; choose another --name, or start "
                    "over with --overwrite"
                )

    def to_toml(self) -> str:
        """Return the text that `read_spec` reads."""
        return settings_text(self)


def read_spec(folder: Path) -> StudySpec:
    """Return the specification of the study in `folder`. Raises ValueError if there is none, or it is damaged."""
    text = RunFiles(folder).settings_text(FILE)
    if text is None:
        raise ValueError(f"{folder} has no {FILE}, so it cannot be continued; start again under another name")
    return spec_from(parse_toml(text, where=str(folder / FILE)), where=str(folder / FILE))


def spec_from(given: dict[str, Any], *, where: str, base: StudySpec | None = None) -> StudySpec:
    """Return the specification in a TOML table; what it leaves out is as in `base`.

    Raises ValueError, naming `where` it came from, for an unknown key or a wrong value.
    """
    for name, kind in (("selection", RetrainConfig), ("search_images", SearchImages)):
        if isinstance(given.get(name), dict):
            check_keys(kind, given[name], where=where, prefix=name)
    return settings_from(given, where=where, base=base or StudySpec())


def briefly(retrain: RetrainConfig) -> RetrainConfig:
    """Return the training by which a cell is judged, unless the specification says otherwise."""
    return dataclasses.replace(retrain, epochs=max(1, retrain.epochs // BRIEFLY))


def _check_nasbench201(config: Config) -> None:
    """Raise ValueError for a space that the table knows nothing of."""
    if config.space.kind != NASBENCH201:
        raise ValueError(
            f"the score {NASBENCH201} is for searches where space.kind is {NASBENCH201}; got {config.space.kind}; take "
            f"--preset {NASBENCH201}, or --space.kind {NASBENCH201} --space.nodes 3 and experts of it"
        )
    if set(config.space.experts) <= {"none"}:
        raise ValueError(
            f"space.experts must hold an operation beside none; got {' '.join(config.space.experts) or 'nothing'}"
        )
