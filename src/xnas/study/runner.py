"""Runs a study: every task in a folder of its own inside the study's, nothing done twice, and what failed named."""

import logging
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from xnas.config.schema import CONFIG, LAST_BITS, RETRAIN_SECTIONS, SEARCH_SECTIONS, Config, images_are_gone
from xnas.io.errors import Interrupted, OutOfMemory, RankLost, exit_code
from xnas.io.safe_read import is_folder
from xnas.report.page import PAGE
from xnas.report.terminal import open_display, quiet
from xnas.runs.environment import environment
from xnas.runs.folder import CHECKPOINTS, GENOTYPE, RESULT, STUDY, Job, RunFolder
from xnas.runs.location import RunLocation
from xnas.runs.lock import locked
from xnas.runs.signals import stop_on_signals
from xnas.space.architecture import Architecture
from xnas.study.nasbench201.table import Nasbench201Table, must_be_trusted
from xnas.study.page import write_study
from xnas.study.progress import StudyProgress
from xnas.study.ray import RayExecutor, RayOptions, RemoteTask, connected, shared_folder_token
from xnas.study.results import StudyResults, read_study
from xnas.study.scheduler import Executor, Failure, LocalExecutor, Task, run_tasks
from xnas.study.spec import FILE, NASBENCH201, StudySpec, read_spec
from xnas.study.summary import format_study
from xnas.study.tasks import SEARCH, check_data, genotype_of, tasks
from xnas.train import pipeline
from xnas.train.context import RunRequest, check_images, open_data
from xnas.train.device import pick_device
from xnas.train.distributed import process_group

log = logging.getLogger(__name__)

FIXED = (*SEARCH_SECTIONS, *RETRAIN_SECTIONS)
SHARE_OF_TIME = 50
"""The report is written again after a task only if that takes less than a fiftieth of the time so far."""


def run_study(
    spec: StudySpec,
    config: Config,
    folder: str | Path | RunLocation | None = None,
    *,
    overwrite: bool = False,
    cluster: RayOptions | None = None,
) -> StudyResults:
    """Run a study under the settings of `config`, or resume it, and return its results.

    `folder` is the study's own; without one it is runs/study- and the next free number. What has ended is not done
    again, so the same call resumes, and seeds, methods, variants and controls may have been added. Tasks are done in
    this process one after another, or on a Ray `cluster`. Tasks that fail by themselves are in `failures` of the
    results, and the others continue.

    Raises ValueError, before anything is written, for settings with which a task could not start; CannotWrite; and
    Interrupted after a signal.
    """
    if not isinstance(folder, RunLocation):
        path = Path("runs", "") if folder is None else Path(folder)
        runs, name = (path, None) if folder is None else (path.parent, path.name)
        folder = RunLocation.named(name, runs=runs, stem=STUDY, overwrite=overwrite)
    fixed = (*FIXED, *LAST_BITS)
    request = RunRequest(job=Job(command=STUDY), config=config, location=folder, fixed=fixed)
    return _run(request, spec, cluster, _table(spec))


def resume_study(request: RunRequest, *, cluster: RayOptions | None = None) -> StudyResults:
    """Resume the study in the folder of `request`. Raises ValueError if its table cannot or must not be read."""
    folder = request.location.runs / str(request.location.name)
    spec = read_spec(folder)
    if spec.score != NASBENCH201:
        return _run(request, spec, cluster, None)
    again = (
        f"give the command that started it again: xnas bench {NASBENCH201} --table FILE --runs {folder.parent} "
        f"--name {folder.name}"
    )
    if not spec.table or must_be_trusted(Path(spec.table)):
        # The folder may be a stranger's, and so the path; only the person who calls can trust such files.
        raise ValueError(f"the table of {folder} must be given again: {again}")
    try:
        table = _table(spec)
    except ValueError as error:
        raise ValueError(f"{error}; if it has moved, {again}") from None
    return _run(request, spec, cluster, table)


