"""A checkpoint is whole or not there, and one that has changed is never taken for one that has not."""

import json
from pathlib import Path

import pytest
import torch

from xnas.runs.checkpoint import (
    MANIFEST,
    STATE,
    TENSORS,
    CheckpointState,
    CheckpointStore,
    Damaged,
    read_checkpoint,
)


def snapshot(number: int) -> CheckpointState:
    tensors = {"a": torch.full((3, 2), float(number)), "b": torch.tensor(number, dtype=torch.float64)}
    return CheckpointState(tensors=tensors, values={"step": number})


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "checkpoints", "search")
    for number in (1, 2, 3):
        store.save(snapshot(number), step=number)
    return store


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.home.iterdir())


def test_what_was_saved_comes_back_and_the_newest_two_are_kept(store: CheckpointStore) -> None:
    assert names(store) == ["search-0000000002", "search-0000000003"]
    found = store.newest()
    assert found is not None
    path, newest = found
    assert path.name == "search-0000000003"
    assert newest.values == {"step": 3}
    assert torch.equal(newest.tensors["a"], torch.full((3, 2), 3.0))
    assert newest.tensors["b"].dtype == torch.float64


def test_without_checkpoints_there_is_none(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "checkpoints", "search").newest() is None


def test_phases_do_not_see_each_others_checkpoints(store: CheckpointStore) -> None:
    other = CheckpointStore(store.home, "retrain")
    other.save(snapshot(9), step=9)
    assert len(store.found()) == 2
    assert len(other.found()) == 1
    other.drop()
    assert names(store) == ["search-0000000002", "search-0000000003"]


@pytest.mark.parametrize("name", [TENSORS, STATE, MANIFEST])
def test_every_single_flipped_bit_is_noticed_and_its_file_named(store: CheckpointStore, name: str) -> None:
    path = store.found()[0] / name
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(Damaged, match=name):
                read_checkpoint(path.parent)
    path.write_bytes(content)
    read_checkpoint(path.parent)


def test_the_older_one_is_taken_with_one_warning_and_the_damaged_one_is_set_aside(
    said: list[str],
    store: CheckpointStore,
) -> None:
    path = store.found()[0] / TENSORS
    path.write_bytes(path.read_bytes()[:-1])
    found = store.newest()
    assert found is not None
    assert found[1].values == {"step": 2}
    assert said == [
        f"warning: {path} has changed since it was written; resuming from search-0000000002 instead"
    ]
    assert names(store) == ["damaged-search-0000000003", "search-0000000002"]
    store.save(snapshot(3), step=3)
    assert names(store) == ["damaged-search-0000000003", "search-0000000002", "search-0000000003"]


def test_where_none_is_left_the_run_stops_and_everything_stays(store: CheckpointStore) -> None:
    for path in store.found():
        (path / STATE).unlink()
    before = names(store)
    with pytest.raises(
        Damaged, match=r"no checkpoint of the search in .* can be used: .*state.json is missing; .*"
    ):
        store.newest()
    assert names(store) == before


def test_what_a_dead_process_left_is_tidied_away(store: CheckpointStore) -> None:
    for name in (".staging-search-0000000004", ".discarded-search-0000000001"):
        (store.home / name).mkdir()
        (store.home / name / STATE).write_text("half")
    store.save(snapshot(5), step=5)
    assert names(store) == ["search-0000000003", "search-0000000005"]


def test_a_checkpoint_too_many_that_a_dead_process_left_goes_when_its_last_is_saved_again(
    store: CheckpointStore,
) -> None:
    CheckpointStore(store.home, "search", keep=3).save(snapshot(4), step=4)
    assert len(names(store)) == 3
    store.save(snapshot(4), step=4)
    assert names(store) == ["search-0000000003", "search-0000000004"]


def test_a_checkpoint_of_another_version_is_named_as_such(store: CheckpointStore) -> None:
    path = store.found()[0] / MANIFEST
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"version": 2}))
    with pytest.raises(Damaged, match="of another format or version than this xnas reads, xnas-checkpoint 1"):
        read_checkpoint(path.parent)
