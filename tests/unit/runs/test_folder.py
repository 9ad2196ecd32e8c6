"""The run folder: nothing in it is half-written, and nothing that was there is lost."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from xnas import Config, published_genotype
from xnas.config.loading import parse_config
from xnas.config.schema import RETRAIN_SECTIONS, SEARCH_SECTIONS
from xnas.runs.folder import Job, RunFolder
from xnas.runs.location import RunLocation
from xnas.runs.lock import locked

from ...helpers.sealed_runs import seal


def started_run(place: RunLocation) -> RunFolder:
    folder = RunFolder(place.create())
    folder.write_job(Job(command="search"))
    folder.describe(Config(), {})
    return folder


def test_the_path_of_a_folder_may_be_text(tmp_path: Path) -> None:
    folder = RunFolder.at(str(tmp_path / "run"))
    assert folder.path == RunFolder(str(tmp_path / "run")).path == tmp_path / "run"
    assert folder.path.is_dir()


def test_without_a_name_the_next_free_number_is_taken(tmp_path: Path) -> None:
    place = RunLocation(runs=tmp_path, name=None, stem="quick")
    assert place.existing() is None
    assert [place.create().name for _ in range(3)] == ["quick-1", "quick-2", "quick-3"]


def test_a_run_that_is_there_is_resumed_unless_it_is_to_be_overwritten(tmp_path: Path) -> None:
    folder = started_run(RunLocation(runs=tmp_path, name="mine"))
    folder.metrics.append({"kind": "test"})
    earlier = RunLocation(runs=tmp_path, name="mine").existing()
    assert earlier is not None
    assert earlier.path == RunLocation(runs=tmp_path, name="mine").create() == folder.path
    assert earlier.metrics.kinds() == {"test"}
    again = RunLocation(runs=tmp_path, name="mine", overwrite=True)
    assert again.existing() is None
    assert list(again.create().iterdir()) == []
    assert [item.name for item in tmp_path.iterdir()] == ["mine"]


def test_a_folder_in_use_is_not_overwritten(tmp_path: Path) -> None:
    folder = started_run(RunLocation(runs=tmp_path, name="mine"))
    with locked(folder.path), pytest.raises(ValueError, match="mine is in use"):
        RunLocation(runs=tmp_path, name="mine", overwrite=True).create()
    assert folder.has("config.toml")


def test_a_folder_whose_process_ended_while_it_made_it_is_made_again(tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    folder.write_job(Job(command="search"))
    (folder.path / ".environment.json.part").write_text("{")
    assert RunLocation(runs=tmp_path, name="mine").existing() is None


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").write_text("precious")
    with pytest.raises(ValueError, match="photos is there and is not a run folder; choose another --name"):
        RunLocation(runs=tmp_path, name="photos", overwrite=overwrite).existing()
    assert (tmp_path / "photos" / "holiday.txt").read_text() == "precious"


@pytest.mark.parametrize("overwrite", [False, True])
def test_settings_that_a_user_has_put_where_a_run_would_go_are_no_leavings_of_a_run(
    overwrite: bool, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.toml").write_text("seed = 3\n")
    place = RunLocation(runs=tmp_path, name="mine", overwrite=overwrite)
    if overwrite:
        assert place.existing() is None
    else:
        with pytest.raises(ValueError, match="mine is there and is not a run folder; choose another --name"):
            place.existing()
    assert (tmp_path / "mine" / "config.toml").read_text() == "seed = 3\n"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b"])
def test_a_name_that_is_no_plain_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a run's name is letters, digits"):
        RunLocation.named(name, runs=tmp_path / "runs", stem="quick", overwrite=False)


def test_a_run_folder_has_a_place_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = started_run(RunLocation(runs=tmp_path, name="mine"))
    moved = folder.path.rename(tmp_path / "my run (2)")
    monkeypatch.chdir(moved)
    for path in (moved, Path("."), Path("../my run (2)"), Path("checkpoints/..")):
        earlier = RunLocation.of(path).existing()
        assert earlier is not None
        assert earlier.path.resolve() == moved


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is no folder; choose another place, or take it away"):
        RunLocation(runs=tmp_path / "file", name="mine").create()


def test_settings_that_differ_are_named_one_by_one(tmp_path: Path) -> None:
    folder = started_run(RunLocation(runs=tmp_path, name="mine"))
    other = parse_config(
        "seed = 3\n[data]\nroot = 'elsewhere'\n[space]\nnodes = 2\n[checkpoint]\nminutes = 9", where="x"
    )
    with pytest.raises(
        ValueError,
        match=r"mine was started with different settings: seed was 0, is 3; space.nodes was 4, is 2; ",
    ):
        folder.check_same(other, sections=SEARCH_SECTIONS)
    folder.check_same(dataclasses.replace(other, seed=0), sections=RETRAIN_SECTIONS)


def test_settings_genotype_and_weights_come_back_as_they_went_in(tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    folder.describe(Config(seed=7), {"python": "3"})
    folder.write_genotype(published_genotype("xnas"))
    weights = {"a": torch.randn(2, 3), "b": torch.arange(3)}
    folder.write_weights(weights, about={"classes": "x"})
    assert folder.config() == Config(seed=7)
    assert folder.genotype() == published_genotype("xnas")
    read, about = folder.weights()
    assert about == {"classes": "x"}
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_a_folder_of_many_runs_names_one_of_them_that_has_what_is_asked_for(tmp_path: Path) -> None:
    many = RunFolder.at(tmp_path / "many")
    many.describe(Config(), {"python": "3"})
    many.child("a").describe(Config(), {"python": "3"})
    (second := many.child("b")).describe(Config(), {"python": "3"})
    with pytest.raises(
        ValueError,
        match=r"many holds many runs and has no genotype.json .*, nor has any of them.*, such as .*many/a",
    ):
        many.genotype()
    second.write_genotype(published_genotype("xnas"))
    with pytest.raises(ValueError, match=r"give one of them, such as .*many/b"):
        many.genotype()
    with pytest.raises(
        ValueError, match=r"many holds many runs and has no trained network .*, nor has any of them"
    ):
        many.weights()


def test_what_is_missing_or_damaged_is_named_with_the_remedy(tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"mine has no genotype.json yet: its search has not ended"):
        folder.genotype()
    with pytest.raises(ValueError, match=r"mine has no trained network yet; run: xnas retrain .*mine"):
        folder.weights()
    (folder.path / "genotype.json").write_text("{}")
    with pytest.raises(ValueError, match=r"not ended, and manifest.json does not know the one that is there"):
        folder.genotype()
    seal(folder.path)
    with pytest.raises(ValueError, match=r"genotype.json: "):
        folder.genotype()
    (folder.path / "checkpoints").mkdir()
    (folder.path / "checkpoints" / "network.safetensors").write_bytes(b"garbage")
    seal(folder.path)
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        folder.weights()


def test_a_new_retraining_drops_the_old_ones_rows_result_and_weights_alone(tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    for kind in ("search_epoch", "retrain_epoch", "test"):
        folder.metrics.append({"kind": kind})
    folder.write_result({"name": "found"})
    folder.write_weights({"a": torch.ones(1)}, about={})
    folder.drop_training()
    rows = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"kind": "search_epoch"}]
    assert not folder.has("result.json")
    assert not folder.has("checkpoints/network.safetensors")
