"""Many tasks in one folder, each in a folder of its own: nothing done twice, and what failed named."""

import logging
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas.config.schema import CONFIG, Config, images_are_gone
from xnas.io.errors import Interrupted, exit_code
from xnas.study.member import (
    end_tasks,
    errand_text,
    has_ended,
    join_tasks,
    progress,
    run_task,
    task_request,
    with_threads,
    work,
)
from xnas.study.progress import StudyProgress

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from xnas.data.images import DataSet
    from xnas.runs.folder import RunFolder
    from xnas.space.architecture import Architecture
    from xnas.study.ray_options import RayOptions
    from xnas.study.scheduler import Executor, Failure, Task
    from xnas.train.context import RunRequest

WRITING = 50
"""What sums up the whole is written anew after a task only if that takes less than a fiftieth of the time so far."""


@dataclass(frozen=True, kw_only=True)
class TaskType:
    """How tasks of a kind are done."""

    verb: str
    files: tuple[str, ...]
    """That its folder has when it has ended."""
    genotype: "Callable[[Task, Path], Architecture] | None" = None
    """What it trains, if it is a training, once the tasks that it needs have ended in the folder of all."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a verb makes of many tasks."""

    noun: str
    tasks: "Sequence[Task]"
    """None before those that it needs."""
    kinds: Mapping[str, TaskType]
    check: Callable[[Config, "DataSet"], object]
    """Raises ValueError, before anything is written, for what no task could begin with."""
    write: Callable[[Path, Mapping[str, str]], Path]
    """Sums up what the folder holds; takes the failures by folder name, and returns the page's path."""
    summary: Callable[[Path, Mapping[str, str]], str]
    """The same in words."""
    describe: "Callable[[RunFolder], object]" = lambda folder: None
    """Writes what the folder says of itself beside job and settings."""
    checked: tuple[Config, ...] = ()
    """What is checked, where that is not the settings of the whole."""


def run_study(request: "RunRequest", whole: Study, *, pool: "RayOptions | None" = None) -> int:
    """Do what is not done yet, here or on a cluster; returns the exit code.

    It is 2 if a task's numbers broke down or a mistake ended it, 3 if memory did.
    """
    from xnas.train.distributed import process_group

    if not process_group().is_main:
        return join_tasks()
    with _cluster(pool) as ray:
        code = _run_study(request, whole, pool, ray)
    end_tasks()
    return code


def _run_study(request: "RunRequest", whole: Study, pool: "RayOptions | None", ray: Any) -> int:
    from xnas.runs.environment import environment
    from xnas.runs.folder import RunFolder
    from xnas.runs.lock import locked
    from xnas.study.scheduler import run_tasks
    from xnas.train.context import check_images
    from xnas.train.device import pick_device

    if request.existing() is None:
        _check(request, whole, device=pool is None)
    path = request.place.create()
    with locked(path):
        folder = RunFolder(path)
        if folder.has(CONFIG):
            request.check(folder)
        folder.write_job(request.job)
        whole.describe(folder)
        if not folder.has(CONFIG):
            device = request.config.device if pool is None else "cpu"  # a cluster's devices are not here
            folder.describe(request.config, environment(pick_device(device)))
        log.info(f"{whole.noun}: {path}")
        tasks = whole.tasks if pool is None else [with_threads(task, pool.threads) for task in whole.tasks]
        standing = StudyProgress(path, tasks, noun=whole.noun)
        account = _Account(path, whole)

        def is_done(task: "Task") -> bool:
            kind = whole.kinds[task.kind]
            done = has_ended(task_request(request, task, path, verb=kind.verb), kind.files)
            if done and kind.genotype is not None and standing.done >= set(task.after):
                kept = path / task.name
                if RunFolder(kept).genotype() != kind.genotype(task, path):
                    raise ValueError(
                        f"{kept} holds the training of another architecture; put it back where it was"
                    )
            if done:
                standing.has_ended(task)
            return done

        def begins(task: "Task") -> None:
            standing.begins(task)
            if pool is None:
                log.info(standing.line())

        def ends(task: "Task", failure: "Failure | None") -> None:
            standing.ends(task, failure)
            if failure is not None:
                account.reasons[task.name] = failure.reason
                log.info(f"{task.title} failed: {failure.reason}")
            elif pool is not None:
                log.info(standing.said_at_the_end(task))
            account.write(in_time=True)

        if images_are_gone(request.config.data) and not all(map(is_done, tasks)):
            remedy = "put a link there to where it is now"
            check_images(request.config.data, of=path, remedy=remedy)
        try:
            with _workers(request, whole, path, pool, ray, standing=standing, is_done=is_done) as workers:
                failures = run_tasks(tasks, has_ended=is_done, workers=workers, begins=begins, ends=ends)
        except (KeyboardInterrupt, Interrupted) as stop:
            account.write()
            if pool is not None or isinstance(stop, KeyboardInterrupt):  # else the run has said it
                log.info(f"go on with: xnas resume {shlex.quote(str(path))}{_again(pool)}")
            raise
        page = account.write()
        log.info(whole.summary(path, account.reasons))
        log.info(f"report: {page}")
    return max((exit_code(failure.error) for failure in failures.values() if failure.error), default=0)


