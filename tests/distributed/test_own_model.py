"""Models of an engineer's own on two processes: one choice, made together, and no mistake of one hangs the other."""

import json
from typing import Any

import pytest

from tests.distributed import own_model
from tests.helpers.rank_launcher import spawn

WRAPPED = ("wrapped", "bare")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("alone")
    own_model.main(str(folder))
    told: dict[str, Any] = json.loads((folder / "0.json").read_text())
    return told


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    done = spawn(2, own_model.__name__, str(folder))
    assert [process.returncode for process in done] == [0, 0], done
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", own_model.NAMES)
@pytest.mark.parametrize("wrapped", WRAPPED)
def test_all_processes_decide_alike_bit_for_bit_and_as_one_with_the_whole_batch(
    name: str, wrapped: str, alone: dict[str, Any], ranks: list[dict[str, Any]]
) -> None:
    expected = alone[f"{name}, bare"]
    first, second = (told[f"{name}, {wrapped}"] for told in ranks)
    assert first == second  # weights and experts, by their bits
    assert first["stepped"] == first["left"]
    for key in ("wiped", "groups", "feedbacks"):
        assert first[key] == expected[key]
    for ours, theirs in zip(first["log_v"], expected["log_v"], strict=True):
        for row, other in zip(ours, theirs, strict=True):
            assert row == pytest.approx(other, rel=1e-6, abs=1e-7)
    assert bool(first["wiped"]) == (name in ("batch", "sample", "replica", "asap"))


@pytest.mark.parametrize("name", ["batch", "sample", "darts-2nd"])
def test_what_one_cannot_measure_all_refuse_and_go_on(name: str, ranks: list[dict[str, Any]]) -> None:
    lines = [told["mistakes"][name] for told in ranks]
    (here, there), (key, told_key), (fewer, as_fewer) = zip(*reversed(lines), strict=True)
    assert here.startswith("ValueError: the loss of sample 1 is nan")
    assert there.startswith(
        "ValueError: nothing was learned from this measurement, because rank 1 could not make it"
    )
    assert there.endswith("look at the data")
    assert key == "KeyError: 'mine'"
    assert told_key.endswith("because rank 1 could not make it: KeyError: 'mine'")
    assert "measured 4, 3 samples, by rank" in fewer == as_fewer
    assert all(told["mistakes"][f"{name} same"] for told in ranks)
    assert len({told["mistakes"][f"{name} goes on"] for told in ranks}) == 1


def test_what_differs_between_processes_is_refused_on_all(ranks: list[dict[str, Any]]) -> None:
    for told in ranks:
        assert "rank 1 has other experts, weights or settings than rank 0" in told["mistakes"]["seeds"]
        assert "find_unused_parameters=True" in told["mistakes"]["unused"]
        assert told["mistakes"]["all used"] == ""


def test_a_choice_that_some_processes_skip_has_feedback_of_the_others_and_all_agree(
    ranks: list[dict[str, Any]],
) -> None:
    assert ranks[0]["uneven"] == ranks[1]["uneven"]
    for feedbacks, unit in zip(ranks[0]["uneven"][::2], (1, own_model.BATCH), strict=True):
        twins, outer, inner = feedbacks
        assert (twins, outer, inner) == (3 * unit * (1 + (unit > 1)), 2 * unit, 2 * unit)


def test_processes_may_search_apart(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["alone"] != ranks[1]["alone"]


def test_the_example_comes_to_one_choice(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["example"] == ranks[1]["example"]
    assert list(ranks[0]["example"]) == ["kernel", "block"]
