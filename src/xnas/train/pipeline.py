"""The jobs: search, retraining, and both with controls and a test, in a run folder that is new or resumed."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xnas.runs.callbacks import NullCallback

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from xnas.config.schema import Config
    from xnas.data.images import DataSet
    from xnas.runs.callbacks import Callback
    from xnas.runs.folder import Job, RunRecord
    from xnas.space.architecture import Architecture
    from xnas.train.context import RunRequest


def search(
    config: "Config",
    data: "DataSet | None" = None,
    *,
    folder: "str | Path",
    callback: "Callback | None" = None,
) -> "Architecture":
    """Search an architecture in `folder`, which is made or resumed; returns the genotype.

    data: the images; without them, those that config.data names. callback: is told of steps and epochs. A search that
    has ended in the folder is not done again. The first signal ends it after the step, saved. Random
    generators and torch's settings are afterwards as they were.

    Raises ValueError if settings do not fit the images or the folder's run, or another process uses it; NonFinite where
    the numbers break down; OutOfMemory; CannotWrite; Interrupted after a signal.
    """
    from xnas.config.schema import SEARCH_SECTIONS
    from xnas.runs.folder import Job
    from xnas.train.device import keeping_process_state

    request = _request(Job(command="search"), config, data, folder, fixed=SEARCH_SECTIONS)
    with keeping_process_state():
        return run_search(request, data=data, callback=callback or NullCallback())


def retrain(
    genotype: "Architecture",
    config: "Config",
    data: "DataSet | None" = None,
    *,
    folder: "str | Path",
    name: str = "found",
    callback: "Callback | None" = None,
) -> dict[str, object]:
    """Train the network of `genotype` from scratch in `folder` and test it once; returns the values of result.json.

    The folder may be that of the search which found the genotype. Resumes, ends and raises as `search` does.
    """
    from xnas.config.schema import RETRAIN_SECTIONS
    from xnas.runs.folder import Job, RunFolder
    from xnas.runs.location import RunLocation
    from xnas.train.device import keeping_process_state

    folder = Path(folder)
    searched = RunLocation.of(folder).existing()
    job = Job(command="retrain", network=name) if searched is None else RunFolder(folder).job()
    request = _request(job, config, data, folder, fixed=RETRAIN_SECTIONS, genotype=genotype)
    if searched is not None and searched.genotype() != genotype:
        raise ValueError(f"{folder} holds another architecture; give another folder")
    with keeping_process_state():
        return run_retrain(request, genotype, data=data, callback=callback or NullCallback())


def run(
    config: "Config",
    data: "DataSet | None" = None,
    *,
    folder: "str | Path",
    controls: int = 0,
    callback: "Callback | None" = None,
) -> "RunRecord":
    """Search, retrain, test and report in `folder`; returns the record of the run.

    controls: random architectures of the same space to train with the same settings, joined by the published XNAS cell.
    Resumes, ends and raises as `search` does.
    """
    from xnas.config.schema import RETRAIN_SECTIONS, SEARCH_SECTIONS
    from xnas.runs.folder import Job, RunRecord
    from xnas.train.device import keeping_process_state

    if controls < 0:
        raise ValueError(f"controls must not be negative; got {controls}")
    job = Job(command="run", controls=controls)
    request = _request(job, config, data, folder, fixed=(*SEARCH_SECTIONS, *RETRAIN_SECTIONS))
    with keeping_process_state():
        return RunRecord.read(run_job(request, data=data, callback=callback or NullCallback()))


def _request(
    job: "Job",
    config: "Config",
    data: "DataSet | None",
    folder: "str | Path",
    *,
    fixed: tuple[str, ...],
    genotype: "Architecture | None" = None,
) -> "RunRequest":
    from xnas.config.schema import IN_MEMORY
    from xnas.io.paths import expanded
    from xnas.runs.location import RunLocation
    from xnas.train.context import RunRequest

    if data is not None and data.name != config.data.source:  # nobody else can find these images
        config = replace(config, data=replace(config.data, source=IN_MEMORY, root=None, download=False))
    return RunRequest(
        job=job, config=config, location=RunLocation.of(expanded(folder)), fixed=fixed, genotype=genotype
    )


def run_request(read: "Callable[[], RunRequest | None]") -> int | None:
    """Do the run that rank 0 reads, on every rank; returns the exit code, or None if rank 0 reads none.

    What has ended is not done again. Every rank raises what `read` raises on rank 0.
    """
    from xnas.train.context import request_from_main

    request = request_from_main(read)
    if request is None:
        return None
    if request.genotype is not None:
        run_retrain(request, request.genotype)
    elif request.job.command == "run":
        run_job(request)
    else:
        run_search(request)
    return 0


def run_job(
    request: "RunRequest", *, data: "DataSet | None" = None, callback: "Callback | None" = None
) -> Path:
    """Search, retrain and test, and do the same with controls; returns the run folder's path."""
    from xnas.report.results_table import format_table, result_table
    from xnas.runs.folder import RunFolder
    from xnas.train.build import control_genotypes
    from xnas.train.context import RunContext
    from xnas.train.distributed import process_group
    from xnas.train.retrain import fit_retrain, validate_retrain
    from xnas.train.search import SearchTrainer, fit_search

    group = process_group()
    genotype = request.searched()
    context = RunContext.open(request, data=data, callback=callback)
    config, data, device = context.request.config, context.data, context.device
    validate_retrain(config, data)
    trainer = SearchTrainer(config, data, device=device) if genotype is None else None
    with context.open_run() as (folder, stop_request):
        if trainer is not None:
            genotype = fit_search(
                trainer, folder=folder, callback=context.callback, stop_request=stop_request
            )
            trainer = None  # retraining needs the memory
        assert genotype is not None
        networks = {"found": genotype, **control_genotypes(config, count=request.job.controls)}
        for name, genotype in networks.items():
            place = folder if name == "found" else RunFolder(folder.path / "controls" / name)
            if place is not folder and group.is_main:
                log.info(f"control: {name}")
                folder.child("controls", name).write_genotype(genotype)
            fit_retrain(
                genotype,
                config,
                data,
                name=name,
                device=device,
                folder=place,
                callback=context.callback,
                stop_request=stop_request,
            )
            if place is not folder and group.is_main:
                folder.keep_control(name)
    if group.is_main:
        log.info(format_table(result_table(folder.path)))
    return folder.path


