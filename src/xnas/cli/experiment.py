"""xnas experiment: several searches, several trainings of what they found, and the result by a stated protocol."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xnas.cli.arguments import parse
from xnas.cli.from_file import FromFile
from xnas.study.experiment.settings import FILE, ExperimentSettings, begun_text, read_begun, read_experiment
from xnas.study.ray_options import RayOptions
from xnas.study.runner import Study, TaskType, run_study, searching

if TYPE_CHECKING:
    from xnas.runs.folder import RunFolder
    from xnas.train.context import RunRequest

DESCRIPTION = """Search with several seeds, choose a cell by training images that were held out, train it on the whole
training set with several seeds, test each network once, and report mean, spread, worst and n. The same command, or xnas
resume, goes on with what is missing.

FILE is TOML: `preset`, a name, and the sections of config.toml to override it; and the section [experiment] with
search_seeds and retrain_seeds (lists); select = "best" (the cell that is the most accurate on held-out training images
is trained) or "all" (every cell is trained, none is chosen); held_out (their share); random_cells (how many are trained
as controls); published_cells (names). [experiment.selection] has the settings of [retrain] in which the training that
judges a cell differs, and [experiment.search_images] those of [data] (crop, padding, flip, policy, cutout) in which the
searches do. Examples: experiment.toml and paper_experiment.toml in the folder examples."""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    arguments = parse(FromFile, argv, verb="experiment", description=DESCRIPTION)
    pool = arguments.pool()
    config, settings = read_experiment(arguments.file)
    from xnas.runs.folder import EXPERIMENT

    return carry_out(arguments.request(config, verb=EXPERIMENT), settings, pool=pool)


def resume(request: "RunRequest", *, pool: RayOptions | None = None) -> int:
    """Go on with an experiment. Raises ValueError if its folder does not say what it is."""
    folder = request.place.runs / str(request.place.name)
    settings = read_begun(folder)
    if settings is None:
        raise ValueError(f"{folder} has no {FILE}, so it cannot be continued; start anew under another name")
    return carry_out(request, settings, pool=pool)


def carry_out(request: "RunRequest", settings: ExperimentSettings, *, pool: RayOptions | None = None) -> int:
    """Begin an experiment or go on with it; returns the exit code: 2 if a task's numbers broke down, 3 if memory."""
    from xnas.runs.folder import RESULT
    from xnas.study.experiment.page import write_experiment
    from xnas.study.experiment.results import read_results
    from xnas.study.experiment.summary import format_results
    from xnas.study.experiment.tasks import (
        SEARCH,
        SELECT,
        TRAIN,
        check_experiment,
        experiment_tasks,
        genotype_of,
        plan_of,
    )

    if (earlier := request.existing()) is not None and (begun := read_begun(earlier.path)) is not None:
        settings.check_continues(begun, path=earlier.path)
    plan = plan_of(settings, request.config)

    def describe(folder: "RunFolder") -> None:
        folder.write_text(FILE, begun_text(settings))

    training = TaskType(
        verb="retrain",
        files=(RESULT,),
        genotype=lambda task, path: genotype_of(task, plan, folder=path),
    )
    whole = Study(
        noun="experiment",
        tasks=experiment_tasks(settings, request.config),
        kinds={SEARCH: searching(), SELECT: training, TRAIN: training},
        check=lambda config, data: check_experiment(settings, config, data),
        write=lambda path, failures: write_experiment(path, plan, failures=failures),
        summary=lambda path, failures: format_results(read_results(path, plan, failures=failures)),
        describe=describe,
    )
    return run_study(request, whole, pool=pool)
