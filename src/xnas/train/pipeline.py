"""The jobs: search, retraining, and both with controls and a test, in a run folder that is new or resumed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from xnas.config.schema import Config
    from xnas.data.images import DataSet
    from xnas.runs.callbacks import Callback
    from xnas.runs.folder import RunFolder
    from xnas.runs.signals import StopRequest
    from xnas.space.architecture import Architecture
    from xnas.train.context import RunRequest


def search(
    config: "Config",
    data: "DataSet",
    *,
    folder: "str | Path",
    device: "torch.device | None" = None,
    callback: "Callback | None" = None,
) -> "Architecture":
    """Search an architecture in `folder`, made if it is missing and resumed if it is there; returns the genotype.

    A search that has ended there is not done again. A first signal ends it after the step, saved. Raises ValueError if
    the folder has other settings or images, or is in use; NonFinite, OutOfMemory and CannotWrite; Interrupted.
    """
    from xnas.train.device import pick_device
    from xnas.train.search import SearchTrainer, fit_search

    with _open(folder) as (run, interrupt):
        trainer = SearchTrainer(config, data, device=device or pick_device(config.device))
        return fit_search(trainer, folder=run, progress=callback, interrupt=interrupt)


def retrain(
    genotype: "Architecture",
    config: "Config",
    data: "DataSet",
    *,
    folder: "str | Path",
    name: str = "found",
    device: "torch.device | None" = None,
    callback: "Callback | None" = None,
) -> dict[str, object]:
    """Train the network of `genotype` from scratch in `folder` and test it once; returns the values of result.json.

    Resumes, ends and raises as `search` does.
    """
    from xnas.train.device import pick_device
    from xnas.train.retrain import fit_retrain

    with _open(folder) as (run, interrupt):
        return fit_retrain(
            genotype,
            config,
            data,
            name=name,
            device=device or pick_device(config.device),
            folder=run,
            progress=callback,
            interrupt=interrupt,
        )


@contextmanager
def _open(folder: "str | Path") -> "Iterator[tuple[RunFolder, StopRequest]]":
    from xnas.runs.folder import RunFolder
    from xnas.runs.lock import locked
    from xnas.runs.signals import stop_on_signals

    run = RunFolder.at(folder)
    with locked(run.path), stop_on_signals() as interrupt:
        yield run, interrupt


def run_job(request: "RunRequest") -> int:
    """Begin the whole job or go on with it; returns the exit code. What has ended is not done again."""
    from xnas.report.results_table import format_table, result_table
    from xnas.runs.folder import GENOTYPE
    from xnas.train.build import control_genotypes
    from xnas.train.context import RunContext
    from xnas.train.retrain import fit_retrain, validate_retrain
    from xnas.train.search import SearchTrainer, fit_search

    earlier = request.existing()
    session = RunContext.open(request)
    config, data, device, display = request.config, session.data, session.device, session.display
    validate_retrain(config, data)
    searched = earlier is not None and earlier.has(GENOTYPE)
    trainer = None if searched else SearchTrainer(config, data, device=device)
    with session.open_run() as (folder, interrupt):
        if trainer is not None:
            fit_search(trainer, folder=folder, progress=display, interrupt=interrupt)
            trainer = None  # retraining needs the memory
        places = {"found": (folder, folder.genotype())}
        for name, control in control_genotypes(config, count=request.job.controls).items():
            places[name] = (folder.child("controls", name), control)
        for name, (place, genotype) in places.items():
            if place is not folder:
                log.info(f"control: {name}")
                place.write_genotype(genotype)
            fit_retrain(
                genotype,
                config,
                data,
                name=name,
                device=device,
                folder=place,
                progress=display,
                interrupt=interrupt,
            )
            if place is not folder:
                folder.keep_control(name)
    log.info(format_table(result_table(folder.path)))
    return 0


def run_search(request: "RunRequest") -> int:
    """Begin a search or go on with it; returns the exit code."""
    from xnas.report.page import PAGE
    from xnas.runs.folder import GENOTYPE
    from xnas.space.architecture import architecture_text
    from xnas.train.context import RunContext
    from xnas.train.search import SearchTrainer, fit_search

    earlier = request.existing()
    if earlier is not None and earlier.has(GENOTYPE) and earlier.has(PAGE):
        log.info(f"the search in {earlier.path} has ended; it is not done again without --overwrite")
        genotype, folder = earlier.genotype(), earlier
    else:
        session = RunContext.open(request)
        trainer = SearchTrainer(session.request.config, session.data, device=session.device)
        with session.open_run() as (folder, interrupt):
            genotype = fit_search(trainer, folder=folder, progress=session.display, interrupt=interrupt)
    log.info(architecture_text(genotype))
    if request.whole is None:
        log.info(f"train its network with: xnas retrain {folder.path}")
    return 0


def run_retrain(request: "RunRequest", genotype: "Architecture", *, anew: bool = False) -> int:
    """Begin a retraining or go on with it; returns the exit code. With `anew` what was trained before is dropped."""
    from xnas.report.results_table import format_table, result_table
    from xnas.train.context import RunContext
    from xnas.train.retrain import fit_retrain, validate_retrain

    session = RunContext.open(request)
    validate_retrain(request.config, session.data, genotype=genotype)
    with session.open_run(genotype=genotype) as (folder, interrupt):
        if anew:
            folder.drop_training()
        result = fit_retrain(
            genotype,
            request.config,
            session.data,
            name=request.job.network,
            device=session.device,
            folder=folder,
            progress=session.display,
            interrupt=interrupt,
        )
    if request.whole is None:
        log.info(format_table(result_table(folder.path)))
    else:
        kind = "held-out" if request.config.data.held_out > 0 else "test"
        log.info(f"{kind} accuracy {result['test_accuracy']:.2%}")
    return 0
