import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from xnas.config.schema import Config, DistributedConfig
from xnas.data.images import DataSet, Normalisation
from xnas.io.errors import RankLost
from xnas.runs.location import RunLocation
from xnas.space.published import published_genotype
from xnas.train import evaluate, trained_network
from xnas.train.distributed import ProcessGroup, SingleProcess, process_group
from xnas.train.trained_network import TrainedNetwork


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
    assert alone.lost(RuntimeError("Connection closed by peer")) is None
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

    def lost(self, error: BaseException) -> RankLost | None:
        return RankLost("rank 1 of 2 does not answer") if "gloo" in str(error) else None


def test_who_is_lost_in_the_middle_of_a_test_is_named(monkeypatch: pytest.MonkeyPatch, data: DataSet) -> None:
    for module in (evaluate, trained_network):
        monkeypatch.setattr(module, "process_group", Broken)
    channels, height, width = data.image_shape
    trained = TrainedNetwork(
        network=nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, data.num_classes)),
        genotype=published_genotype("xnas"),
        classes=data.test.classes,
        normalisation=Normalisation(mean_C=torch.zeros(channels), std_C=torch.ones(channels)),
    )
    with pytest.raises(RankLost, match=r"^rank 1 of 2 does not answer$"):
        trained.test(data.test, device=torch.device("cpu"), config=Config())


@pytest.fixture
def leader() -> ProcessGroup:
    """The leading one of two processes, of which the other is what the test puts into their store."""
    ranks = object.__new__(ProcessGroup)
    ranks.rank, ranks.size, ranks._orders, ranks._store = 0, 2, 1, torch.distributed.HashStore()
    return ranks


def test_an_order_is_not_waited_for_beyond_the_last_sign_of_life(leader: ProcessGroup) -> None:
    leader._store.add("life/1", 1)
    with pytest.raises(RankLost, match=r"^rank 1 of 2 does not answer to an order: killed, or out of reach$"):
        leader._hear(1, patience=0.1)


def test_whoever_takes_long_but_is_alive_is_waited_for(leader: ProcessGroup) -> None:
    def live(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            leader._store.add("life/1", 1)
            time.sleep(0.02)
        leader._store.set("answer/0/1", "")

    other = threading.Thread(target=live, args=(1.5,))
    other.start()
    leader._hear(1, patience=0.5)
    other.join()


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
