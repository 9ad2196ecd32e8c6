"""A study as tasks: searches, trainings by which a cell is selected, and trainings of what is found and of controls.

search-VARIANT-SEED: a search. select-VARIANT-SEED: the training by which its cell is judged, on training images alone.
CELL-seed-SEED: the training of a cell on all training images. selection.json: which cells were selected, and by what.
The test images are read once for each network of the last kind, and for nothing else.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from xnas.config.schema import Config
from xnas.data.images import DataSet
from xnas.data.sampling import hold_out
from xnas.io.safe_read import check_folder
from xnas.runs.finished_files import RunFiles
from xnas.runs.folder import Result, RunFolder, read_result
from xnas.space.architecture import Architecture
from xnas.space.published import published_genotype
from xnas.study.scheduler import Task
from xnas.study.spec import StudySpec, Variant
from xnas.train.build import random_genotypes
from xnas.train.retrain import validate_retrain
from xnas.train.search import validate_search

SEARCH, SELECT, TRAIN = "search", "select", "train"
"""The kinds of tasks."""
SELECTION = "selection.json"

Source = Literal["found", "selected", "random", "published"]


@dataclass(frozen=True, kw_only=True)
class StudyCell:
    """A cell whose networks are trained, or that is looked up."""

    source: Source
    name: str
    """The first part of the names of its folders."""
    title: str
    variant: Variant | None = None
    """None for a control."""
    search_seed: int | None = None
    """The seed of the search that found it; None for a control, and for one that is yet to be selected."""
    genotype: Architecture | None = None
    """The architecture of a control; None for others, which are in their searches' folders."""

    def folder(self, seed: int) -> str:
        """Return the name of the folder of its training with `seed`."""
        return f"{self.name}-seed-{seed}"


def search_folder(variant: Variant, seed: int) -> str:
    """Return the name of the folder of a search."""
    return f"search-{variant.folder}-{seed}"


def selection_folder(variant: Variant, seed: int) -> str:
    """Return the name of the folder of the training by which the cell of a search is judged."""
    return f"select-{variant.folder}-{seed}"


def study_cells(spec: StudySpec, config: Config) -> tuple[StudyCell, ...]:
    """Return the cells, in the order of tables."""
    return tuple(_cells(spec, config))


def _cells(spec: StudySpec, config: Config) -> Iterator[StudyCell]:
    for variant in spec.variants(config):
        of = variant.title if spec.has_axes else ""
        if spec.chooses:
            name = f"selected-{variant.folder}"
            title = f"selected cell{f' of {of}' * bool(of)}"
            yield StudyCell(source="selected", name=name, title=title, variant=variant)
            continue
        for seed in spec.search_seeds:
            yield StudyCell(
                source="found",
                name=f"found-{variant.folder}-{seed}",
                title=f"cell of {f'{of}, ' * bool(of)}search seed {seed}",
                variant=variant,
                search_seed=seed,
            )
    for name, genotype in random_genotypes(config, count=spec.random_controls).items():
        yield StudyCell(source="random", name=name, title=name.replace("-", " cell "), genotype=genotype)
    for name in spec.published_controls:
        title, genotype = f"published {name} cell", published_genotype(name)
        yield StudyCell(source="published", name=name, title=title, genotype=genotype)


