"""Run folders that earlier versions wrote are read by this one, and give the logits that they gave."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from xnas import RunFolder, SearchTrainer, TrainedNetwork, write_report
from xnas.runs.checkpoint import read_checkpoint
from xnas.runs.folder import RunRecord
from xnas.train.search import fit_search

from ..helpers.sealed_runs import seal
from .make import supernet_logits
from .small import config, images, probe

CPU = torch.device("cpu")
FOLDERS = sorted(Path(__file__).parent.glob("run-*"))
CHECKPOINTS = [path for folder in FOLDERS for path in RunFolder(folder).checkpoints("search").found()]


def expected(folder: Path, name: str) -> torch.Tensor:
    return torch.tensor(json.loads((folder / "logits.json").read_text())[name], dtype=torch.float64)


def test_there_are_golden_folders() -> None:
    assert len(FOLDERS) >= 1
    assert len(CHECKPOINTS) >= 2 * len(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_trained_network_gives_the_logits_that_it_gave(folder: Path) -> None:
    trained = TrainedNetwork.read(RunFolder(folder), device=CPU)
    logits = trained.network.double().eval()(probe())
    assert (logits - expected(folder, "network")).abs().max() < 1e-6


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: f"{path.parent.parent.name}-{path.name}")
def test_a_supernet_gives_the_logits_that_it_gave(path: Path) -> None:
    logits = torch.tensor(supernet_logits(path), dtype=torch.float64)
    assert (logits - expected(path.parent.parent, path.name)).abs().max() < 1e-6


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_run_is_read_whole_and_reported(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "run"))
    record = RunRecord.read(copy)
    assert record.result is not None
    assert record.genotype == RunFolder(copy).genotype()
    assert [epoch.epoch for epoch in record.history.search] == [0, 1, 2, 3]
    assert write_report(copy).is_file()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_search_goes_on_from_a_checkpoint_that_an_earlier_version_wrote(
    folder: Path, tmp_path: Path
) -> None:
    run = RunFolder(Path(shutil.copytree(folder, tmp_path / "run")))
    newest, before = run.checkpoints("search").found()
    rounds = read_checkpoint(before).values["step"]
    shutil.rmtree(newest)
    (run.path / "genotype.json").unlink()
    seal(run.path)
    trainer = SearchTrainer(config(), images(), device=CPU)
    assert rounds < trainer.total_steps
    fit_search(trainer, folder=run)
    assert trainer.step == trainer.total_steps
