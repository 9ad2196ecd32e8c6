"""Workers of a Ray cluster: many tasks at once, on any number of machines that share a disk.

Ray places tasks and tells which are lost; everything that matters is in the tasks' folders. So Ray is to repeat nothing
by itself, a task that is lost with its worker or machine is started again here and goes on from its own checkpoint, and
when this process is lost, Ray ends its tasks and the next one goes on with them.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

from xnas.io.errors import CannotWrite, Interrupted, OutOfMemory
from xnas.runs.signals import StopRequest
from xnas.study.ray_options import AUTO, LOCAL, RayOptions
from xnas.study.remote_task import PATIENCE, TaskResult
from xnas.study.scheduler import Failure, Task

log = logging.getLogger(__name__)

MOST_LOSSES = 5
"""A task that is lost so many times in a row without progress counts as failed: it may be what ends its workers."""
FAREWELL = 60.0
"""Seconds that tasks have to end their step and save, once they are to stop."""
BEAT = 1.0
"""Seconds between two looks at what has changed."""


@dataclass
class _Started:
    """A task that a worker has, or will get."""

    task: Task
    losses: int = 0
    """In a row, without progress."""
    progress: object = None
    """At the last loss."""


class RayExecutor:
    """The workers of a cluster, as `tasks.Workers` has it. Made by `connected`."""

    def __init__(
        self,
        ray: Any,
        pool: RayOptions,
        *,
        work: Callable[[str], str],
        errand: Callable[[Task], str],
        has_ended: Callable[[Task], bool],
        progress: Callable[[Task], object],
        beat: Callable[[], object],
        interrupt: StopRequest,
    ) -> None:
        """`work` is done by a worker, with the text of an errand; a function of a module, which goes by its name.

        `progress` changes whenever a task comes further, `beat` is called every second.
        """
        self.ray, self.pool, self.interrupt = ray, pool, interrupt
        self.errand, self.has_ended, self.progress = errand, has_ended, progress
        self.beat = beat
        self.remote = ray.remote(work).options(num_cpus=pool.cpus, num_gpus=pool.gpus, max_retries=0)
        self.started: dict[Any, _Started] = {}
        self._slots, self._counted = 0, -BEAT
        if self.slots() == 0:
            largest = max((node["Resources"].get("CPU", 0) for node in _alive(ray)), default=0)
            raise ValueError(
                f"no node of the cluster at {pool.address} has {pool} for a task; the largest has {largest:g} CPUs, "
                f"all together {ray.cluster_resources().get('GPU', 0):g} GPUs; ask for less with --cpus and --gpus"
            )

    def slots(self) -> int:
        """How many tasks the cluster can do at once."""
        if time.monotonic() - self._counted >= BEAT:
            self._slots = sum(slots_of(node["Resources"], self.pool) for node in _alive(self.ray))
            self._counted = time.monotonic()
        return self._slots

    def free_slots(self) -> int:
        """Twice as many as there are slots: no slot waits for this process, and a cluster that grows sees the need."""
        return max(2 * self.slots(), 1) - len(self.started)

    def start(self, task: Task) -> None:
        """Put it in line."""
        self._start(_Started(task))

    def _start(self, started: _Started) -> None:
        self.started[self.remote.remote(self.errand(started.task))] = started

    def ended(self) -> tuple[Task, Failure | None]:
        """Wait for the next task that has ended, or failed by itself; those that are lost are started again.

        Raises ValueError for a machine that cannot take part, CannotWrite, and Interrupted after a signal.
        """
        while True:
            if self.interrupt.number is not None:
                raise Interrupted(self.interrupt.number)
            done, _ = self.ray.wait(list(self.started), num_returns=1, timeout=BEAT)
            self.beat()
            for ref in done:
                started = self.started.pop(ref)
                outcome = self._outcome(ref)
                if outcome.end in ("lost", "interrupted"):
                    failure = self._lost(started, outcome)
                    if failure is None:
                        self._start(started)
                        continue
                elif outcome.end == "ended":
                    failure = self._unseen(started.task, outcome)
                elif outcome.end in ("unseen", "version"):
                    raise ValueError(
                        f"the node {outcome.host} of the cluster cannot take part: {outcome.reason}; "
                        + (
                            "put the runs on a disk that every node has at the same path"
                            if outcome.end == "unseen"
                            else "install the same on every node"
                        )
                    )
                else:
                    failure = Failure.of(outcome.error())
                    if outcome.end == "disk":
                        raise CannotWrite(f"{started.task.title}, on {outcome.host}: {outcome.reason}")
                return started.task, failure

    def _outcome(self, ref: Any) -> TaskResult:
        """What has become of a task, as its worker says, or Ray."""
        try:
            return TaskResult.of(self.ray.get(ref))
        except self.ray.exceptions.RayTaskError as error:  # a mistake of xnas: what it knows of, it answers
            return TaskResult(end="mistake", reason=str(error).strip().rpartition("\n")[2][:500], host="")
        except self.ray.exceptions.RayError as error:
            said = str(error).strip().partition("\n")[0].partition(". ")[0]
            return TaskResult(end="lost", reason=f"{type(error).__name__}: {said}"[:200], host="")

    def _lost(self, started: _Started, outcome: TaskResult) -> Failure | None:
        """Count a loss; a failure if there were too many in a row."""
        progress = self.progress(started.task)
        started.losses = 1 if progress != started.progress else started.losses + 1
        started.progress = progress
        title = started.task.title
        if started.losses < MOST_LOSSES:
            log.info(f"{title}: lost with its worker ({outcome.reason}); it goes on elsewhere")
            return None
        reason = f"its worker was lost {MOST_LOSSES} times in a row without progress, the last time by {outcome.reason}"
        error = OutOfMemory(reason) if outcome.reason.startswith("OutOfMemoryError") else ValueError(reason)
        return Failure(reason=reason, error=error, permanent=False)

    def _unseen(self, task: Task, outcome: TaskResult) -> Failure | None:
        """A failure if what a worker has done does not show here: shared disks take a while."""
        until = time.monotonic() + PATIENCE
        while not self.has_ended(task):
            if time.monotonic() > until:
                reason = (
                    f"it has ended on {outcome.host}, but its files do not show here; is the disk shared?"
                )
                return Failure(reason=reason, error=ValueError(reason), permanent=False)
            time.sleep(0.2)
        return None

    def dismiss(self) -> None:
        """Have every task end its step and save, as after a signal; those that take long are left to Ray."""
        for ref in self.started:
            with suppress(Exception):
                self.ray.cancel(ref, force=False)
        if self.started:
            self.ray.wait(list(self.started), num_returns=len(self.started), timeout=FAREWELL)


@contextmanager
def connected(pool: RayOptions) -> Iterator[Any]:
    """Within it the module ray, which belongs to the cluster. Raises ValueError if there is none, or no Ray."""
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"--address needs Ray ({error}): pip install 'xnas[ray]'") from error
    if pool.address not in (LOCAL, AUTO):
        _reach(pool.address)
    options: dict[str, Any] = {"include_dashboard": False} if pool.address == LOCAL else {}
    terminate = signal.getsignal(signal.SIGTERM)
    # Ray prints pages about every worker and node that is lost; what matters of it is said here, in a line.
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        try:
            ray.init(
                address=pool.address,
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
                **options,
            )
        except Exception as error:  # whatever Ray raises, there is no cluster
            said = " ".join(str(error).split())[:300]
            if pool.address == AUTO and isinstance(error, ConnectionError):
                raise ValueError(
                    f"no Ray cluster at --address {AUTO}: none runs on this machine; start one with: ray start --head"
                ) from error
            raise ValueError(
                f"the Ray cluster at --address {pool.address} cannot be joined: {said}; it must have the same versions "
                "of Ray and Python, and where it asks for a token RAY_AUTH_MODE=token and its file are needed here too"
            ) from error
        finally:
            signal.signal(
                signal.SIGTERM, terminate
            )  # Ray's own handler would end the program with another code
        with _shutting_down(ray):
            log.info(_described(ray, pool))
            yield ray


@contextmanager
def _shutting_down(ray: Any) -> Iterator[None]:
    try:
        yield
    finally:
        ray.shutdown()


def _described(ray: Any, pool: RayOptions) -> str:
    nodes, resources = len(list(_alive(ray))), ray.cluster_resources()
    return (
        f"cluster: {nodes} node{'s' * (nodes != 1)}, {resources.get('CPU', 0):g} CPUs, "
        f"{resources.get('GPU', 0):g} GPUs; a task takes {pool}"
    )


def slots_of(resources: dict[str, float], pool: RayOptions) -> int:
    """How many tasks fit on a node with these resources."""
    fits = [resources.get("CPU", 0.0) / pool.cpus]
    if pool.gpus:
        fits.append(resources.get("GPU", 0.0) / pool.gpus)
    return int(min(fits) + 1e-9)


def _alive(ray: Any) -> Iterator[Any]:
    return (node for node in ray.nodes() if node["Alive"])


def _reach(address: str) -> None:
    """Raises ValueError if nothing listens there: Ray would try for two minutes, and then end the program."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise ValueError(
            f"no Ray cluster at --address {address}: {error}; start one with: ray start --head"
        ) from error