def _table(spec: StudySpec) -> Nasbench201Table | None:
    return Nasbench201Table.read(Path(spec.table)) if spec.score == NASBENCH201 else None


def task_request(
    name: str, config: Config, study: Path, *, trains: bool, progress: Callable[[], str] | None = None
) -> RunRequest:
    """Return the run of a task: a training or a search. `progress` returns that of the study."""
    return RunRequest(
        job=Job(command="retrain" if trains else "search"),
        config=config,
        location=RunLocation.named(name, runs=study, stem="", overwrite=False, in_study=True),
        # Device and threads may change from one process to the next.
        fixed=FIXED,
        study=study,
        study_progress=progress,
    )


def run_task(request: RunRequest, genotype: Architecture | None) -> None:
    """Start or resume a task, on every rank. Raises NonFinite and OutOfMemory where it fails by itself."""
    try:
        pipeline.run_request(lambda: replace(request, genotype=genotype))
    except (ValueError, OutOfMemory) as error:
        if process_group().raised_everywhere(error):
            raise
        raise RankLost(str(error), exit_code=exit_code(error)) from error


def join_tasks() -> int:
    """Do with rank 0, on another rank, each task of a study, until there are no more; returns the exit code."""
    while True:
        try:
            if pipeline.run_request(lambda: None) is None:
                return 0
        except (ValueError, OutOfMemory) as error:
            if not process_group().raised_everywhere(error):
                raise


def _run(
    request: RunRequest, spec: StudySpec, cluster: RayOptions | None, table: Nasbench201Table | None
) -> StudyResults:
    spec.check(request.config)
    with nullcontext() if cluster is None else connected(cluster) as ray:
        if (earlier := request.existing()) is not None:
            spec.extends(read_spec(earlier.path), path=earlier.path)
        else:
            _check(spec, request.config, device=cluster is None)
        results = _StudyRun(request, spec, cluster, table, ray).run()
    pipeline.run_request(lambda: None)  # so that `join_tasks` of the other ranks returns
    return results