def searching() -> TaskType:
    """Tasks that search."""
    from xnas.report.page import PAGE
    from xnas.runs.folder import GENOTYPE

    return TaskType(verb="search", files=(GENOTYPE, PAGE))


def _cluster(pool: "RayOptions | None") -> AbstractContextManager[Any]:
    """Within it the cluster can be worked with, if there is to be one: before anything is written."""
    if pool is None:
        return nullcontext()
    from xnas.study.ray import connected

    return connected(pool)


@contextmanager
def _workers(
    request: "RunRequest",
    whole: Study,
    path: Path,
    pool: "RayOptions | None",
    ray: Any,
    *,
    standing: StudyProgress,
    is_done: "Callable[[Task], bool]",
) -> "Iterator[Executor]":
    """Those who do the tasks: this process, or a cluster."""
    from xnas.study.scheduler import LocalExecutor

    def member(task: "Task") -> "RunRequest":
        return task_request(request, task, path, verb=whole.kinds[task.kind].verb, above=standing.table)

    def genotype(task: "Task") -> "Architecture | None":
        found = whole.kinds[task.kind].genotype
        return None if found is None else found(task, path)

    if pool is None:
        yield LocalExecutor(lambda task: run_task(member(task), genotype(task)))
        return
    from xnas.report.terminal import open_display
    from xnas.runs.signals import stop_on_signals
    from xnas.study.ray import RayExecutor
    from xnas.study.remote_task import shared_folder_token

    display = open_display()
    with stop_on_signals() as interrupt, shared_folder_token(path) as token:
        workers = RayExecutor(
            ray,
            pool,
            work=work,
            errand=lambda task: errand_text(member(task), genotype(task), token=token),
            has_ended=is_done,
            progress=lambda task: progress(member(task)),
            beat=lambda: display.watch(standing.table),
            interrupt=interrupt,
        )
        standing.slots = workers.slots
        try:
            yield workers
        finally:
            workers.dismiss()
            display.finish()


class _Account:
    """What sums up the whole, written as often as it takes little of the time."""

    def __init__(self, path: Path, whole: Study) -> None:
        self.path, self.whole = path, whole
        self.reasons: dict[str, str] = {}
        """Why tasks failed, by name."""
        self.ended, self.took = float("-inf"), 0.0

    def write(self, *, in_time: bool = False) -> Path | None:
        """Write it, with `in_time` only if there is time for it; returns the page's path."""
        began = time.monotonic()
        if in_time and began - self.ended < WRITING * self.took:
            return None
        page = self.whole.write(self.path, self.reasons)
        self.ended = time.monotonic()
        self.took = self.ended - began
        return page


def _again(pool: "RayOptions | None") -> str:
    return "" if pool is None else f" --address {pool.address}"


def _check(request: "RunRequest", whole: Study, *, device: bool) -> None:
    """Raises ValueError for a device, images or sizes that no task could begin with, before anything is written."""
    from xnas.report.terminal import quiet
    from xnas.train.context import open_data
    from xnas.train.device import pick_device

    if device:
        pick_device(request.config.device)
    data: DataSet | None = None
    opened: Config | None = None
    for config in whole.checked or (request.config,):
        if data is None or opened is None or config.data != opened.data:
            with quiet():  # every task says it again
                data, opened = open_data(config.data, seed=config.seed), config
        whole.check(config, data)
