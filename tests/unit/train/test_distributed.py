"""The ranks of a run: what one alone does, and how those are told that are dead, failed, or slow."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import nn

from xnas.config.schema import Config, DistributedConfig
from xnas.data.images import DataSet, Normalisation
from xnas.io.errors import Interrupted, RankLost
from xnas.runs.location import RunLocation
from xnas.space.published import published_genotype
from xnas.train import evaluate, heartbeat, trained_network
from xnas.train.distributed import ProcessGroup, SingleProcess, process_group
from xnas.train.heartbeat import Heartbeat


def test_a_process_alone_exchanges_with_nobody() -> None:
    alone = process_group()
    values = torch.tensor([1.0, 2.0])
    alone.all_reduce_mean_([values])
    alone.all_reduce_sum_([values])
    assert values.tolist() == [1.0, 2.0]
    assert alone.all_gather(values) is values
    assert alone.all_reduce_max(3, 0) == [3, 0]
    assert alone.all_true(torch.tensor(True))
    assert not alone.all_true(torch.tensor(False))
    assert alone.diagnose_loss(RuntimeError("Connection closed by peer")) is None
    assert alone.all_gather_object({"a": 1}) == [{"a": 1}]
    assert alone.from_main(lambda: 3) == 3
    assert alone.is_main


class Three(SingleProcess):
    size = 3
    restarts = True


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does() -> None:
    Three().check_batch("search.batch_size", 96)
    with pytest.raises(
        ValueError, match=r"search.batch_size 64 does not divide over 3 processes; .* such as 66$"
    ):
        Three().check_batch("search.batch_size", 64)


@pytest.mark.parametrize(
    ("settings", "device", "said"),
    [
        (
            {"backend": "nccl"},
            "cpu",
            "distributed.backend nccl works on CUDA devices, and this run is on cpu",
        ),
        ({"sync_norm": True}, "cpu", "distributed.sync_norm needs CUDA devices, and this run is on cpu"),
        ({}, "mps", "3 processes cannot train on mps together; use --device cpu or cuda"),
    ],
)
def test_what_processes_cannot_do_together_is_refused(
    settings: dict[str, object], device: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ProcessGroup.check(Three(), DistributedConfig(**settings), torch.device(device))  # type: ignore[arg-type]


class Broken(SingleProcess):
    size = 2

    def all_reduce_max(self, *values: int) -> list[int]:
        raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")

    def diagnose_loss(self, error: BaseException) -> Exception | None:
        return RankLost("rank 1 of 2 does not answer") if "gloo" in str(error) else None


def test_a_rank_that_is_lost_in_the_middle_of_a_test_is_named(
    monkeypatch: pytest.MonkeyPatch, data: DataSet
) -> None:
    for module in (evaluate, trained_network):
        monkeypatch.setattr(module, "process_group", Broken)
    channels, height, width = data.image_shape
    trained = trained_network.TrainedNetwork(
        network=nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, data.num_classes)),
        genotype=published_genotype("xnas"),
        classes=data.test.classes,
        normalisation=Normalisation(mean_C=torch.zeros(channels), std_C=torch.ones(channels)),
    )
    with pytest.raises(RankLost, match=r"^rank 1 of 2 does not answer$"):
        trained.test(data.test, device=torch.device("cpu"), config=Config())


@pytest.fixture
def store() -> torch.distributed.Store:
    return torch.distributed.HashStore()


def in_threads(store: torch.distributed.Store, *works: Callable[[Heartbeat], Any]) -> list[Any]:
    """What each of several ranks, which are threads here, returns or raises."""

    def rank(number: int) -> Any:
        beat = Heartbeat(store, rank=number, size=len(works))
        try:
            return works[number](beat)
        except Exception as error:
            return error
        finally:
            beat.stop()

    with ThreadPoolExecutor() as pool:
        return list(pool.map(rank, range(len(works))))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (
        ("HEARTBEAT_SECONDS", 0.05),
        ("GRACE_SECONDS", 0.5),
        ("DEAD_SECONDS", 0.5),
        ("NOTICE_SECONDS", 0.2),
    ):
        monkeypatch.setattr(heartbeat, name, seconds)


def stops(beat: Heartbeat) -> None:
    """A rank that is killed."""
    beat.stop()


def test_a_dead_rank_is_not_waited_for(store: torch.distributed.Store, quick: None) -> None:
    error, _ = in_threads(store, lambda beat: beat.wait({1: "never"}), stops)
    assert isinstance(error, RankLost)
    assert error.exit_code == 5
    assert str(error) == "rank 1 of 2 does not answer: killed, or out of reach"


def test_a_rank_that_takes_long_but_is_alive_is_waited_for(
    store: torch.distributed.Store, quick: None
) -> None:
    def works(beat: Heartbeat) -> None:
        time.sleep(1.2)
        beat.set("at last")

    assert in_threads(store, lambda beat: beat.wait({1: "at last"}), works) == [None, None]


@pytest.mark.parametrize(("code", "kind"), [(2, RankLost), (3, RankLost), (143, Interrupted)])
def test_who_waits_ends_with_the_reason_and_the_exit_code_of_the_first_who_failed(
    code: int, kind: type[Exception], store: torch.distributed.Store, quick: None
) -> None:
    found = in_threads(
        store, lambda beat: beat.wait({1: "never"}), lambda beat: beat.report_failure(code, "no images")
    )
    assert isinstance(found[0], kind)
    assert found[0].exit_code == code
    if kind is RankLost:
        assert str(found[0]) == "rank 1 of 2 ended: no images"


def test_after_a_loss_the_dead_are_told_from_the_living_and_the_first_of_these_tells(
    store: torch.distributed.Store, quick: None
) -> None:
    def diagnose(beat: Heartbeat) -> tuple[str, bool]:
        time.sleep(0.1)
        said = str(beat.diagnose("closed"))
        time.sleep(0.2)
        return said, beat.is_told()

    _, *found = in_threads(store, stops, diagnose, diagnose, stops)
    said = "ranks 0, 3 of 4 do not answer: killed, or out of reach"
    assert found[:2] == [(said, False), (said, True)]


@pytest.mark.parametrize(
    ("name", "overwrite", "said"),
    [(None, False, "without --name nobody"), ("mine", True, "--overwrite would")],
)
def test_a_run_that_begins_again_by_itself_needs_a_place_that_is_found_again(
    name: str | None, overwrite: bool, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        RunLocation.named(name, runs=tmp_path, stem="quick", overwrite=overwrite, restarts=True)
    assert (
        RunLocation.named("mine", runs=tmp_path, stem="quick", overwrite=False, restarts=True).name == "mine"
    )