def tasks(spec: StudySpec, config: Config) -> list[Task]:
    """Return all tasks, none before those that it needs; seed by seed, so that all variants have the first seeds."""
    variants = spec.variants(config)
    configs = {variant: spec.config_of(variant, config) for variant in variants}
    cells = study_cells(spec, config)
    made: dict[str, Task] = {}

    def add(task: Task) -> None:
        made.setdefault(task.name, task)

    def train(seed: int, search_seed: int | None) -> None:
        for cell in cells:
            if cell.variant is not None and cell.search_seed != search_seed:
                continue
            after: tuple[str, ...] = ()
            if cell.variant is not None and search_seed is not None:
                after = (search_folder(cell.variant, search_seed),)
            elif cell.variant is not None:
                after = tuple(selection_folder(cell.variant, each) for each in spec.search_seeds)
            add(
                Task(
                    name=cell.folder(seed),
                    title=f"{cell.title}, seed {seed}",
                    kind=TRAIN,
                    config=replace(configs[cell.variant] if cell.variant else config, seed=seed),
                    after=after,
                    genotype=cell.genotype,
                    allow_partial=cell.source == "selected",
                )
            )

    for search_seed in spec.search_seeds:
        for variant in variants:
            add(
                Task(
                    name=search_folder(variant, search_seed),
                    title=f"search, {variant.title}, seed {search_seed}",
                    kind=SEARCH,
                    config=replace(spec.search_config(configs[variant]), seed=search_seed),
                )
            )
        for seed in spec.seeds_for(search_seed) if not spec.chooses else ():
            train(seed, search_seed)
    for search_seed in spec.search_seeds if spec.chooses else ():
        for variant in variants:
            add(
                Task(
                    name=selection_folder(variant, search_seed),
                    title=f"judging the cell of {variant.title}, search seed {search_seed}, on held-out images",
                    kind=SELECT,
                    config=spec.selection_config(configs[variant]),
                    after=(search_folder(variant, search_seed),),
                )
            )
    for seed in spec.control_seeds if spec.chooses or not spec.search_seeds else ():
        train(seed, None)
    return list(made.values())


def check_data(spec: StudySpec, config: Config, data: DataSet) -> None:
    """Raise ValueError for settings of a variant with which a task could not start on these images."""
    if spec.search_seeds:
        validate_search(spec.search_config(config), data)
    if spec.trains:
        validate_retrain(config, data)
    if spec.chooses:
        part = hold_out(data, share=spec.held_out, seed=config.data.split_seed or 0)
        validate_retrain(spec.selection_config(config), part)


def genotype_of(task: Task, spec: StudySpec, config: Config, *, folder: Path) -> Architecture:
    """Return what a training trains. Raises ValueError if a file of the study's `folder` that says so is damaged."""
    if task.genotype is not None:
        return task.genotype
    source = task.after[0]
    if task.allow_partial:
        variant = next(
            each for each in spec.variants(config) if selection_folder(each, spec.search_seeds[0]) == source
        )
        source = search_folder(variant, select(variant, spec, folder=folder))
    check_folder(folder / source, inside=folder)
    return RunFolder(folder / source).genotype()


def select(variant: Variant, spec: StudySpec, *, folder: Path) -> int:
    """Return the seed of the search whose cell did best on the held-out images; written down when first asked for.

    Of equal accuracies the smaller loss counts, then the order of the seeds. Raises ValueError for a damaged file.
    """
    before = read_selection(folder, spec)
    if variant.folder in before:
        return before[variant.folder]
    scores: dict[int, Result] = {}
    for seed in spec.search_seeds:
        path = folder / selection_folder(variant, seed)
        check_folder(path, inside=folder)
        if (result := read_result(path)) is not None:
            scores[seed] = result
    chosen = max(scores, key=lambda seed: (scores[seed].test_accuracy, -scores[seed].test_loss))
    values = {"format": "xnas-selection", "version": 1, "chosen": before | {variant.folder: chosen}}
    RunFiles(folder).write({SELECTION: (json.dumps(values, indent=2) + "\n").encode()})
    return chosen


def read_selection(folder: Path, spec: StudySpec) -> dict[str, int]:
    """Return the search seeds that were selected, by `Variant.folder`. Raises ValueError for a damaged file."""
    said = RunFiles(folder).json_object(SELECTION)
    if said is None:
        return {}
    chosen = said.nested("chosen")
    found = {name: chosen.integer(name) for name in chosen.values}
    for seed in found.values():
        if seed not in spec.search_seeds:
            raise ValueError(f"{folder / SELECTION} selects the search with seed {seed}, which there is not")
    return found
