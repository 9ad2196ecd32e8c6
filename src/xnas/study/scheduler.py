"""Many tasks that may need each other: which are ready, and what becomes of those that need one that has failed.

A task is a value. What it has done is in its folder and nowhere else, so tasks can be done in several sittings, and
what has ended is never done again. A list of tasks names none before those that it needs. Who does them, here one after
another or on a cluster many at once, is a matter of the workers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from xnas.config.schema import Config
from xnas.io.errors import CannotWrite, NonFinite, OutOfMemory
from xnas.report.stats import mean
from xnas.space.architecture import Architecture


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something that is done once, in a folder of its own."""

    name: str
    """Of its folder, inside the folder of all."""
    title: str
    """What people call it."""
    kind: str
    """What is done: tasks of a kind take about as long as each other."""
    config: Config
    after: tuple[str, ...] = ()
    """Names of the tasks that must have ended before."""
    genotype: Architecture | None = None
    """What a training trains, where it does not come from the tasks of `after`."""
    allow_partial: bool = False
    """Whether tasks of `after` may have failed for good, if one at least has ended."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a task has not ended."""

    reason: str
    error: Exception | None
    """None where it was not begun."""
    permanent: bool
    """Whether it would fail in the same way again."""

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """That of a task that an error has ended."""
        return cls(reason=str(error), error=error, permanent=isinstance(error, NonFinite))


class Executor(Protocol):
    """Those who do tasks."""

    def free_slots(self) -> int:
        """How many more tasks may be started now."""
        ...

    def start(self, task: Task) -> None:
        """Begin with a task, or put it in line. Returns at once."""
        ...

    def ended(self) -> tuple[Task, Failure | None]:
        """Wait for the next task that has ended, or failed by itself. Raises what ends all of them."""
        ...


class LocalExecutor:
    """This process, one task after another."""

    def __init__(self, perform: Callable[[Task], object]) -> None:
        self.perform = perform
        self.next: Task | None = None

    def free_slots(self) -> int:
        """None while there is a task to be done."""
        return int(self.next is None)

    def start(self, task: Task) -> None:
        """It is done when its end is waited for."""
        self.next = task

    def ended(self) -> tuple[Task, Failure | None]:
        """Do the task. A disk that takes nothing and signals end all tasks, other mistakes this one alone."""
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
    workers: Executor,
    begins: Callable[[Task], object],
    ends: Callable[[Task, Failure | None], object],
) -> dict[str, Failure]:
    """Do what has not ended, in order as far as there is room; returns what failed, by name.

    A task that fails by itself takes those that need it along, and the others go on. `begins` is told of every task
    that is started; `ends` of each that has ended or failed, and of those that cannot be started, too.
    """
    failures: dict[str, Failure] = {}
    ended = {task.name for task in tasks if has_ended(task)}
    titles = {task.name: task.title for task in tasks}
    waiting = [task for task in tasks if task.name not in ended]
    running = 0
    while waiting or running:
        left = []
        for place, task in enumerate(waiting):
            if not workers.free_slots():
                left += waiting[place:]
                break
            if not all(name in ended or name in failures for name in task.after):
                left.append(task)
            elif (hindrance := _hindrance(task, ended, failures, titles)) is not None:
                failures[task.name] = hindrance
                ends(task, hindrance)
            else:
                begins(task)
                workers.start(task)
                running += 1
        waiting = left
        if running:
            task, failure = workers.ended()
            running -= 1
            if failure is None:
                ended.add(task.name)
            else:
                failures[task.name] = failure
            ends(task, failure)
    return failures


def time_left(
    seconds: Mapping[str, Sequence[float]],
    waiting: Iterable[str],
    *,
    running: Iterable[tuple[str, float]] = (),
    workers: int = 1,
) -> tuple[float, bool]:
    """Seconds that tasks will take, as those of their kind took; and whether all kinds are known.

    `waiting` are the kinds of those that have not begun, `running` the kinds of those that have, and since when, in
    seconds. `workers` is how many are done at once.
    """
    unknown, total = False, 0.0
    for kind, spent in (*((kind, 0.0) for kind in waiting), *running):
        if known := seconds.get(kind):
            total += max(mean(known) - spent, 0.0)
        else:
            unknown = True
    return total / max(workers, 1), not unknown


def _hindrance(
    task: Task, ended: set[str], failures: Mapping[str, Failure], titles: Mapping[str, str]
) -> Failure | None:
    """Why a task cannot begin, if it cannot."""
    missing = [name for name in task.after if name not in ended]
    permanent = all(failures[name].permanent for name in missing)
    if not missing or (task.allow_partial and permanent and len(missing) < len(task.after)):
        return None
    return Failure(
        reason=f"not begun, as it needs what has failed: {titles[missing[0]]}",
        error=None,
        permanent=permanent,
    )
