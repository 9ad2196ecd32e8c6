"""One of many runs: begun or gone on with in its folder, by this process or by a worker of a cluster."""

import os
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from xnas.config.loading import parse_config
from xnas.config.schema import LAST_BITS

if TYPE_CHECKING:
    from xnas.cli.session import Request
    from xnas.space.architecture import Architecture
    from xnas.study.remote_task import Errand
    from xnas.study.scheduler import Task

LOCK_PATIENCE = 600.0
"""Seconds that a worker waits for another one, of a machine that was given up for lost, to end."""


def member_request(
    request: "Request", task: "Task", path: Path, *, verb: str, above: Callable[[], str] | None = None
) -> "Request":
    """What is to be done for a task of a whole in the folder `path`."""
    from xnas.cli.session import Request
    from xnas.runs.folder import Job
    from xnas.runs.location import Place

    return Request(
        job=Job(verb=verb),
        config=task.config,
        place=Place.named(task.name, runs=path, stem="", overwrite=False, member=True),
        # Where it is done may change from one sitting to the next; what the user has changed, the whole notices.
        fixed=tuple(name for name in request.fixed if name not in LAST_BITS),
        whole=path,
        above=above,
    )


def carry_out(member: "Request", genotype: "Architecture | None") -> None:
    """Begin it or go on with it. Raises NonFinite and OutOfMemory where it fails by itself."""
    from xnas.cli import retrain, run, search

    if genotype is not None:
        retrain.carry_out(member, genotype)
    elif member.job.verb == "run":
        run.carry_out(member)
    else:
        search.carry_out(member)


def has_ended(member: "Request", files: tuple[str, ...]) -> bool:
    """Whether its folder has what it has when it has ended. Raises ValueError if it was begun as something else."""
    folder = member.place.earlier()
    if folder is None:
        return False
    member.check(folder)
    return all(map(folder.has, files))


def progress(member: "Request") -> object:
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


def errand_text(member: "Request", genotype: "Architecture | None", *, token: str) -> str:
    """What a worker is told."""
    from xnas.study.remote_task import Errand

    assert member.whole is not None
    return Errand(
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
    from xnas.study.remote_task import Errand, Outcome
    from xnas.train.memory import is_out_of_memory

    errand = Errand.of(text)
    if (outcome := errand.misplaced()) is not None:
        return outcome.to_text()
    try:
        _run(errand)
    except (ValueError, OutOfMemory, OSError, Interrupted) as error:
        return Outcome.of_error(error).to_text()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return Outcome.of_error(OutOfMemory(str(error))).to_text()
    return Outcome.here("ended").to_text()


def _run(errand: "Errand") -> None:
    from xnas.cli.session import Request
    from xnas.runs.folder import Job
    from xnas.runs.location import Place
    from xnas.runs.lock import wait_until_free
    from xnas.space.architecture import parse_architecture

    if os.path.isdir(errand.cwd):
        os.chdir(errand.cwd)
    whole = Path(errand.whole)
    member = Request(
        job=Job(verb=errand.verb),
        config=parse_config(errand.config, where=errand.name),
        place=Place.named(errand.name, runs=whole, stem="", overwrite=False, member=True),
        fixed=errand.fixed,
        whole=whole,
    )
    member.place.earlier()  # which looks at what it is
    wait_until_free(whole / errand.name, seconds=LOCK_PATIENCE)
    genotype = None if errand.genotype is None else parse_architecture(errand.genotype)
    carry_out(member, genotype)


def with_threads(task: "Task", threads: int) -> "Task":
    """The task, with so many CPU threads unless its settings say how many."""
    return replace(task, config=replace(task.config, threads=task.config.threads or threads))
