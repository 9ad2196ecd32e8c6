"""The run folder: nothing in it is half-written, and nothing that was there is lost."""

import json
from pathlib import Path

import pytest
import torch

from xnas import Config, published_genotype
from xnas.engine.run_folder import RunFolder


def test_without_a_name_the_next_free_number_is_taken(tmp_path: Path) -> None:
    names = [RunFolder.create(tmp_path, None, stem="quick").path.name for _ in range(3)]
    assert names == ["quick-1", "quick-2", "quick-3"]


def test_a_folder_that_exists_is_refused_unless_it_is_to_be_overwritten(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "mine", stem="quick")
    folder.describe(Config(), {})
    with pytest.raises(ValueError, match="mine exists already; choose another --name, or --overwrite it"):
        RunFolder.create(tmp_path, "mine", stem="quick")
    assert folder.has("config.toml")
    RunFolder.create(tmp_path, "mine", stem="quick", overwrite=True)
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_folder_of_something_else_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").write_text("precious")
    with pytest.raises(ValueError, match="photos is not a run folder, so it is not overwritten"):
        RunFolder.create(tmp_path, "photos", stem="quick", overwrite=True)
    assert (tmp_path / "photos" / "holiday.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b"])
def test_a_name_that_is_no_plain_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a run's name is letters, digits"):
        RunFolder.create(tmp_path / "runs", name, stem="quick")
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot make the run folder"):
        RunFolder.create(tmp_path / "file", "mine", stem="quick")


def test_settings_genotype_and_weights_come_back_as_they_went_in(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "mine", stem="quick")
    folder.describe(Config(seed=7), {"python": "3"})
    folder.write_genotype(published_genotype("xnas"))
    weights = {"a": torch.randn(2, 3), "b": torch.arange(3)}
    folder.write_weights(weights, about={"classes": "x"})
    assert folder.config() == Config(seed=7)
    assert folder.genotype() == published_genotype("xnas")
    read, about = folder.weights()
    assert about == {"classes": "x"}
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_what_is_missing_or_damaged_is_named_with_the_remedy(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "mine", stem="quick")
    with pytest.raises(ValueError, match=r"mine has no genotype.json yet; its search has not ended"):
        folder.genotype()
    with pytest.raises(ValueError, match=r"mine has no trained network yet; run: xnas retrain .*mine"):
        folder.weights()
    (folder.path / "genotype.json").write_text("{}")
    with pytest.raises(ValueError, match=r"genotype.json: "):
        folder.genotype()
    (folder.path / "checkpoints").mkdir()
    (folder.path / "checkpoints" / "network.safetensors").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        folder.weights()


def test_a_new_retraining_drops_the_old_ones_rows_result_and_weights_alone(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "mine", stem="quick")
    for kind in ("search_epoch", "retrain_epoch", "test"):
        folder.log({"kind": kind})
    folder.write_result({"name": "found"})
    folder.write_weights({"a": torch.ones(1)}, about={})
    folder.drop_training()
    rows = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"kind": "search_epoch"}]
    assert not folder.has("result.json")
    assert not folder.has("checkpoints/network.safetensors")
