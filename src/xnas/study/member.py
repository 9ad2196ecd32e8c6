"""One of many runs: begun or gone on with in its folder, by this process or by a worker of a cluster."""

import os
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from xnas.config.loading import parse_config
from xnas.config.schema import LAST_BITS
from xnas.train import pipeline

if TYPE_CHECKING:
    from xnas.space.architecture import Architecture
    from xnas.study.remote_task import RemoteTask
    from xnas.study.scheduler import Task
    from xnas.train.context import RunRequest

LOCK_PATIENCE = 600.0
"""Seconds that a worker waits for another one, of a machine that was given up for lost, to end."""


def task_request(
    request: "RunRequest", task: "Task", path: Path, *, verb: str, above: Callable[[], str] | None = None
) -> "RunRequest":
    """What is to be done for a task of a whole in the folder `path`."""
    from xnas.runs.folder import Job
    from xnas.runs.location import RunLocation
    from xnas.train.context import RunRequest

    return RunRequest(
        job=Job(verb=verb),
        config=task.config,
        place=RunLocation.named(task.name, runs=path, stem="", overwrite=False, member=True),
        # Where it is done may change from one sitting to the next; what the user has changed, the whole notices.
        fixed=tuple(name for name in request.fixed if name not in LAST_BITS),
        whole=path,
        above=above,
    )


def run_task(member: "RunRequest", genotype: "Architecture | None") -> None:
    """Begin it or resume it, on every rank. Raises NonFinite and OutOfMemory where it fails by itself."""
    from xnas.io.errors import OutOfMemory, RankLost, exit_code
    from xnas.train.distributed import process_group

    try:
        pipeline.run_request(lambda: replace(member, genotype=genotype))
    except (ValueError, OutOfMemory) as error:
        if process_group().raised_everywhere(error):
            raise
        raise RankLost(str(error), exit_code=exit_code(error)) from error


def join_tasks() -> int:
    """Do with rank 0, on another rank, each task of a study, until there are no more; returns the exit code."""
    from xnas.io.errors import OutOfMemory
    from xnas.train.distributed import process_group

    while True:
        try:
            if pipeline.run_request(lambda: None) is None:
                return 0
        except (ValueError, OutOfMemory) as error:
            if not process_group().raised_everywhere(error):
                raise


def end_tasks() -> None:
    """Have `join_tasks` of the other ranks return."""
    pipeline.run_request(lambda: None)


def has_ended(member: "RunRequest", files: tuple[str, ...]) -> bool:
    """Whether its folder has what it has when it has ended. Raises ValueError if it was begun as something else."""
    folder = member.place.existing()
    if folder is None:
        return False
    member.check(folder)
    return all(map(folder.has, files))


def progress(member: "RunRequest") -> object:
    """A value that changes whenever it comes further."""
    from xnas.io.safe_read import is_folder
    from xnas.runs.folder import CHECKPOINTS

    whole = member.place.runs
    folder = whole / str(member.place.name)
    kept = folder / CHECKPOINTS
    names = [
        path.name for place in (folder, kept) if is_folder(place, inside=whole) for path in place.iterdir()
    ]
    return sorted(name for name in names if not name.startswith("."))


def errand_text(member: "RunRequest", genotype: "Architecture | None", *, token: str) -> str:
    """What a worker is told."""
    from xnas.study.remote_task import RemoteTask

    assert member.whole is not None
    return RemoteTask(
        whole=str(member.whole.resolve()),
        token=token,
        version=version("xnas"),
        cwd=os.getcwd(),
        name=str(member.place.name),
        verb=member.job.verb,
        fixed=member.fixed,
        config=member.config.to_toml(),
        genotype=None if genotype is None else genotype.to_json(),
    ).to_text()


def work(text: str) -> str:
    """Do an errand, as a worker; returns its outcome as text, whatever that is."""
    from xnas.io.errors import Interrupted, OutOfMemory
    from xnas.report.terminal import log_to_terminal
    from xnas.study.remote_task import RemoteTask, TaskResult
    from xnas.train.memory import is_out_of_memory

    errand = RemoteTask.of(text)
    if (outcome := errand.check_worker()) is not None:
        return outcome.to_text()
    try:
        with log_to_terminal():  # which Ray keeps
            _run(errand)
    except (ValueError, OutOfMemory, OSError, Interrupted) as error:
        return TaskResult.of_error(error).to_text()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return TaskResult.of_error(OutOfMemory(str(error))).to_text()
    return TaskResult.here("ended").to_text()


def _run(errand: "RemoteTask") -> None:
    from xnas.runs.folder import Job
    from xnas.runs.location import RunLocation
    from xnas.runs.lock import wait_until_free
    from xnas.space.architecture import parse_architecture
    from xnas.train.context import RunRequest

    if os.path.isdir(errand.cwd):
        os.chdir(errand.cwd)
    whole = Path(errand.whole)
    member = RunRequest(
        job=Job(verb=errand.verb),
        config=parse_config(errand.config, where=errand.name),
        place=RunLocation.named(errand.name, runs=whole, stem="", overwrite=False, member=True),
        fixed=errand.fixed,
        whole=whole,
    )
    member.place.existing()  # which looks at what it is
    wait_until_free(whole / errand.name, seconds=LOCK_PATIENCE)
    genotype = None if errand.genotype is None else parse_architecture(errand.genotype)
    run_task(member, genotype)


def with_threads(task: "Task", threads: int) -> "Task":
    """The task, with so many CPU threads unless its settings say how many."""
    return replace(task, config=replace(task.config, threads=task.config.threads or threads))
