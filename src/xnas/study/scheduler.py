"""The scheduler of tasks that may need each other: which are ready, and what those come to that need a failed one.

A task is a value. What it has done is in its folder and nowhere else, so that tasks can be done by several processes
one after another, and what has ended is never done again. A list of tasks names none before those that it needs. The
executor does them, here one after another or on a cluster many at once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from xnas.config.schema import Config
from xnas.io.errors import CannotWrite, NonFinite, OutOfMemory
from xnas.space.architecture import Architecture


@dataclass(frozen=True, kw_only=True)
class Task:
    """A run, in a folder of its own."""

    name: str
    """The name of its folder, inside the study's."""
    title: str
    kind: str
    """Tasks of a kind take about as long as each other."""
    config: Config
    after: tuple[str, ...] = ()
    """Names of the tasks that must have ended before."""
    genotype: Architecture | None = None
    """The architecture of a training, where it does not come from the tasks of `after`."""
    allow_partial: bool = False
    """Tasks of `after` may have failed for good, if one at least has ended."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The reason why a task has not ended."""

    reason: str
    error: Exception | None
    """None where it was not started."""
    permanent: bool
    """It would fail in the same way again."""

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Return that of a task that an error has ended."""
        return cls(reason=str(error), error=error, permanent=isinstance(error, NonFinite))


class Executor(Protocol):
    """Executes tasks."""

    def free_slots(self) -> int:
        """Return how many more tasks may be started now."""
        ...

    def start(self, task: Task) -> None:
        """Start a task, or queue it. Returns at once."""
        ...

    def ended(self) -> tuple[Task, Failure | None]:
        """Wait for the next task that has ended or failed. Raises what ends all of them."""
        ...


class LocalExecutor:
    """Executes tasks in this process, one after another."""

    def __init__(self, perform: Callable[[Task], object]) -> None:
        self.perform = perform
        self.next: Task | None = None

    def free_slots(self) -> int:
        """Return 1, or 0 while a task is queued."""
        return int(self.next is None)

    def start(self, task: Task) -> None:
        """Queue a task, which `ended` does."""
        self.next = task

    def ended(self) -> tuple[Task, Failure | None]:
        """Do the task. A full disk and signals end all tasks, other errors this one alone."""
        assert self.next is not None
        task, self.next = self.next, None
        try:
            self.perform(task)
        except CannotWrite:
            raise
        except (ValueError, OutOfMemory) as error:
            return task, Failure.of(error)
        return task, None


def run_tasks(
    tasks: Sequence[Task],
    *,
    has_ended: Callable[[Task], bool],
    executor: Executor,
    on_start: Callable[[Task], object],
    on_end: Callable[[Task, Failure | None], object],
) -> dict[str, Failure]:
    """Do what has not ended, in order as far as there is room; returns what failed, by name.

    With a task that fails, those that need it fail; the others continue. `on_start` is called for every task that is
    started; `on_end` for each that has ended or failed, and for those that cannot be started, too.
    """
    failures: dict[str, Failure] = {}
    ended = {task.name for task in tasks if has_ended(task)}
    titles = {task.name: task.title for task in tasks}
    waiting = [task for task in tasks if task.name not in ended]
    running = 0
    while waiting or running:
        left = []
        for index, task in enumerate(waiting):
            if not executor.free_slots():
                left += waiting[index:]
                break
            if not all(name in ended or name in failures for name in task.after):
                left.append(task)
            elif (obstacle := _obstacle(task, ended, failures, titles)) is not None:
                failures[task.name] = obstacle
                on_end(task, obstacle)
            else:
                on_start(task)
                executor.start(task)
                running += 1
        waiting = left
        if running:
            task, failure = executor.ended()
            running -= 1
            if failure is None:
                ended.add(task.name)
            else:
                failures[task.name] = failure
            on_end(task, failure)
    return failures


def time_left(
    seconds: Mapping[str, Sequence[float]],
    waiting: Iterable[str],
    *,
    running: Iterable[tuple[str, float]] = (),
    workers: int = 1,
) -> tuple[float, bool]:
    """Return the seconds that tasks will take, as those of their kind took; and whether all kinds are known.

    `waiting` are the kinds of those that have not started, `running` the kinds of those that have, and for how many
    seconds. `workers` is how many are done at once.
    """
    unknown, total = False, 0.0
    for kind, spent in (*((kind, 0.0) for kind in waiting), *running):
        if known := seconds.get(kind):
            total += max(fmean(known) - spent, 0.0)
        else:
            unknown = True
    return total / max(workers, 1), not unknown


def _obstacle(
    task: Task, ended: set[str], failures: Mapping[str, Failure], titles: Mapping[str, str]
) -> Failure | None:
    """Return why a task cannot start, if it cannot."""
    missing = [name for name in task.after if name not in ended]
    permanent = all(failures[name].permanent for name in missing)
    if not missing or (task.allow_partial and permanent and len(missing) < len(task.after)):
        return None
    return Failure(
        reason=f"not started, as it needs what has failed: {titles[missing[0]]}",
        error=None,
        permanent=permanent,
    )