class _StudyRun:
    """A study while this process runs it."""

    def __init__(
        self,
        request: RunRequest,
        spec: StudySpec,
        cluster: RayOptions | None,
        table: Nasbench201Table | None,
        ray: Any,
    ) -> None:
        self.request, self.spec, self.config = request, spec, request.config
        self.cluster, self.table, self.ray = cluster, table, ray
        self.failures: dict[str, Failure] = {}
        self.wrote, self.took = float("-inf"), 0.0

    def run(self) -> StudyResults:
        self.path = self.request.location.create()
        with locked(self.path):
            self._describe(RunFolder(self.path))
            log.info(f"study: {self.path}")
            self.tasks = tasks(self.spec, self.config)
            if self.cluster is not None:
                self.tasks = [_with_threads(task, self.cluster.threads) for task in self.tasks]
            self.progress = StudyProgress(self.path, self.tasks)
            if images_are_gone(self.config.data) and not all(map(self.is_done, self.tasks)):
                check_images(self.config.data, of=self.path, remedy="put a link there to where it is now")
            try:
                with self._executor() as executor:
                    run_tasks(
                        self.tasks,
                        has_ended=self.is_done,
                        executor=executor,
                        on_start=self._on_start,
                        on_end=self._on_end,
                    )
            except (KeyboardInterrupt, Interrupted) as stop:
                self.write()
                # Else the run has said it.
                if self.cluster is not None or isinstance(stop, KeyboardInterrupt):
                    again = "" if self.cluster is None else f" --address {self.cluster.address}"
                    log.info(f"resume with: xnas resume {shlex.quote(str(self.path))}{again}")
                raise
            results = self.write()
            log.info(format_study(results))
            log.info(f"report: {self.path / 'report.html'}")
        return results

    def _describe(self, folder: RunFolder) -> None:
        started = folder.has(CONFIG)
        if started:
            self.request.check(folder)
        folder.write_job(self.request.job)
        folder.write_text(FILE, self.spec.to_toml())
        if not started:
            device = self.config.device if self.cluster is None else "cpu"  # a cluster's devices are not here
            folder.describe(self.config, environment(pick_device(device)))

    def request_of(self, task: Task) -> RunRequest:
        trains, progress = task.kind != SEARCH, self.progress.table
        return task_request(task.name, task.config, self.path, trains=trains, progress=progress)

    def genotype_of(self, task: Task) -> Architecture | None:
        return None if task.kind == SEARCH else genotype_of(task, self.spec, self.config, folder=self.path)

    def is_done(self, task: Task) -> bool:
        """Return whether a task has ended. Raises ValueError if its folder holds another run."""
        request = self.request_of(task)
        folder = request.location.existing()
        if folder is None:
            return False
        request.check(folder)
        if not all(map(folder.has, (GENOTYPE, PAGE) if task.kind == SEARCH else (RESULT,))):
            return False
        trained = task.kind != SEARCH and self.progress.done >= set(task.after)
        if trained and folder.genotype() != self.genotype_of(task):
            said = "holds the training of another architecture; put it back where it was"
            raise ValueError(f"{folder.path} {said}")
        self.progress.has_ended(task)
        return True

    def _on_start(self, task: Task) -> None:
        self.progress.starts(task)
        if self.cluster is None:
            log.info(self.progress.line())

    def _on_end(self, task: Task, failure: Failure | None) -> None:
        self.progress.ends(task, failure)
        if failure is not None:
            self.failures[task.name] = failure
            log.info(f"{task.title} failed: {failure.reason}")
        elif self.cluster is not None:
            log.info(self.progress.line_at_end(task))
        if time.monotonic() - self.wrote >= SHARE_OF_TIME * self.took:
            self.write()

    def write(self) -> StudyResults:
        """Write the report."""
        started = time.monotonic()
        results = read_study(self.path, self.spec, self.config, failures=self.failures, table=self.table)
        write_study(self.path, results)
        self.wrote = time.monotonic()
        self.took = self.wrote - started
        return results

    @contextmanager
    def _executor(self) -> Iterator[Executor]:
        if self.cluster is None:
            yield LocalExecutor(lambda task: run_task(self.request_of(task), self.genotype_of(task)))
            return

        display = open_display()
        with stop_on_signals() as stop_request, shared_folder_token(self.path) as token:
            executor = RayExecutor(
                self.ray,
                self.cluster,
                remote_task=lambda task: RemoteTask.of(
                    task, self.genotype_of(task), study=self.path, token=token
                ),
                has_ended=self.is_done,
                progress=lambda task: files_of(self.path / task.name),
                beat=lambda: display.watch(self.progress.table),
                stop_request=stop_request,
            )
            self.progress.slots = executor.slots
            try:
                yield executor
            finally:
                executor.dismiss()
                display.finish()


def files_of(folder: Path) -> list[str]:
    """Return the names of a task's files and checkpoints, which change whenever it comes further."""
    folders = [path for path in (folder, folder / CHECKPOINTS) if is_folder(path, inside=folder.parent)]
    names = [path.name for place in folders for path in place.iterdir()]
    return sorted(name for name in names if not name.startswith("."))


def _with_threads(task: Task, threads: int) -> Task:
    """Return the task with so many CPU threads, unless its settings say how many."""
    return replace(task, config=replace(task.config, threads=task.config.threads or threads))


def _check(spec: StudySpec, config: Config, *, device: bool) -> None:
    """Raise ValueError for a device, images or sizes with which no task could start, before anything is written."""
    if device:
        pick_device(config.device)
    configs = [spec.config_of(variant, config) for variant in spec.variants(config)]
    for data in dict.fromkeys(each.data for each in configs):
        with quiet():  # every task logs it again
            images = open_data(data, seed=config.seed)
        for each in configs:
            if each.data == data:
                check_data(spec, each, images)
