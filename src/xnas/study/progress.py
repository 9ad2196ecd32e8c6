"""The progress of a study: how many tasks are waiting, running, done and failed, and the time left."""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xnas.report.format import duration
from xnas.report.ranking import aligned

if TYPE_CHECKING:
    from xnas.study.scheduler import Failure, Task

STATES = ("waiting", "running", "done", "failed")
MOST_SHOWN = 8
"""Running tasks that the table names."""


class StudyProgress:
    """The state of a study's tasks, and the time left, as far as tasks that have ended tell."""

    def __init__(
        self,
        path: Path,
        tasks: "Sequence[Task]",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.tasks, self.clock = path, tasks, clock
        self.slots: Callable[[], int] = lambda: 1
        """Returns how many tasks are done at once."""
        self.numbers = {task.name: number for number, task in enumerate(tasks, start=1)}
        self.seconds: dict[str, list[float]] = {}
        """The times of tasks that have ended, by kind."""
        self.started: dict[str, Task] = {}
        """Tasks that a worker has or will get, in this order: as many as there are slots are running."""
        self.since: dict[str, float] = {}
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self.last: Task | None = None

    def has_ended(self, task: "Task") -> None:
        """Note that a task has ended, in this process or another."""
        from xnas.runs.folder import RunFolder

        if task.name not in self.done:
            self.done.add(task.name)
            if spent := RunFolder(self.path / task.name).seconds():
                self.seconds.setdefault(task.kind, []).append(spent)

    def starts(self, task: "Task") -> None:
        """Note that a task starts."""
        self.started[task.name] = self.last = task
        self._look()

    def ends(self, task: "Task", failure: "Failure | None") -> None:
        """Note that a task has ended, or failed."""
        self.started.pop(task.name, None)
        self.since.pop(task.name, None)
        if failure is None:
            self.has_ended(task)
        else:
            self.failed.add(task.name)
        self._look()

    def line(self) -> str:
        """Return the task that started last, and the time left."""
        said = (
            ""
            if self.last is None
            else f"{self.numbers[self.last.name]} of {len(self.tasks)}: {self.last.title}"
        )
        return said + self._left()

    def line_at_end(self, task: "Task") -> str:
        """Return what is done once `task` has ended, one of several at once."""
        running = len(self._look())
        failed = f", {len(self.failed)} failed" if self.failed else ""
        counted = f"{len(self.done)} of {len(self.tasks)} done, {running} running{failed}"
        return f"{task.title}: done; {counted}{self._left()}"

    def table(self) -> str:
        """Return in several lines how many tasks of each kind are in each state, and which run now."""
        running = self._look()
        kinds = list(dict.fromkeys(task.kind for task in self.tasks))
        counted = {kind: dict.fromkeys(STATES, 0) for kind in kinds}
        for task in self.tasks:
            counted[task.kind][self._state(task, running)] += 1
        lines = [(kind, *map(str, numbers.values())) for kind, numbers in counted.items()]
        if len(kinds) > 1:
            lines.append(
                ("all", *(str(sum(numbers[state] for numbers in counted.values())) for state in STATES))
            )
        titles = [f"running: {self.started[name].title}" for name in list(running)[:MOST_SHOWN]]
        if (more := len(running) - MOST_SHOWN) > 0:
            titles.append(f"and {more} more")
        return "\n".join((*aligned([("tasks", *STATES), *lines]), *titles, self._left().removeprefix("; ")))

    def _state(self, task: "Task", running: Collection[str]) -> str:
        for state, names in (("done", self.done), ("failed", self.failed), ("running", running)):
            if task.name in names:
                return state
        return "waiting"

    def _look(self) -> dict[str, float]:
        """Return the running tasks, and since when each of them runs."""
        for name in list(self.started)[: self.slots()]:
            self.since.setdefault(name, self.clock())
        return {name: self.since[name] for name in self.started if name in self.since}

    def _left(self) -> str:
        from xnas.study.scheduler import time_left

        running, now = self._look(), self.clock()
        gone = {*running, *self.done, *self.failed}
        left, certain = time_left(
            self.seconds,
            [task.kind for task in self.tasks if task.name not in gone],
            running=[(self.started[name].kind, now - since) for name, since in running.items()],
            workers=self.slots(),
        )
        return f"; {'about' if certain else 'at least'} {duration(left)} left in all" if left else ""
