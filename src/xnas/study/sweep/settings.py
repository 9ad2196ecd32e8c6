"""The settings of a sweep, as its file gives them: those of a run, and the grid of what they are varied in.

This file imports nothing heavy, so that mistakes are answered at once.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from xnas.config.limits import MOST_SEED, check_range
from xnas.config.loading import check_keys, read_preset, settings_from
from xnas.config.schema import Config, fields_of, located
from xnas.io.text import choose, short_repr
from xnas.io.toml import parse_toml, read_settings_text
from xnas.optimizers.registry import METHODS
from xnas.runs.finished_files import RunFiles
from xnas.study.sweep.plan import AXES, Variant

FILE = "sweep.toml"
"""The file of a sweep's folder that holds what config.toml does not say."""

MOST_TASKS = 10_000
LONGEST_NAME = 32

Variants = dict[str, dict[str, Any]]
"""By the name of each, the settings in which it differs, by section."""


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What is searched and trained how often: every variant of each axis with every one of the others."""

    search_seeds: tuple[int, ...] = (0, 1, 2)
    """A search with each, in every cell of the grid."""
    retrain_seeds: tuple[int, ...] = (0,)
    """Every cell that a search finds is trained with each; none trains nothing."""
    methods: tuple[str, ...] = ()
    """What learns the architecture weights; by default search.method."""
    data: Variants = field(default_factory=dict)
    """Variants of [data], by name; by default that one."""
    space: Variants = field(default_factory=dict)
    """Variants of [space], by name; by default that one."""
    settings: Variants = field(default_factory=dict)
    """Variants of any other settings, by name; by default none."""

    def __post_init__(self) -> None:
        for name in ("search_seeds", "retrain_seeds"):
            for seed in getattr(self, name):
                check_range(f"sweep.{name}", seed, 0, MOST_SEED)
        for name in self.methods:
            choose("method in sweep.methods", name, METHODS)
        for name in ("search_seeds", "retrain_seeds", "methods"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"sweep.{name} must differ; got {' '.join(map(str, values))}")
        if not self.search_seeds:
            raise ValueError("sweep.search_seeds must name at least one; got none")
        for axis in AXES:
            for name in getattr(self, axis):
                if not re.fullmatch(r"\w[\w.]*", name, re.ASCII) or len(name) > LONGEST_NAME:
                    raise ValueError(
                        f"a name in sweep.{axis} is letters, digits, '_' and '.', at most {LONGEST_NAME} of them; "
                        f"got {short_repr(name)}"
                    )
        # Where it goes on, the current folder may be another.
        data = {name: located(values) for name, values in self.data.items()}
        object.__setattr__(self, "data", data)
        settings = {
            name: values | {"data": located(values["data"])}
            if isinstance(values.get("data"), dict)
            else values
            for name, values in self.settings.items()
        }
        object.__setattr__(self, "settings", settings)
        if self.num_tasks > MOST_TASKS:
            raise ValueError(
                f"sweep asks for {self.num_tasks:,} searches and trainings; keep to {MOST_TASKS:,}, in several sweeps"
            )

    @property
    def num_tasks(self) -> int:
        """Searches and trainings."""
        cells = max(len(self.methods), 1)
        for axis in AXES:
            cells *= max(len(getattr(self, axis)), 1)
        return cells * len(self.search_seeds) * (1 + len(self.retrain_seeds))

    def cells(self, config: Config) -> Iterator[Variant]:
        """The cells of the grid, in the order of tables."""
        for data, space, settings in itertools.product(*(getattr(self, axis) or ("",) for axis in AXES)):
            for method in self.methods or (config.search.method,):
                yield Variant(data=data, space=space, settings=settings, method=method)

    def config_of(self, cell: Variant, config: Config) -> Config:
        """The settings of a cell, of any seed. Raises ValueError, naming it, for some that do not go together."""
        given: dict[str, Any] = {}
        for axis in ("data", "space"):
            if name := getattr(cell, axis):
                given[axis] = dict(getattr(self, axis)[name])
        for section, values in self.settings.get(cell.settings, {}).items():
            given[section] = {**given.get(section, {}), **values} if isinstance(values, dict) else values
        if self.methods:
            given["search"] = {**given.get("search", {}), "method": cell.method}
        return settings_from(given, where=f"sweep, {cell.title}", base=config)

    def check_continues(self, before: "SweepSettings", *, path: Path) -> None:
        """Raises ValueError, naming it, for what cannot be changed once a sweep has begun.

        Seeds, methods and variants can be added, where there were some.
        """
        for item in dataclasses.fields(self):
            old, new = getattr(before, item.name), getattr(self, item.name)
            if isinstance(old, tuple):
                grown = set(old) <= set(new) and (bool(old) or item.name == "retrain_seeds" or not new)
            else:
                grown = all(new.get(name) == values for name, values in old.items()) and bool(old) == bool(
                    new
                )
            if not grown:
                said = f" was {list(old)}, is {list(new)}" if list(old) != list(new) else " differs"
                raise ValueError(
                    f"{path} was begun with other settings: sweep.{item.name}{said}; choose another --name, or start "
                    "anew with --overwrite"
                )


@dataclass(frozen=True, kw_only=True)
class SweepFile(Config):
    """What the file of a sweep may hold."""

    preset: str = ""
    """Settings to start from; without one, those of Config."""
    sweep: SweepSettings = field(default_factory=SweepSettings)


def read_sweep(path: Path) -> tuple[Config, SweepSettings]:
    """The settings of a run, and of the sweep, in a TOML file.

    Raises ValueError, in one line that names the file, for anything that it must not hold.
    """
    given = parse_toml(read_settings_text(path), where=str(path))
    if "sweep" not in given:
        raise ValueError(f"{path} has no section [sweep]; give it one, such as search_seeds = [0, 1, 2]")
    preset = given.get("preset")
    start = read_preset(preset) if preset is not None else Config()
    found = settings_from(given, where=str(path), base=SweepFile(**fields_of(start)))
    _check_variants(found.sweep, where=str(path))
    data = found.data
    if data.split_seed is None:  # or every seed would be tested on images of its own
        data = dataclasses.replace(data, split_seed=found.seed)
    config = Config(**{**fields_of(found), "data": data})
    if len(found.sweep.methods) > 1 and config.search.step_size is not None:
        raise ValueError(
            f"{path}: search.step_size is of one method, and sweep.methods names several, each with a rate of "
            "its own; leave it out, or give it in a variant of [sweep.settings]"
        )
    for cell in found.sweep.cells(config):
        try:
            found.sweep.config_of(cell, config)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return config, found.sweep


def read_begun(folder: Path) -> SweepSettings | None:
    """The settings of the sweep in `folder`, if it has begun. Raises ValueError if they are damaged."""
    path = folder / FILE
    text = RunFiles(folder).settings_text(FILE)
    if text is None:
        return None
    given = parse_toml(text, where=str(path))
    settings = settings_from(given, where=str(path), base=SweepSettings(), section="sweep")
    _check_variants(settings, where=str(path))
    return settings


def begun_text(settings: SweepSettings) -> str:
    """The settings as `read_begun` reads them."""
    values = {
        item.name: list(value) if isinstance(value := getattr(settings, item.name), tuple) else value
        for item in dataclasses.fields(settings)
    }
    return tomli_w.dumps(values)


def _check_variants(settings: SweepSettings, *, where: str) -> None:
    """Raises ValueError, in the words of the file, for a setting that there is not, or has no place in a variant."""
    for axis in AXES:
        for name, values in getattr(settings, axis).items():
            place = f"{where}: [sweep.{axis}.{name}]"
            given = values if axis == "settings" else {axis: values}
            check_keys(Config, given, where=place)
            if "seed" in given:
                raise ValueError(f"{place}: seeds are those of sweep.search_seeds; leave out seed")
            if "method" in given.get("search", {}):
                raise ValueError(f"{place}: methods are those of sweep.methods; leave out search.method")
