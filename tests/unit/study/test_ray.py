"""Workers of a cluster, with a cluster that is played: what is lost is started again, and not for ever."""

import dataclasses
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xnas import Config, RunFolder, published_genotype
from xnas.config.loading import parse_config
from xnas.io.errors import CannotWrite, Interrupted, NonFinite, OutOfMemory
from xnas.runs.lock import locked
from xnas.runs.signals import StopRequest
from xnas.study import ray as study_ray
from xnas.study.ray import (
    MOST_LOSSES,
    RayExecutor,
    RayOptions,
    RemoteTask,
    TaskResult,
    connected,
    run_remote_task,
    shared_folder_token,
    slots_of,
)
from xnas.study.runner import files_of
from xnas.study.scheduler import Failure, Task

from ...helpers.smallest_run import SMALLEST


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class OutOfMemoryError(RayError):
    pass


class WorkerDied(RayError):
    pass


class PlayedRay:
    """Answers what it is told to, task by task."""

    exceptions = SimpleNamespace(
        RayError=RayError, RayTaskError=RayTaskError, OutOfMemoryError=OutOfMemoryError
    )

    def __init__(self, *answers: str | Exception, cpus: float = 2.0) -> None:
        self.answers, self.cpus = deque(answers), cpus
        self.cancelled: list[object] = []
        self.options: dict[str, float] = {}
        self.texts: list[str] = []

    def remote(self, work: Callable[[str], str]) -> Any:
        del work

        def options(**values: float) -> Any:
            self.options = values
            return SimpleNamespace(remote=self._submit)

        return SimpleNamespace(options=options)

    def _submit(self, text: str) -> object:
        self.texts.append(text)
        return object()

    def wait(
        self, refs: list[object], *, num_returns: int, timeout: float
    ) -> tuple[list[object], list[object]]:
        del timeout
        return refs[:num_returns], refs[num_returns:]

    def get(self, ref: object) -> str:
        del ref
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self, ref: object, *, force: bool) -> None:
        assert not force
        self.cancelled.append(ref)

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"Alive": True, "Resources": {"CPU": self.cpus}},
            {"Alive": False, "Resources": {"CPU": 64.0}},
        ]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cpus}


def remote_task(task: Task) -> RemoteTask:
    return RemoteTask.of(task, None, study=Path("/runs"), token="secret")


class Told:
    def __init__(
        self, *answers: str | Exception, progress: Callable[[Task], object] = lambda task: 0
    ) -> None:
        self.ray, self.stop_request = PlayedRay(*answers), StopRequest()
        self.workers = RayExecutor(
            self.ray,
            RayOptions(address="auto"),
            remote_task=remote_task,
            has_ended=lambda task: True,
            progress=progress,
            beat=lambda: None,
            stop_request=self.stop_request,
        )

    def does(self, *names: str) -> tuple[Task, Failure | None]:
        for name in names:
            self.workers.start(Task(name=name, title=f"task {name}", kind="k", config=Config()))
        return self.workers.ended()


ENDED = TaskResult.here("ended").to_text()


def test_a_task_that_is_lost_is_started_again_until_it_ends(said: list[str]) -> None:
    told = Told(WorkerDied("killed"), TaskResult.here("interrupted", "stopped by SIGTERM").to_text(), ENDED)
    task, failure = told.does("a")
    assert (task.name, failure) == ("a", None)
    assert [RemoteTask.from_text(text).name for text in told.ray.texts] == ["a"] * 3
    assert told.ray.options["max_retries"] == 0
    assert said[0] == "task a: lost with its worker (WorkerDied: killed); it resumes elsewhere"


def test_a_task_that_comes_no_further_and_loses_every_worker_counts_as_failed() -> None:
    told = Told(*[WorkerDied("killed")] * MOST_LOSSES)
    _, failure = told.does("a")
    assert failure is not None
    assert not failure.permanent
    assert "lost 5 times in a row without progress, the last time by WorkerDied: killed" in failure.reason
    rounds = iter(range(100))
    patient = Told(*[WorkerDied("killed")] * 3 * MOST_LOSSES, ENDED, progress=lambda task: next(rounds))
    assert patient.does("a")[1] is None


def test_too_little_memory_on_a_node_is_told_as_that() -> None:
    _, failure = Told(*[OutOfMemoryError("the node ran low")] * MOST_LOSSES).does("a")
    assert failure is not None
    assert isinstance(failure.error, OutOfMemory)


@pytest.mark.parametrize(
    ("outcome", "kind", "permanent"),
    [
        (TaskResult.of_error(NonFinite("the loss is nan")).to_text(), NonFinite, True),
        (TaskResult.of_error(OutOfMemory("full")).to_text(), OutOfMemory, False),
        (TaskResult.of_error(ValueError("the images are damaged")).to_text(), ValueError, False),
        (RayTaskError("Traceback ...\nTypeError: a bug"), ValueError, False),
    ],
)
def test_a_task_that_fails_by_itself_is_reported_and_not_done_again(
    outcome: str | Exception, kind: type[Exception], permanent: bool
) -> None:
    told = Told(outcome)
    _, failure = told.does("a")
    assert failure is not None
    assert type(failure.error) is kind
    assert failure.permanent == permanent
    assert [RemoteTask.from_text(text).name for text in told.ray.texts] == ["a"]


