"""A Ray cluster as an executor: many tasks at once, on any number of machines that share a disk.

Ray places tasks and tells which are lost; everything that matters is in the tasks' folders. So Ray is to repeat nothing
by itself: a task that is lost with its worker or machine is started again here and resumes from its own checkpoint, and
when this process is lost, Ray ends its tasks and the next process resumes them. What a worker is told and answers is
JSON, so that nothing of it can run as code. This file imports Ray only to connect to it.
"""

import json
import logging
import math
import os
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from xnas.config.limits import check_range, check_text
from xnas.config.loading import parse_config
from xnas.config.schema import Config
from xnas.io.atomic import atomic_write
from xnas.io.errors import CannotWrite, Interrupted, NonFinite, OutOfMemory
from xnas.io.json import parse_json_object
from xnas.io.safe_read import read_regular_text
from xnas.io.text import choose
from xnas.runs.signals import StopRequest
from xnas.study.scheduler import Failure, Task

if TYPE_CHECKING:
    from xnas.space.architecture import Architecture

log = logging.getLogger(__name__)

LOCAL, AUTO = "local", "auto"
MOST = 4096
TOKEN = ".token"
"""The file by which a worker knows that it sees the same folder as the process that sends it."""
PATIENCE = 15.0
"""Seconds that a shared disk may take until it shows everywhere what was written."""
LOCK_PATIENCE = 600.0
"""Seconds that a worker waits for another one, on a machine that was given up for lost, to end."""
MOST_LOSSES = 5
"""A task that is lost so many times in a row without progress counts as failed: it may be what ends its workers."""
FAREWELL = 60.0
"""Seconds that tasks have to end their step and save, once they are to stop."""
BEAT = 1.0
"""Seconds between two looks at what has changed."""

End = Literal["ended", "not finite", "memory", "mistake", "disk", "interrupted", "lost", "unseen", "version"]
"""lost: with its worker, which therefore does not say so. unseen, version: of a machine that cannot take part."""


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """A Ray cluster, and the resources of a task."""

    address: str
    """HOST:PORT of its head; auto: the one that this machine belongs to; local: one of this machine alone, which is
    started, and ends with the program."""
    cpus: float = 1.0
    """CPU cores of a task; below 1 several share one."""
    gpus: float = 0.0
    """GPUs of a task; below 1 several share one."""

    def __post_init__(self) -> None:
        check_text("--address", self.address)
        if self.address not in (LOCAL, AUTO) and not re.fullmatch(
            r"(\[[0-9a-fA-F:]+\]|[\w.\-]+):\d{1,5}", self.address
        ):
            raise ValueError(
                f"--address must be HOST:PORT of a Ray cluster's head, {AUTO} or {LOCAL}; got {self.address!r}"
            )
        if self.address not in (LOCAL, AUTO):
            check_range("the port of --address", int(self.address.rpartition(":")[2]), 1, 65_535)
        for name, value, least in (("cpus", self.cpus, 0.01), ("gpus", self.gpus, 0.0)):
            if not (math.isfinite(value) and least <= value <= MOST):
                raise ValueError(f"--{name} must lie between {least:g} and {MOST}; got {value:g}")
            if value > 1 and value != int(value):
                raise ValueError(f"--{name} above 1 must be a whole number; got {value:g}")

    @property
    def threads(self) -> int:
        """CPU threads of a task whose settings leave them open."""
        return max(1, int(self.cpus))

    def __str__(self) -> str:
        """Return such as "1 CPU and 0.5 GPU"."""
        said = f"{self.cpus:g} CPU{'s' * (self.cpus > 1)}"
        return said + (f" and {self.gpus:g} GPU{'s' * (self.gpus > 1)}" if self.gpus else "")

    @classmethod
    def given(cls, *, address: str | None, cpus: float | None, gpus: float | None) -> "RayOptions | None":
        """Return the options of the command line. Raises ValueError for resources without a cluster."""
        resources = {name: value for name, value in (("cpus", cpus), ("gpus", gpus)) if value is not None}
        if address is None:
            if resources:
                raise ValueError(
                    f"--{next(iter(resources))} is of a task on a cluster; give --address too, or --threads instead"
                )
            return None
        return cls(address=address, **resources)


