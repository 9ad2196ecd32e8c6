"""Several processes that train one network: the same samples, losses, experts and architecture as one process alone."""

import json
import math
from pathlib import Path

import pytest

from tests.distributed.launcher import spawn

WORLDS = (1, 2, 4)


@pytest.fixture(scope="module")
def courses(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict]]:
    """What every process of 1, 2 and 4 tells of the same search without batch statistics, in float64."""
    told = {}
    for world in WORLDS:
        folder = tmp_path_factory.mktemp(f"world{world}")
        done = spawn(world, "tests.distributed.alike", str(folder), "0")
        assert [process.returncode for process in done] == [0] * world, done
        told[world] = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]
    return told


def test_every_sample_of_a_step_is_computed_once_whoever_many_share_it(
    courses: dict[int, list[dict]],
) -> None:
    alone = courses[1][0]["ids"]
    assert len(alone) == 50
    for world in WORLDS[1:]:
        together = [sum(parts, []) for parts in zip(*(told["ids"] for told in courses[world]), strict=True)]
        assert together == alone


def test_losses_agree_to_rounding(courses: dict[int, list[dict]]) -> None:
    alone = courses[1][0]["losses"]
    for world in WORLDS[1:]:
        losses = courses[world][0]["losses"]
        assert math.isclose(losses[0], alone[0], rel_tol=0, abs_tol=1e-12)
        assert math.isclose(losses[-1], alone[-1], rel_tol=0, abs_tol=1e-9)


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
