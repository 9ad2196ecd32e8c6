"""The jobs: search, retraining, and both with controls and a test, in a run folder that is new or resumed."""

import logging
from collections.abc import Callable, Iterator
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


def run_request(read: "Callable[[], RunRequest | None]") -> int | None:
    """Do the run that rank 0 reads, on every rank; returns the exit code, or None if rank 0 reads none.

    What has ended is not done again. Every rank raises what `read` raises on rank 0.
    """
    from xnas.train.context import request_from_main

    request = request_from_main(read)
    if request is None:
        return None
    if request.genotype is not None:
        return run_retrain(request, request.genotype)
    return run_job(request) if request.job.verb == "run" else run_search(request)


def run_job(request: "RunRequest") -> int:
    """Search, retrain, test, and do the same with controls; returns the exit code."""
    from xnas.report.results_table import format_table, result_table
    from xnas.runs.folder import GENOTYPE, RunFolder
    from xnas.space.architecture import parse_architecture
    from xnas.train.build import control_genotypes
    from xnas.train.context import RunContext
    from xnas.train.distributed import process_group
    from xnas.train.retrain import fit_retrain, validate_retrain
    from xnas.train.search import SearchTrainer, fit_search

    def found() -> str | None:
        earlier = request.existing()
        return earlier.genotype().to_json() if earlier is not None and earlier.has(GENOTYPE) else None

    group = process_group()
    text = group.from_main(found)
    session = RunContext.open(request)
    config, data, device, display = request.config, session.data, session.device, session.display
    validate_retrain(config, data)
    genotype = None if text is None else parse_architecture(text)
    trainer = SearchTrainer(config, data, device=device) if genotype is None else None
    with session.open_run() as (folder, interrupt):
        if trainer is not None:
            genotype = fit_search(trainer, folder=folder, progress=display, interrupt=interrupt)
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
                progress=display,
                interrupt=interrupt,
            )
            if place is not folder and group.is_main:
                folder.keep_control(name)
    if group.is_main:
        log.info(format_table(result_table(folder.path)))
    return 0


def run_search(request: "RunRequest") -> int:
    """Search; returns the exit code."""
    from xnas.report.page import PAGE
    from xnas.runs.folder import GENOTYPE
    from xnas.space.architecture import architecture_text, parse_architecture
    from xnas.train.context import RunContext
    from xnas.train.distributed import process_group
    from xnas.train.search import SearchTrainer, fit_search

    def found() -> list[str] | None:
        earlier = request.existing()
        if earlier is None or not (earlier.has(GENOTYPE) and earlier.has(PAGE)):
            return None
        return [str(earlier.path), earlier.genotype().to_json()]

    if (ended := process_group().from_main(found)) is not None:
        path, text = ended
        log.info(f"the search in {path} has ended; it is not done again without --overwrite")
        genotype = parse_architecture(text)
    else:
        session = RunContext.open(request)
        trainer = SearchTrainer(session.request.config, session.data, device=session.device)
        with session.open_run() as (folder, interrupt):
            genotype = fit_search(trainer, folder=folder, progress=session.display, interrupt=interrupt)
        path = str(folder.path)
    log.info(architecture_text(genotype))
    if request.whole is None:
        log.info(f"train its network with: xnas retrain {path}")
    return 0


def run_retrain(request: "RunRequest", genotype: "Architecture") -> int:
    """Train the network of a genotype and test it; returns the exit code."""
    from xnas.report.results_table import format_table, result_table
    from xnas.train.context import RunContext
    from xnas.train.distributed import process_group
    from xnas.train.retrain import fit_retrain, validate_retrain

    session = RunContext.open(request)
    validate_retrain(request.config, session.data, genotype=genotype)
    with session.open_run() as (folder, interrupt):
        if request.retrain_again:
            process_group().from_main(folder.drop_training)
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
    if request.whole is not None:
        kind = "held-out" if request.config.data.held_out > 0 else "test"
        log.info(f"{kind} accuracy {result['test_accuracy']:.2%}")
    elif process_group().is_main:
        log.info(format_table(result_table(folder.path)))
    return 0
