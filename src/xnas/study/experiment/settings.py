"""The settings of an experiment, as its file gives them: those of a run, and which seeds and cells it is made with.

This file imports nothing heavy, so that mistakes are answered at once.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from xnas.config.limits import MOST_CONTROLS, MOST_RUNS, MOST_SEED, check_range
from xnas.config.loading import read_preset, settings_from
from xnas.config.schema import Config, DataConfig, RetrainConfig, fields_of, settings_text
from xnas.io.text import choose
from xnas.io.toml import parse_toml, read_settings_text
from xnas.runs.finished_files import RunFiles
from xnas.space.published import published_names
from xnas.study.experiment.plan import Select

FILE = "experiment.toml"
"""The file of an experiment's folder that holds what config.toml does not say."""

BRIEFLY = 4
"""A cell is judged after a training of so many times fewer epochs, unless the settings say otherwise."""


@dataclass(frozen=True, kw_only=True)
class SearchImages:
    """How the images of the searches are varied, where that is not as in the trainings; as in [data]."""

    crop: str = "pad"
    padding: int = 4
    flip: bool = True
    policy: str = "none"
    cutout: int = 0

    def __post_init__(self) -> None:
        self.over(DataConfig())  # which checks them

    def over(self, data: DataConfig) -> DataConfig:
        """`data`, varied in this way."""
        return dataclasses.replace(data, **dataclasses.asdict(self))

    @classmethod
    def of(cls, data: DataConfig) -> "SearchImages":
        """As `data` has it."""
        return cls(**{item.name: getattr(data, item.name) for item in dataclasses.fields(cls)})


@dataclass(frozen=True, kw_only=True)
class ExperimentSettings:
    """What is searched, chosen and trained how often."""

    search_seeds: tuple[int, ...] = (0, 1, 2)
    """A search with each. None searches nothing: then there must be cells to train."""
    retrain_seeds: tuple[int, ...] = (0, 1, 2)
    """Every cell is trained on the whole training set with each, and each network is tested once."""
    select: Select = "best"
    """best: the found cell whose network is the most accurate on held-out training images is trained. all: every
    found cell is trained."""
    held_out: float = 0.1
    """Share of each class of the training images that is held out to choose by. The searches see them all."""
    random_cells: int = 0
    """Cells drawn at random that are trained in the same way."""
    published_cells: tuple[str, ...] = ()
    """Names of published cells that are trained in the same way."""
    search_images: SearchImages = field(default_factory=SearchImages)
    """How the images of the searches are varied; by default as in [data]."""
    selection: RetrainConfig = field(default_factory=RetrainConfig)
    """How a cell is trained on what is not held out; by default as in [retrain], in a quarter of the epochs."""

    def __post_init__(self) -> None:
        for name, seeds in (("search_seeds", self.search_seeds), ("retrain_seeds", self.retrain_seeds)):
            for seed in seeds:
                check_range(f"experiment.{name}", seed, 0, MOST_SEED)
        for name in ("search_seeds", "retrain_seeds", "published_cells"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"experiment.{name} must differ; got {' '.join(map(str, values))}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"experiment.held_out must lie in (0, 1); got {self.held_out}")
        check_range("experiment.random_cells", self.random_cells, 0, MOST_CONTROLS)
        for name in self.published_cells:
            choose("published genotype in experiment.published_cells", name, published_names())
        if not self.retrain_seeds:
            raise ValueError("experiment.retrain_seeds must name at least one; got none")
        cells = len(self.search_seeds) + self.random_cells + len(self.published_cells)
        if not cells:
            raise ValueError(
                "experiment.search_seeds names none and there are no other cells; give search_seeds, random_cells or "
                "published_cells"
            )
        if cells * (len(self.retrain_seeds) + 2) > MOST_RUNS:
            raise ValueError(
                f"experiment asks for {cells:,} cells with {len(self.retrain_seeds):,} retrain_seeds; keep their "
                f"product below {MOST_RUNS:,}"
            )

    def check_continues(self, before: "ExperimentSettings", *, path: Path) -> None:
        """Raises ValueError, naming it, for what cannot be changed once an experiment has begun.

        Trainings can be added: seeds, controls, and searches where none is chosen among them.
        """
        may_grow = {"retrain_seeds", "published_cells", "random_cells"}
        if self.select == "all":
            may_grow.add("search_seeds")
        for item in dataclasses.fields(self):
            old, new = getattr(before, item.name), getattr(self, item.name)
            grown = (set(old) <= set(new)) if isinstance(old, tuple) else old == new
            if item.name == "random_cells":
                grown = old <= new
            if old != new and not (item.name in may_grow and grown):
                shown = not dataclasses.is_dataclass(old)
                said = f" was {old!r}, is {new!r}" if shown else " differs"
                raise ValueError(
                    f"{path} was begun with other settings: experiment.{item.name}{said}; choose "
                    "another --name, or start anew with --overwrite"
                )


@dataclass(frozen=True, kw_only=True)
class ExperimentFile(Config):
    """What the file of an experiment may hold."""

    preset: str = ""
    """Settings to start from; without one, those of Config."""
    experiment: ExperimentSettings = field(default_factory=ExperimentSettings)


def read_experiment(path: Path) -> tuple[Config, ExperimentSettings]:
    """The settings of a run, and of the experiment, in a TOML file.

    Raises ValueError, in one line that names the file, for anything that it must not hold.
    """
    given = parse_toml(read_settings_text(path), where=str(path))
    if "experiment" not in given:
        raise ValueError(f"{path} has no section [experiment]; give it one, such as search_seeds = [0, 1, 2]")
    preset = given.get("preset")
    start = read_preset(preset) if preset is not None else Config()
    base = ExperimentFile(**fields_of(start))
    # Twice: what the selection leaves out is as in [retrain], which the file says, too.
    config = settings_from(given, where=str(path), base=base)
    like = ExperimentSettings(selection=_briefly(config.retrain), search_images=SearchImages.of(config.data))
    base = dataclasses.replace(base, experiment=like)
    found = settings_from(given, where=str(path), base=base)
    data = found.data
    if data.held_out > 0:
        raise ValueError(
            f"{path}: data.held_out has no place in an experiment, which has experiment.held_out"
        )
    if data.split_seed is None:  # or every seed would be tested on images of its own
        data = dataclasses.replace(data, split_seed=found.seed)
    return Config(**{**fields_of(found), "data": data}), found.experiment


def read_begun(folder: Path) -> ExperimentSettings | None:
    """The settings of the experiment in `folder`, if it has begun. Raises ValueError if they are damaged."""
    path = folder / FILE
    text = RunFiles(folder).settings_text(FILE)
    if text is None:
        return None
    given = parse_toml(text, where=str(path))
    return settings_from(given, where=str(path), base=ExperimentSettings(), section="experiment")


def begun_text(settings: ExperimentSettings) -> str:
    """The settings as `read_begun` reads them."""
    return settings_text(settings)


def _briefly(retrain: RetrainConfig) -> RetrainConfig:
    return dataclasses.replace(retrain, epochs=max(1, retrain.epochs // BRIEFLY))
