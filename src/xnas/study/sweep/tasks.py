"""A sweep: a search for every cell of a grid and every seed, and trainings of what each finds, as tasks."""

import dataclasses
from pathlib import Path

from xnas.config.schema import Config
from xnas.data.images import DataSet
from xnas.io.safe_read import check_folder
from xnas.runs.folder import RunFolder
from xnas.space.architecture import Architecture
from xnas.study.scheduler import Task
from xnas.study.sweep.plan import SweepSpec
from xnas.study.sweep.settings import SweepSettings
from xnas.train.retrain import validate_retrain
from xnas.train.search import validate_search

SEARCH, TRAIN = "search", "training"
"""The kinds of tasks."""


def plan_of(settings: SweepSettings, config: Config) -> SweepSpec:
    """What is done under these settings, as far as a report is concerned."""
    return SweepSpec(
        cells=tuple(settings.cells(config)),
        search_seeds=settings.search_seeds,
        retrain_seeds=settings.retrain_seeds,
    )


def sweep_tasks(settings: SweepSettings, config: Config) -> list[Task]:
    """All tasks, none before those that it needs; seed by seed, so that all cells have the first seeds."""
    plan = plan_of(settings, config)
    configs = {cell: settings.config_of(cell, config) for cell in plan.cells}
    tasks = []
    for seed in plan.search_seeds:
        tasks += [
            Task(
                name=cell.search_folder(seed),
                title=f"search, {cell.title}, seed {seed}",
                kind=SEARCH,
                config=dataclasses.replace(configs[cell], seed=seed),
            )
            for cell in plan.cells
        ]
        tasks += [
            Task(
                name=cell.training_folder(seed, retrain_seed),
                title=f"training, {cell.title}, search seed {seed}, seed {retrain_seed}",
                kind=TRAIN,
                config=dataclasses.replace(configs[cell], seed=retrain_seed),
                after=(cell.search_folder(seed),),
            )
            for retrain_seed in plan.retrain_seeds
            for cell in plan.cells
        ]
    return tasks


def cell_configs(settings: SweepSettings, config: Config) -> tuple[Config, ...]:
    """The settings of every cell, those with the same images beside each other."""
    configs = [settings.config_of(cell, config) for cell in settings.cells(config)]
    order = list(dict.fromkeys(each.data for each in configs))
    return tuple(sorted(configs, key=lambda each: order.index(each.data)))


def check_cell(settings: SweepSettings, config: Config, data: DataSet) -> None:
    """Raises ValueError for settings with which a task of a cell could not begin on these images."""
    validate_search(config, data)
    if settings.retrain_seeds:
        validate_retrain(config, data)


def genotype_of(task: Task, *, folder: Path) -> Architecture:
    """What a training of a sweep's `folder` trains. Raises ValueError if a file that says so is damaged."""
    check_folder(folder / task.after[0], inside=folder)
    return RunFolder(folder / task.after[0]).genotype()