@dataclass(frozen=True, kw_only=True)
class RemoteTask:
    """A task for a Ray worker."""

    study: str
    """Path of the study's folder."""
    token: str
    version: str
    """The version of xnas."""
    cwd: str
    """The folder that relative paths of the settings start from."""
    name: str
    """The name of the task's folder."""
    config: str
    """TOML."""
    genotype: str | None
    """JSON of what a training trains; None for a search."""

    @classmethod
    def of(cls, task: Task, genotype: "Architecture | None", *, study: Path, token: str) -> "RemoteTask":
        """Return that of a task in a study's folder."""
        return cls(
            study=str(study.resolve()),
            token=token,
            version=version("xnas"),
            cwd=os.getcwd(),
            name=task.name,
            config=task.config.to_toml(),
            genotype=None if genotype is None else genotype.to_json(),
        )

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "RemoteTask":
        """Return the task in a text. Raises ValueError for anything else."""
        fields = parse_json_object(text, where="a remote task")
        texts = {name: fields.text(name) for name in ("study", "token", "version", "cwd", "name", "config")}
        genotype = None if fields.values.get("genotype") is None else fields.text("genotype")
        return cls(**texts, genotype=genotype)

    def read_config(self) -> Config:
        """Return its settings. Raises ValueError for what are none."""
        return parse_config(self.config, where=self.name)

    def check_worker(self) -> "TaskResult | None":
        """Return why this process cannot do it, if it cannot: it waits for the token to show."""
        if self.version != (here := version("xnas")):
            return TaskResult.here("version", f"it has xnas {here}, and the study is of xnas {self.version}")
        path, until = Path(self.study) / TOKEN, time.monotonic() + PATIENCE
        while True:
            with suppress(ValueError, OSError):
                found = read_regular_text(path, what="token", most=100, inside=path.parent)
                if found == self.token:
                    return None
            if time.monotonic() > until:
                return TaskResult.here("unseen", f"it does not see {self.study}")
            time.sleep(0.5)


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The end of a remote task."""

    end: End
    reason: str
    host: str
    """Name of the machine."""

    @classmethod
    def here(cls, end: End, reason: str = "") -> "TaskResult":
        """Return a result on this machine."""
        return cls(end=end, reason=reason, host=socket.gethostname())

    @classmethod
    def of_error(cls, error: Exception) -> "TaskResult":
        """Return that of a task that an error has ended."""
        ends: tuple[tuple[type[Exception], End], ...] = (
            (NonFinite, "not finite"),
            (OutOfMemory, "memory"),
            (Interrupted, "interrupted"),
            (CannotWrite, "disk"),
            (OSError, "disk"),
        )
        end: End = next((end for kind, end in ends if isinstance(error, kind)), "mistake")
        return cls.here(end, " ".join(str(error).split()))

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "TaskResult":
        """Return the result in a text. Raises ValueError for anything else."""
        fields = parse_json_object(text, where="a result")
        end = choose("end", fields.text("end"), get_args(End))
        return cls(end=end, reason=fields.text("reason"), host=fields.name("host"))  # type: ignore[arg-type]

    def error(self) -> Exception:
        """Return the error that it stands for."""
        kinds: dict[str, type[Exception]] = {
            "not finite": NonFinite,
            "memory": OutOfMemory,
            "disk": CannotWrite,
        }
        return kinds.get(self.end, ValueError)(self.reason)


@contextmanager
def shared_folder_token(folder: Path) -> Iterator[str]:
    """Give the folder a token that no other folder has, while the context lasts. Raises CannotWrite."""
    token = secrets.token_hex(16)
    atomic_write(folder / TOKEN, token.encode(), inside=folder)
    try:
        yield token
    finally:
        with suppress(OSError):
            os.unlink(folder / TOKEN)


def run_remote_task(text: str) -> str:
    """Do a remote task in this process, which is a worker; returns its result as text, whatever that is."""
    from xnas.report.terminal import log_to_terminal
    from xnas.runs.lock import wait_until_free
    from xnas.space.architecture import parse_architecture
    from xnas.study.runner import run_task, task_request
    from xnas.train.memory import is_out_of_memory

    remote = RemoteTask.from_text(text)
    if (refused := remote.check_worker()) is not None:
        return refused.to_text()
    try:
        if os.path.isdir(remote.cwd):
            os.chdir(remote.cwd)
        study = Path(remote.study)
        genotype = None if remote.genotype is None else parse_architecture(remote.genotype)
        request = task_request(remote.name, remote.read_config(), study, trains=genotype is not None)
        request.location.existing()  # raises for what is no run
        wait_until_free(study / remote.name, seconds=LOCK_PATIENCE)
        with log_to_terminal():  # which Ray keeps
            run_task(request, genotype)
    except (ValueError, OutOfMemory, OSError, Interrupted) as error:
        return TaskResult.of_error(error).to_text()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return TaskResult.of_error(OutOfMemory(str(error))).to_text()
    return TaskResult.here("ended").to_text()


@dataclass
class _Started:
    """A task that a worker has, or will get."""

    task: Task
    losses: int = 0
    """In a row, without progress."""
    progress: object = None
    """At the last loss."""


class RayExecutor:
    """Executes tasks on a cluster. `ray` is the module, of `connected`."""

    def __init__(
        self,
        ray: Any,
        options: RayOptions,
        *,
        remote_task: Callable[[Task], RemoteTask],
        has_ended: Callable[[Task], bool],
        progress: Callable[[Task], object],
        beat: Callable[[], object],
        stop_request: StopRequest,
    ) -> None:
        """`progress` changes whenever a task comes further, `beat` is called every second."""
        self.ray, self.options, self.stop_request = ray, options, stop_request
        self.remote_task, self.has_ended, self.progress = remote_task, has_ended, progress
        self.beat = beat
        resources = {"num_cpus": options.cpus, "num_gpus": options.gpus}
        self.remote = ray.remote(run_remote_task).options(**resources, max_retries=0)
        self.started: dict[Any, _Started] = {}
        self._slots, self._counted = 0, -BEAT
        if self.slots() == 0:
            largest = max((node["Resources"].get("CPU", 0) for node in _alive(ray)), default=0)
            gpus = ray.cluster_resources().get("GPU", 0)
            raise ValueError(
                f"no node of the cluster at {options.address} has {options} for a task; the largest has {largest:g} "
                f"CPUs, all together {gpus:g} GPUs; ask for less with --cpus and --gpus"
            )

    def slots(self) -> int:
        """Return how many tasks the cluster can do at once."""
        if time.monotonic() - self._counted >= BEAT:
            self._slots = sum(slots_of(node["Resources"], self.options) for node in _alive(self.ray))
            self._counted = time.monotonic()
        return self._slots

    def free_slots(self) -> int:
        """Return twice the slots, less what was started: no slot waits, and a cluster that grows sees the need."""
        return max(2 * self.slots(), 1) - len(self.started)

    def start(self, task: Task) -> None:
        """Queue a task."""
        self._start(_Started(task))

    def _start(self, started: _Started) -> None:
        self.started[self.remote.remote(self.remote_task(started.task).to_text())] = started

    def ended(self) -> tuple[Task, Failure | None]:
        """Wait for the next task that has ended, or failed by itself; those that are lost are started again.

        Raises ValueError for a machine that cannot take part, CannotWrite, and Interrupted after a signal.
        """
        while True:
            if self.stop_request.number is not None:
                raise Interrupted(self.stop_request.number)
            done, _ = self.ray.wait(list(self.started), num_returns=1, timeout=BEAT)
            self.beat()
            for ref in done:
                started = self.started.pop(ref)
                result = self._result_of(ref)
                if result.end in ("lost", "interrupted"):
                    failure = self._lost(started, result)
                    if failure is None:
                        self._start(started)
                        continue
                elif result.end == "ended":
                    failure = self._unseen(started.task, result)
                elif result.end in ("unseen", "version"):
                    raise ValueError(
                        f"the node {result.host} of the cluster cannot take part: {result.reason}; "
                        + (
                            "put the runs on a disk that every node has at the same path"
                            if result.end == "unseen"
                            else "install the same on every node"
                        )
                    )
                else:
                    failure = Failure.of(result.error())
                    if result.end == "disk":
                        raise CannotWrite(f"{started.task.title}, on {result.host}: {result.reason}")
                return started.task, failure

    def _result_of(self, ref: Any) -> TaskResult:
        """Return how a task has ended, as its worker says, or Ray."""
        try:
            return TaskResult.from_text(self.ray.get(ref))
        except self.ray.exceptions.RayTaskError as error:  # a mistake of xnas: what it knows of, it answers
            return TaskResult(end="mistake", reason=str(error).strip().rpartition("\n")[2][:500], host="")
        except self.ray.exceptions.RayError as error:
            said = str(error).strip().partition("\n")[0].partition(". ")[0]
            return TaskResult(end="lost", reason=f"{type(error).__name__}: {said}"[:200], host="")

    def _lost(self, started: _Started, result: TaskResult) -> Failure | None:
        """Count a loss; returns a failure if there were too many in a row."""
        progress = self.progress(started.task)
        started.losses = 1 if progress != started.progress else started.losses + 1
        started.progress = progress
        title = started.task.title
        if started.losses < MOST_LOSSES:
            log.info(f"{title}: lost with its worker ({result.reason}); it resumes elsewhere")
            return None
        reason = f"its worker was lost {MOST_LOSSES} times in a row without progress, the last time by {result.reason}"
        error = OutOfMemory(reason) if result.reason.startswith("OutOfMemoryError") else ValueError(reason)
        return Failure(reason=reason, error=error, permanent=False)

    def _unseen(self, task: Task, result: TaskResult) -> Failure | None:
        """Return a failure if what a worker has done does not show here: shared disks take a while."""
        until = time.monotonic() + PATIENCE
        while not self.has_ended(task):
            if time.monotonic() > until:
                reason = f"it has ended on {result.host}, but its files do not show here; is the disk shared?"
                return Failure(reason=reason, error=ValueError(reason), permanent=False)
            time.sleep(0.2)
        return None

    def dismiss(self) -> None:
        """Let every task end its step and save, as after a signal; those that take long are left to Ray."""
        for ref in self.started:
            with suppress(Exception):
                self.ray.cancel(ref, force=False)
        if self.started:
            self.ray.wait(list(self.started), num_returns=len(self.started), timeout=FAREWELL)


@contextmanager
def connected(options: RayOptions) -> Iterator[Any]:
    """Yield the module ray, connected to the cluster. Raises ValueError if there is none, or no Ray."""
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"--address needs Ray ({error}): pip install 'xnas[ray]'") from error
    if options.address not in (LOCAL, AUTO):
        _reach(options.address)
    more: dict[str, Any] = {"include_dashboard": False} if options.address == LOCAL else {}
    terminate = signal.getsignal(signal.SIGTERM)
    # Ray prints pages about every worker and node that is lost; what matters of it is said here, in a line.
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        try:
            ray.init(
                address=options.address,
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
                **more,
            )
        except Exception as error:  # whatever Ray raises, there is no cluster
            said = " ".join(str(error).split())[:300]
            if options.address == AUTO and isinstance(error, ConnectionError):
                raise ValueError(
                    f"no Ray cluster at --address {AUTO}: none runs on this machine; start one with: ray start --head"
                ) from error
            remedy = "where it asks for a token RAY_AUTH_MODE=token and its file are needed here too"
            raise ValueError(
                f"the Ray cluster at --address {options.address} cannot be joined: {said}; it must have the same "
                f"versions of Ray and Python, and {remedy}"
            ) from error
        finally:
            signal.signal(
                signal.SIGTERM, terminate
            )  # Ray's own handler would end the program with another code
        with _shutting_down(ray):
            log.info(_described(ray, options))
            yield ray


@contextmanager
def _shutting_down(ray: Any) -> Iterator[None]:
    try:
        yield
    finally:
        ray.shutdown()


def _described(ray: Any, options: RayOptions) -> str:
    nodes, resources = len(list(_alive(ray))), ray.cluster_resources()
    return (
        f"cluster: {nodes} node{'s' * (nodes != 1)}, {resources.get('CPU', 0):g} CPUs, "
        f"{resources.get('GPU', 0):g} GPUs; a task takes {options}"
    )


def slots_of(resources: dict[str, float], options: RayOptions) -> int:
    """Return how many tasks fit on a node with these resources."""
    fits = [resources.get("CPU", 0.0) / options.cpus]
    if options.gpus:
        fits.append(resources.get("GPU", 0.0) / options.gpus)
    return int(min(fits) + 1e-9)


def _alive(ray: Any) -> Iterator[Any]:
    return (node for node in ray.nodes() if node["Alive"])


def _reach(address: str) -> None:
    """Raise ValueError if nothing listens there: Ray would try for two minutes, and then end the program."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise ValueError(
            f"no Ray cluster at --address {address}: {error}; start one with: ray start --head"
        ) from error
