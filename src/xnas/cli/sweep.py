"""xnas sweep: a grid of searches, trainings of what they find, here one after another or on a cluster."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xnas.cli.arguments import parse
from xnas.cli.from_file import FromFile
from xnas.study.ray_options import RayOptions
from xnas.study.runner import Study, TaskType, run_study, searching
from xnas.study.sweep.settings import FILE, SweepSettings, begun_text, read_begun, read_sweep

if TYPE_CHECKING:
    from xnas.runs.folder import RunFolder
    from xnas.train.context import RunRequest

DESCRIPTION = """Search in every cell of a grid with several seeds, train what each search finds from scratch with
several seeds, and report mean, spread, worst and n of each cell. Without --address one after another; with it on a Ray
cluster, many at once. The same command, or xnas resume, goes on with what is missing: a search or training that was
lost goes on from its own checkpoint, and one that has ended is not done again.

FILE is TOML: `preset`, a name, and the sections of config.toml to override it; and the section [sweep] with
search_seeds, retrain_seeds and methods (lists). [sweep.data.NAME] is a variant of [data], [sweep.space.NAME] one of
[space], and [sweep.settings.NAME] one of any settings, such as search.learning_rate = 0.1: the settings in which it
differs. Every variant goes with every one of the others. Example: sweep.toml in the folder examples."""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    arguments = parse(FromFile, argv, verb="sweep", description=DESCRIPTION)
    pool = arguments.pool()
    config, settings = read_sweep(arguments.file)
    from xnas.runs.folder import SWEEP

    return carry_out(arguments.request(config, verb=SWEEP), settings, pool=pool)


def resume(request: "RunRequest", *, pool: RayOptions | None = None) -> int:
    """Go on with a sweep. Raises ValueError if its folder does not say what it is."""
    folder = request.place.runs / str(request.place.name)
    settings = read_begun(folder)
    if settings is None:
        raise ValueError(f"{folder} has no {FILE}, so it cannot be continued; start anew under another name")
    return carry_out(request, settings, pool=pool)


def carry_out(request: "RunRequest", settings: SweepSettings, *, pool: RayOptions | None = None) -> int:
    """Begin a sweep or go on with it; returns the exit code: 2 if a task's numbers broke down, 3 if memory did."""
    from xnas.runs.folder import RESULT
    from xnas.study.sweep.page import write_sweep
    from xnas.study.sweep.results import read_results
    from xnas.study.sweep.summary import format_results
    from xnas.study.sweep.tasks import (
        SEARCH,
        TRAIN,
        cell_configs,
        check_cell,
        genotype_of,
        plan_of,
        sweep_tasks,
    )

    if (earlier := request.existing()) is not None and (begun := read_begun(earlier.path)) is not None:
        settings.check_continues(begun, path=earlier.path)
    plan = plan_of(settings, request.config)

    def describe(folder: "RunFolder") -> None:
        folder.write_text(FILE, begun_text(settings))

    training = TaskType(
        verb="retrain", files=(RESULT,), genotype=lambda task, path: genotype_of(task, folder=path)
    )
    whole = Study(
        noun="sweep",
        tasks=sweep_tasks(settings, request.config),
        kinds={SEARCH: searching(), TRAIN: training},
        check=lambda config, data: check_cell(settings, config, data),
        write=lambda path, failures: write_sweep(path, plan, failures=failures),
        summary=lambda path, failures: format_results(read_results(path, plan, failures=failures)),
        describe=describe,
        checked=cell_configs(settings, request.config),
    )
    return run_study(request, whole, pool=pool)
