"""Tasks that need each other: in order, none twice, and what failed takes along only what needs it."""

from collections import deque

import pytest

from xnas import Config
from xnas.io.errors import CannotWrite, NonFinite, OutOfMemory
from xnas.study.scheduler import Failure, LocalExecutor, Task, run_tasks, time_left


def task(name: str, *after: str, allow_partial: bool = False) -> Task:
    return Task(
        name=name,
        title=f"task {name}",
        kind=name[0],
        config=Config(),
        after=after,
        allow_partial=allow_partial,
    )


class Log:
    """Does tasks; those in `fails` raise what stands there."""

    def __init__(self, *ended: str, fails: dict[str, Exception] | None = None) -> None:
        self.ended, self.fails = set(ended), fails or {}
        self.done: list[str] = []
        self.begun: list[str] = []
        self.told: list[tuple[str, str | None]] = []

    def run(self, *tasks: Task) -> dict[str, Failure]:
        return run_tasks(
            tasks,
            has_ended=lambda task: task.name in self.ended,
            executor=LocalExecutor(self._perform),
            on_start=lambda task: self.begun.append(task.name),
            on_end=lambda task, failure: self.told.append((task.name, failure and failure.reason)),
        )

    def _perform(self, task: Task) -> None:
        if error := self.fails.get(task.name):
            raise error
        self.done.append(task.name)


def test_tasks_are_done_in_their_order_and_what_has_ended_is_not_done_again() -> None:
    log = Log("b")
    assert log.run(task("a"), task("b"), task("c", "a", "b")) == {}
    assert log.done == ["a", "c"]
    assert log.begun == ["a", "c"]


def test_a_failure_takes_along_what_needs_it_and_nothing_else() -> None:
    log = Log(fails={"a": NonFinite("the loss is nan")})
    failures = log.run(task("a"), task("b", "a"), task("c", "b"), task("d"))
    assert log.done == ["d"]
    assert log.told == [
        ("a", "the loss is nan"),
        ("b", "not started, as it needs what has failed: task a"),
        ("c", "not started, as it needs what has failed: task b"),
        ("d", None),
    ]
    assert [failure.permanent for failure in failures.values()] == [True, True, True]


@pytest.mark.parametrize(
    ("error", "allow_partial", "begun"),
    [
        (NonFinite("nan"), True, True),  # it would fail in the same way again
        (OutOfMemory("full"), True, False),  # it may not
        (NonFinite("nan"), False, False),
    ],
)
def test_a_tolerant_task_goes_on_without_what_has_failed_for_good(
    error: Exception, allow_partial: bool, begun: bool
) -> None:
    log = Log(fails={"a": error})
    log.run(task("a"), task("b"), task("c", "a", "b", allow_partial=allow_partial))
    assert ("c" in log.done) == begun


def test_a_tolerant_task_needs_one_that_has_ended() -> None:
    log = Log(fails={"a": NonFinite("nan"), "b": NonFinite("nan")})
    assert set(log.run(task("a"), task("b"), task("c", "a", "b", allow_partial=True))) == {"a", "b", "c"}


def test_a_mistake_ends_its_own_task_and_may_be_mended() -> None:
    log = Log(fails={"a": ValueError("the images are damaged")})
    failures = log.run(task("a"), task("b"), task("c", "a"))
    assert log.done == ["b"]
    assert [failure.permanent for failure in failures.values()] == [False, False]


@pytest.mark.parametrize("error", [CannotWrite("the disk is full"), OSError("gone"), TypeError("a bug")])
def test_a_disk_that_takes_nothing_and_mistakes_of_ours_end_it_all(error: Exception) -> None:
    log = Log(fails={"a": error})
    with pytest.raises(type(error), match=str(error)):
        log.run(task("a"), task("b"))
    assert log.done == []


class Several:
    """Workers who do up to `size` tasks at once, and end with those that began last."""

    def __init__(self, size: int, *, fails: tuple[str, ...] = ()) -> None:
        self.size, self.fails = size, fails
        self.started: deque[Task] = deque()
        self.most = 0
        self.order: list[str] = []

    def free_slots(self) -> int:
        return self.size - len(self.started)

    def start(self, task: Task) -> None:
        self.order.append(task.name)
        self.started.append(task)
        self.most = max(self.most, len(self.started))

    def ended(self) -> tuple[Task, Failure | None]:
        task = self.started.pop()
        return task, Failure.of(NonFinite("nan")) if task.name in self.fails else None


def test_several_workers_do_what_is_ready_and_nothing_before_what_it_needs() -> None:
    workers, ended = Several(3, fails=("b",)), []
    failures = run_tasks(
        [task("a"), task("b"), task("c", "a"), task("d", "b"), task("e"), task("f", "c", "e"), task("g")],
        has_ended=lambda task: task.name == "g",
        executor=workers,
        on_start=lambda task: None,
        on_end=lambda task, failure: ended.append(task.name),
    )
    assert workers.most == 3
    assert workers.order == ["a", "b", "e", "c", "f"]
    assert ended.index("a") < ended.index("c") < ended.index("f")
    assert set(failures) == {"b", "d"}
    assert sorted(ended) == ["a", "b", "c", "d", "e", "f"]


def test_the_time_left_is_that_of_tasks_of_the_same_kinds_over_the_workers() -> None:
    assert time_left({"a": [1.0, 3.0], "b": [10.0]}, ["a", "a", "b"]) == (14.0, True)
    assert time_left({"a": [1.0]}, ["a", "c"]) == (1.0, False)
    assert time_left({"a": [4.0]}, ["a"], running=[("a", 1.0), ("a", 9.0)], workers=2) == (3.5, True)