def run_search(
    request: "RunRequest", *, data: "DataSet | None" = None, callback: "Callback | None" = None
) -> "Architecture":
    """Search an architecture; returns it."""
    from xnas.report.page import PAGE
    from xnas.space.architecture import architecture_text
    from xnas.train.context import RunContext
    from xnas.train.search import SearchTrainer, fit_search

    if (genotype := request.searched(PAGE)) is not None:
        path = request.location.runs / str(request.location.name)
        log.info(f"the search in {path} has ended; it is not done again without --overwrite")
    else:
        context = RunContext.open(request, data=data, callback=callback)
        trainer = SearchTrainer(context.request.config, context.data, device=context.device)
        with context.open_run() as (folder, stop_request):
            genotype = fit_search(
                trainer, folder=folder, callback=context.callback, stop_request=stop_request
            )
        path = folder.path
    log.info(architecture_text(genotype))
    if request.study is None:
        log.info(f"train its network with: xnas retrain {path}")
    return genotype


def run_retrain(
    request: "RunRequest",
    genotype: "Architecture",
    *,
    data: "DataSet | None" = None,
    callback: "Callback | None" = None,
) -> dict[str, object]:
    """Train the network of a genotype and test it; returns the result."""
    from xnas.report.results_table import format_table, result_table
    from xnas.train.context import RunContext
    from xnas.train.distributed import process_group
    from xnas.train.retrain import fit_retrain, validate_retrain

    context = RunContext.open(request, data=data, callback=callback)
    validate_retrain(context.request.config, context.data, genotype=genotype)
    with context.open_run() as (folder, stop_request):
        if request.retrain_again:
            process_group().from_main(folder.drop_training)
        result = fit_retrain(
            genotype,
            context.request.config,
            context.data,
            name=request.job.network,
            device=context.device,
            folder=folder,
            callback=context.callback,
            stop_request=stop_request,
        )
    if request.study is not None:
        kind = "held-out" if request.config.data.held_out > 0 else "test"
        log.info(f"{kind} accuracy {result['test_accuracy']:.2%}")
    elif process_group().is_main:
        log.info(format_table(result_table(folder.path)))
    return result
