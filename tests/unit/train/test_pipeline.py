"""Searching and training from a program: `xnas.search`, `xnas.retrain` and `xnas.run`."""

import dataclasses
from pathlib import Path

import pytest

import xnas
from xnas import Config, DataSet, RunRecord
from xnas.cli import main
from xnas.runs.callbacks import NullCallback
from xnas.runs.history import RetrainEpoch, SearchEpoch
from xnas.train.search import SearchTrainer


class Epochs(NullCallback):
    """Keeps the epochs that it is told of."""

    def __init__(self) -> None:
        self.rows: list[SearchEpoch | RetrainEpoch] = []

    def epoch_done(self, epoch: SearchEpoch | RetrainEpoch) -> None:
        self.rows.append(epoch)


def test_a_run_leaves_a_record_with_controls_and_a_report(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    callback = Epochs()
    record = xnas.run(tiny, data, folder=tmp_path / "mine", controls=1, callback=callback)
    assert isinstance(record, RunRecord)
    assert record.result is not None
    assert {*record.controls} == {"xnas", "random-1"}
    assert (tmp_path / "mine" / "report.html").is_file()
    assert [type(row) for row in callback.rows[:3]] == [SearchEpoch, SearchEpoch, RetrainEpoch]
    again = xnas.run(tiny, data, folder=tmp_path / "mine", controls=1)
    assert again.result == record.result


def test_a_search_and_a_retraining_share_a_folder_and_are_not_done_twice(
    tiny: Config,
    data: DataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "mine"
    genotype = xnas.search(tiny, data, folder=folder)
    result = xnas.retrain(genotype, tiny, data, folder=folder)
    monkeypatch.setattr(SearchTrainer, "training_step", None)
    assert xnas.search(tiny, data, folder=str(folder)) == genotype
    assert xnas.retrain(genotype, tiny, data, folder=folder) == result
    assert capsys.readouterr().out == ""  # a library says nothing by itself
    with pytest.raises(ValueError, match="another architecture"):
        xnas.retrain(xnas.published_genotype("xnas"), tiny, data, folder=folder)
    with pytest.raises(ValueError, match=r"search\.epochs was 2, is 3"):
        xnas.search(
            dataclasses.replace(tiny, search=dataclasses.replace(tiny.search, epochs=3)), data, folder=folder
        )
    # Where the images came from the folder does not know.
    assert main(["resume", str(folder)]) == 2
    assert "--data FOLDER" in capsys.readouterr().err


def test_without_images_those_of_the_settings_are_taken(
    tiny: Config, image_folder: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny, data=dataclasses.replace(tiny.data, source=str(image_folder)))
    given = xnas.search(config, xnas.load_data(image_folder), folder=tmp_path / "given")
    assert xnas.search(config, folder=tmp_path / "read") == given


def test_controls_cannot_be_negative(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="controls must not be negative; got -1"):
        xnas.run(tiny, data, folder=tmp_path / "mine", controls=-1)
    assert not (tmp_path / "mine").exists()
