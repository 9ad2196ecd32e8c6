"""An experiment: N searches, M trainings of what they found, and controls, as tasks.

The test images are read once for each network that is trained on the whole training set, and for nothing else: where a
cell is chosen among several, that is done by networks that were trained on a part of the training images and scored on
the rest of them.
"""

import dataclasses
import json
from pathlib import Path

from xnas.config.limits import MOST_SEED
from xnas.config.schema import Config
from xnas.data.hold_out import hold_out
from xnas.data.images import DataSet
from xnas.io.safe_read import check_folder
from xnas.report.format import source_name
from xnas.runs.finished_files import RunFiles
from xnas.runs.folder import Result, RunFolder, read_result
from xnas.space.architecture import Architecture
from xnas.space.published import published_genotype
from xnas.study.experiment.plan import (
    SELECTION,
    ExperimentSpec,
    search_folder,
    selection_folder,
    training_folder,
)
from xnas.study.experiment.settings import ExperimentSettings
from xnas.study.scheduler import Task
from xnas.train.build import random_genotypes
from xnas.train.retrain import validate_retrain
from xnas.train.search import validate_search

SEARCH, SELECT, TRAIN = "search", "select", "train"
"""The kinds of tasks."""


def plan_of(settings: ExperimentSettings, config: Config) -> ExperimentSpec:
    """What is done under these settings, as far as a report is concerned."""
    return ExperimentSpec(
        data=source_name(config.data.source),
        method=config.search.method,
        search_seeds=settings.search_seeds,
        retrain_seeds=settings.retrain_seeds,
        select=settings.select,
        held_out=settings.held_out,
        selection_epochs=settings.selection.epochs,
        epochs=config.retrain.epochs,
        random=tuple(random_genotypes(config, count=settings.random_cells)),
        published=settings.published_cells,
    )


def experiment_tasks(settings: ExperimentSettings, config: Config) -> list[Task]:
    """All tasks, none before those that it needs; trainings seed by seed, so that all cells have the first seeds."""
    plan = plan_of(settings, config)
    searches = [
        Task(
            name=search_folder(seed),
            title=f"search, seed {seed}",
            kind=SEARCH,
            config=dataclasses.replace(search_config(settings, config), seed=seed),
        )
        for seed in plan.search_seeds
    ]
    judging = selection_config(settings, config)
    selections = [
        Task(
            name=selection_folder(seed),
            title=f"judging the cell of search seed {seed} on held-out training images",
            kind=SELECT,
            config=judging,
            after=(search_folder(seed),),
        )
        for seed in (plan.search_seeds if plan.chooses else ())
    ]
    controls = random_genotypes(config, count=settings.random_cells)
    controls |= {name: published_genotype(name) for name in plan.published}
    needs = {f"found-{seed}": (search_folder(seed),) for seed in plan.search_seeds}
    trainings = [
        Task(
            name=training_folder(cell.name, seed),
            title=f"{cell.title}, seed {seed}",
            kind=TRAIN,
            config=dataclasses.replace(config, seed=seed),
            after=()
            if cell.name in controls
            else needs.get(cell.name, tuple(task.name for task in selections)),
            genotype=controls.get(cell.name),
            allow_partial=cell.kind == "selected",
        )
        for seed in plan.retrain_seeds
        for cell in plan.cells
    ]
    return [*searches, *selections, *trainings]


def search_config(settings: ExperimentSettings, config: Config) -> Config:
    """The settings of the searches."""
    return dataclasses.replace(config, data=settings.search_images.over(config.data))


def selection_config(settings: ExperimentSettings, config: Config) -> Config:
    """The settings by which a found cell is judged without the test images."""
    data = dataclasses.replace(config.data, held_out=settings.held_out)
    return dataclasses.replace(config, data=data, retrain=settings.selection)


def check_experiment(settings: ExperimentSettings, config: Config, data: DataSet) -> None:
    """Raises ValueError for settings with which a task could not begin on these images."""
    validate_retrain(config, data)
    if settings.search_seeds:
        validate_search(search_config(settings, config), data)
    if plan_of(settings, config).chooses:
        part = hold_out(data, share=settings.held_out, seed=config.data.split_seed or 0)
        validate_retrain(selection_config(settings, config), part)


def genotype_of(task: Task, plan: ExperimentSpec, *, folder: Path) -> Architecture:
    """What a task of an experiment's `folder` trains. Raises ValueError if a file that says so is damaged."""
    if task.genotype is not None:
        return task.genotype
    source = search_folder(chosen_seed(plan, folder=folder)) if task.allow_partial else task.after[0]
    check_folder(folder / source, inside=folder)
    return RunFolder(folder / source).genotype()


def chosen_seed(plan: ExperimentSpec, *, folder: Path) -> int:
    """The seed of the search whose cell did best on the held-out images; written down when it is first asked for.

    Of equal accuracies the smaller loss counts, then the order of the seeds. Raises ValueError for a damaged file.
    """
    files = RunFiles(folder)
    said = files.json_object(SELECTION)
    if said is not None:
        return said.integer("chosen", most=MOST_SEED)
    scores: dict[int, Result] = {}
    for seed in plan.search_seeds:
        path = folder / selection_folder(seed)
        check_folder(path, inside=folder)
        if (result := read_result(path)) is not None:
            scores[seed] = result
    chosen = max(scores, key=lambda seed: (scores[seed].test_accuracy, -scores[seed].test_loss))
    values = {
        "format": "xnas-selection",
        "version": 1,
        "chosen": chosen,
        "held_out_accuracy": {str(seed): result.test_accuracy for seed, result in scores.items()},
    }
    files.write({SELECTION: (json.dumps(values, indent=2) + "\n").encode()})
    return chosen
