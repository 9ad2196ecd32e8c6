"""Several processes that train one network: the same samples, losses, experts and architecture as one process alone."""

import itertools
import json
import math
import random
from pathlib import Path
from types import ModuleType

import pytest

from tests.distributed import alike
from tests.distributed import cut as cut_off
from tests.helpers.rank_launcher import spawn

WORLDS = (1, 2, 4)


@pytest.fixture(
    scope="module", params=[0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 5))]
)
def courses(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, list[dict]]:
    """What every process of 1, 2 and 4 tells of the same search without batch statistics, in float64."""
    told = {}
    for world in WORLDS:
        folder = tmp_path_factory.mktemp(f"world{world}")
        run_as(world, alike, str(folder), str(request.param))
        told[world] = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]
    return told


def run_as(world: int, module: ModuleType, *words: str) -> None:
    """Run a module's `main` as so many processes; a single one is this."""
    if world == 1:
        module.main(*words)
        return
    done = spawn(world, module.__name__, *words)
    assert [process.returncode for process in done] == [0] * world, done


def whole_batches(told: list[dict]) -> list[list[int]]:
    """The samples of every step, of all processes' parts."""
    return [list(itertools.chain(*parts)) for parts in zip(*(one["ids"] for one in told), strict=True)]


def test_every_sample_of_a_step_is_computed_once_however_many_ranks_share_it(
    courses: dict[int, list[dict]],
) -> None:
    alone = courses[1][0]["ids"]
    assert len(alone) == 15
    for world in WORLDS[1:]:
        assert whole_batches(courses[world]) == alone


def test_losses_agree_to_rounding(courses: dict[int, list[dict]]) -> None:
    alone = courses[1][0]["losses"]
    for world in WORLDS[1:]:
        losses = courses[world][0]["losses"]
        assert math.isclose(losses[0], alone[0], rel_tol=0, abs_tol=1e-12)
        assert math.isclose(losses[-1], alone[-1], rel_tol=0, abs_tol=1e-9)
        # The running mean counts every sample, in float32.
        assert courses[world][0]["train_loss"] == pytest.approx(courses[1][0]["train_loss"], abs=1e-6)


def test_genotype_survivors_and_ledger_are_identical(courses: dict[int, list[dict]]) -> None:
    alone = courses[1][0]
    assert sum(map(sum, alone["alive"])) < len(alone["alive"]) * len(
        alone["alive"][0]
    )  # somebody was wiped out
    for world in WORLDS[1:]:
        for told in courses[world]:
            assert told["genotype"] == alone["genotype"]
            assert told["alive"] == alone["alive"]
            for name, values in told["ledger"].items():
                assert values == pytest.approx(alone["ledger"][name], rel=0, abs=1e-9)
        assert {told["ledger_bits"] for told in courses[world]} == {courses[world][0]["ledger_bits"]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (5, 8),
        *(
            pytest.param(*sorted(random.Random(moment).sample(range(1, 15), 2)), marks=pytest.mark.long)
            for moment in range(10)
        ),
    ],
)
def test_a_search_goes_on_with_other_numbers_of_processes_and_every_sample_comes_once(
    first: int, second: int, tmp_path: Path
) -> None:
    whole = cut(1, tmp_path, before="nothing", after="whole", stop=15)
    parts = [
        cut(2, tmp_path, before="nothing", after="first", stop=first),
        cut(1, tmp_path, before="first", after="second", stop=second),
        cut(4, tmp_path, before="second", after="third", stop=15),
    ]
    ids = list(itertools.chain(*map(whole_batches, parts)))
    assert ids == whole_batches(whole)
    for epoch in range(5):
        once = list(itertools.chain(*ids[3 * epoch : 3 * (epoch + 1)]))
        assert sorted(once) == list(range(24))
    losses = list(itertools.chain(*(told[0]["losses"] for told in parts)))
    assert losses == pytest.approx(whole[0]["losses"], rel=0, abs=1e-9)
    assert parts[-1][0]["genotype"] == whole[0]["genotype"]
    assert parts[-1][0]["train_loss"] == pytest.approx(whole[0]["train_loss"], abs=1e-6)


def cut(world: int, folder: Path, *, before: str, after: str, stop: int) -> list[dict]:
    """What so many processes tell of a part of a search."""
    come_from = before if before == "nothing" else str(folder / before)
    run_as(world, cut_off, come_from, str(folder / after), str(stop))
    return [json.loads((folder / f"{after}.{rank}").read_text()) for rank in range(world)]