@pytest.mark.parametrize(
    ("outcome", "kind", "said"),
    [
        (TaskResult.of_error(CannotWrite("no room")), CannotWrite, "task a, on .*: no room"),
        (
            TaskResult(end="unseen", reason="it does not see /runs", host="h"),
            ValueError,
            "on a disk that every node has",
        ),
        (
            TaskResult(end="version", reason="it has xnas 3", host="h"),
            ValueError,
            "node h of .*; install the same",
        ),
    ],
)
def test_a_disk_that_takes_nothing_and_a_node_that_cannot_take_part_end_it_all(
    outcome: TaskResult, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        Told(outcome.to_text()).does("a")


def test_after_a_signal_all_tasks_are_asked_to_save() -> None:
    told = Told()
    told.stop_request.number = 15
    with pytest.raises(Interrupted):
        told.does("a", "b")
    told.workers.dismiss()
    assert len(told.ray.cancelled) == 2


def test_there_is_room_for_twice_what_the_living_nodes_can_do() -> None:
    told = Told()
    assert (told.workers.slots(), told.workers.free_slots()) == (2, 4)
    with pytest.raises(ValueError, match="has 3 CPUs for a task; the largest has 2 CPUs"):
        RayExecutor(
            told.ray, RayOptions(address="auto", cpus=3), remote_task=remote_task, has_ended=bool, progress=str,
            beat=print, stop_request=StopRequest(),
        )  # fmt: skip


def test_without_ray_or_a_cluster_a_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ray", None)
        with (
            pytest.raises(ValueError, match=r"--address needs Ray .*: pip install 'xnas\[ray\]'"),
            connected(RayOptions(address="auto")),
        ):
            pass
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(
                ValueError, match=rf"no Ray cluster at --address {address}: .*; start one with: ray"
            ),
            connected(RayOptions(address=address)),
        ):
            pass


@pytest.mark.parametrize(
    ("cpus", "gpus", "fits"), [(1, 0, 8), (0.5, 0, 16), (3, 0, 2), (1, 0.25, 8), (1, 1, 2), (0.1, 0.1, 20)]
)
def test_fractions_of_cores_and_gpus_are_shared(cpus: float, gpus: float, fits: int) -> None:
    assert slots_of({"CPU": 8.0, "GPU": 2.0}, RayOptions(address="auto", cpus=cpus, gpus=gpus)) == fits


def test_a_remote_task_is_refused_where_its_folder_is_not_seen_or_xnas_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_ray, "PATIENCE", 0.0)
    made = Task(name="n", title="task n", kind="search", config=Config())
    with shared_folder_token(tmp_path) as token:
        remote = RemoteTask.of(made, published_genotype("xnas"), study=tmp_path, token=token)
        assert RemoteTask.from_text(remote.to_text()) == remote
        assert remote.read_config() == Config()
        assert remote.check_worker() is None
        for change, end in (
            ({"token": "another"}, "unseen"),
            ({"study": str(tmp_path / "none")}, "unseen"),
            ({"version": "0.0"}, "version"),
        ):
            result = RemoteTask(**{**vars(remote), **change}).check_worker()
            assert result is not None
            assert result.end == end
            assert TaskResult.from_text(result.to_text()) == result
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("blank_pictures")
def test_a_worker_searches_and_answers_how_it_ended(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_ray, "LOCK_PATIENCE", 0.0)
    monkeypatch.setattr(study_ray, "PATIENCE", 0.0)
    config = parse_config(SMALLEST, where="the tests")
    data = dataclasses.replace(config.data, source=str(image_folder))
    config = dataclasses.replace(config, data=data, threads=1)
    made = Task(name="a", title="task a", kind="search", config=config)
    (study := tmp_path / "study").mkdir()
    with shared_folder_token(study) as token:
        text = RemoteTask.of(made, None, study=study, token=token).to_text()
        assert TaskResult.from_text(run_remote_task(text.replace(token, "another"))).end == "unseen"
        assert files_of(study / "a") == []
        assert TaskResult.from_text(run_remote_task(text)).end == "ended"
        assert {"genotype.json", "report.html"} <= set(files_of(study / "a"))
        training = dataclasses.replace(made, name="b", kind="train")
        text_b = RemoteTask.of(
            training, RunFolder(study / "a").genotype(), study=study, token=token
        ).to_text()
        assert TaskResult.from_text(run_remote_task(text_b)).end == "ended"
        assert RunFolder(study / "b").job().command == "retrain"
        assert "result.json" in files_of(study / "b")
        with locked(study / "a"):  # as by a process of a machine that was given up for lost
            result = TaskResult.from_text(run_remote_task(text))
        assert (result.end, "is in use by" in result.reason) == ("mistake", True)
