"""A course that is broken off anywhere and taken up again ends as one that nothing happened to, bit for bit."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from xnas import Config, DataSet, RunFolder, SearchTrainer, load_data, published_genotype
from xnas.config.schema import SEARCH_SECTIONS, CheckpointConfig
from xnas.data.images import Normalisation
from xnas.io.errors import Interrupted
from xnas.runs.callbacks import NullCallback
from xnas.runs.checkpoint import read_checkpoint
from xnas.runs.signals import StopRequest
from xnas.train.checkpointing import CheckpointManager, ResumeKey
from xnas.train.retrain import fit_retrain
from xnas.train.search import fit_search

from ...helpers.log_lines import LogLines
from ...helpers.sealed_runs import seal

CPU = torch.device("cpu")


class Stopper(NullCallback, LogLines):
    """Asks for the end after some rounds, as a signal would, and keeps what is said within it."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.stop_request, self.left = StopRequest(), after

    def step_done(self, **values: Any) -> None:
        del values
        self.left -= 1
        if self.left == 0:
            self.stop_request.number = 2


def run(config: Config, data: DataSet, folder: RunFolder, *, after: int = 0) -> list[str]:
    stopper = Stopper(after)
    trainer = SearchTrainer(config, data, device=CPU)
    with stopper:
        fit_search(trainer, folder=folder, callback=stopper, stop_request=stopper.stop_request)
    return stopper.said


def tensors(folder: RunFolder, phase: str) -> dict[str, bytes]:
    newest = read_checkpoint(folder.checkpoints(phase).found()[0])
    return {name: value.contiguous().numpy().tobytes() for name, value in newest.tensors.items()}


@pytest.mark.parametrize("feedback", ["sample", "batch"])
def test_a_search_interrupted_after_any_step_ends_as_if_nothing_had_happened(
    feedback: str, tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        tiny, search=dataclasses.replace(tiny.search, feedback=feedback, reward_bound=1.0, epochs=3)
    )
    whole = RunFolder.at(tmp_path / "whole")
    run(config, data, whole)
    for after in range(1, 6):
        folder = RunFolder.at(tmp_path / f"after-{after}")
        with pytest.raises(Interrupted):
            run(config, data, folder, after=after)
        torch.rand(7)  # a process of its own would have another state
        said = run(config, data, RunFolder(folder.path))
        assert f"search: resuming from {folder.path}/checkpoints/search-{after:010}" in said
        assert tensors(folder, "search") == tensors(whole, "search")
        assert folder.genotype() == whole.genotype()
        assert (folder.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
        assert not folder.has("genotype-so-far.json")


RESIZED = {"crop": "resized", "policy": "cifar10", "cutout": 4}


@pytest.mark.parametrize(
    ("varied", "first", "changes"),
    [({}, None, [(None, 2), (2, 0), (0, None)]), (RESIZED, 2, [(2, 0), (0, 2)])],
    ids=["padded crops", "resized crops"],
)
def test_it_does_not_matter_who_reads_the_images_before_and_after(
    varied: dict[str, Any],
    first: int | None,
    changes: list[tuple[int | None, int | None]],
    tiny: Config,
    image_folder: Path,
    tmp_path: Path,
) -> None:
    def go(folder: RunFolder, workers: int | None, *, after: int = 0) -> None:
        config = dataclasses.replace(tiny, data=dataclasses.replace(tiny.data, workers=workers, **varied))
        run(config, load_data(str(image_folder), workers=workers), folder, after=after)

    whole = RunFolder.at(tmp_path / "whole")
    go(whole, first)
    for before, later in changes:
        folder = RunFolder.at(tmp_path / f"{before}-{later}")
        with pytest.raises(Interrupted):
            go(folder, before, after=3)
        go(RunFolder(folder.path), later)
        assert tensors(folder, "search") == tensors(whole, "search")
        assert (folder.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()


def test_experts_that_were_wiped_out_stay_so(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, search=dataclasses.replace(tiny.search, epochs=3, zeta=0.05))
    folder = RunFolder.at(tmp_path / "mine")
    with pytest.raises(Interrupted):
        run(config, data, folder, after=4)
    trainer = SearchTrainer(config, data, device=CPU)
    names = set(dict(trainer.network.named_parameters()))
    keeper = CheckpointManager(trainer, key=resume_key(config, trainer), folder=folder)
    keeper.begin()
    wiped = sum(int((~state.alive_EK).sum()) for state in trainer.experts.states.values())
    assert wiped > 0
    parameters = dict(trainer.network.named_parameters())
    assert len(parameters) < len(names)
    assert set(trainer.sgd.state) == set(parameters.values())  # nor has the optimizer anything of them


def test_a_retraining_interrupted_after_any_step_ends_as_if_nothing_had_happened(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    def train(folder: RunFolder, after: int = 0) -> dict[str, object]:
        stopper = Stopper(after)
        return fit_retrain(
            published_genotype("darts_v1"), tiny, data, name="mine", device=CPU, folder=folder,
            callback=stopper, stop_request=stopper.stop_request,
        )  # fmt: skip

    whole = RunFolder.at(tmp_path / "whole")
    result = train(whole)
    for after in (1, 4, 5, 9, 10):
        folder = RunFolder.at(tmp_path / f"after-{after}")
        with pytest.raises(Interrupted):
            train(folder, after)
        assert train(RunFolder(folder.path)) == result
        assert tensors(folder, "retrain") == tensors(whole, "retrain")
        for name in ("metrics.jsonl", "checkpoints/network.safetensors"):
            assert (folder.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_retraining_that_saves_memory_is_the_same(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    folders = []
    for activation_checkpointing in (False, True):
        config = dataclasses.replace(
            tiny,
            activation_checkpointing=activation_checkpointing,
            retrain=dataclasses.replace(tiny.retrain, squeeze_excite=True),
        )
        folders.append(RunFolder.at(tmp_path / str(activation_checkpointing)))
        fit_retrain(published_genotype("xnas"), config, data, name="mine", device=CPU, folder=folders[-1])
    plain, saving = folders
    assert tensors(saving, "retrain") == tensors(plain, "retrain")
    for name in ("metrics.jsonl", "result.json", "checkpoints/network.safetensors"):
        assert (saving.path / name).read_bytes() == (plain.path / name).read_bytes()


def test_images_are_measured_once_in_the_life_of_a_search(
    tiny: Config, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    with pytest.raises(Interrupted):
        run(tiny, data, folder, after=2)
    monkeypatch.setattr(Normalisation, "of", None)  # whoever calls it fails
    run(tiny, data, RunFolder(folder.path))
    assert folder.has("genotype.json")


def test_statistics_of_other_channels_are_refused(tiny: Config, data: DataSet) -> None:
    trainer = SearchTrainer(tiny, data, device=CPU)
    statistics = {f"normalisation/{name}": torch.ones(2) for name in ("mean_C", "std_C")}
    with pytest.raises(ValueError, match=r"does not fit this search: .*statistics of 2 channels"):
        trainer.load_state_dict(trainer.state_dict() | statistics, step=0)


def test_a_run_that_has_ended_is_not_done_again(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    run(tiny, data, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    assert run(tiny, data, RunFolder(folder.path)) == []
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


def test_rows_without_a_checkpoint_are_never_written_over(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    with pytest.raises(Interrupted):
        run(tiny, data, folder, after=2)
    folder.checkpoints("search").drop()
    before = (folder.path / "metrics.jsonl").read_bytes()
    with pytest.raises(
        ValueError, match=r"has rows of kind .*, but .* has no checkpoint of the search; restore it"
    ):
        run(tiny, data, RunFolder(folder.path))
    assert (folder.path / "metrics.jsonl").read_bytes() == before


def test_a_checkpoint_of_other_settings_or_images_is_refused_by_name(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    with pytest.raises(Interrupted):
        run(tiny, data, folder, after=2)
    (folder.path / "config.toml").unlink()  # a checkpoint knows its own
    seal(folder.path)
    other = dataclasses.replace(tiny, seed=5, search=dataclasses.replace(tiny.search, zeta=0.5))
    with pytest.raises(
        ValueError,
        match=r"search-0000000002 was started otherwise: search.zeta was 1.0, is 0.5; seed was 0, is 5; give",
    ):
        run(other, data, RunFolder(folder.path))
    (folder.path / "config.toml").unlink()
    seal(folder.path)
    turned = dataclasses.replace(
        data.train, images_NCHW=data.train.images_NCHW.flip(0), labels_N=data.train.labels_N
    )
    with pytest.raises(ValueError, match="was started otherwise: the images changed"):
        run(tiny, dataclasses.replace(data, train=turned), RunFolder(folder.path))


def test_a_damaged_note_of_times_hides_no_reason_for_a_stop(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    (folder.path / "timing.json").write_text("{")
    seal(folder.path)
    with pytest.raises(Interrupted):
        run(tiny, data, folder, after=2)


def resume_key(config: Config, trainer: SearchTrainer) -> ResumeKey:
    return ResumeKey(config=config, sections=SEARCH_SECTIONS, fingerprints=trainer.fingerprints())


@pytest.mark.parametrize(
    ("settings", "saved"),
    [
        ({"minutes": 100, "steps": 2}, [2, 4, 6]),
        ({"minutes": 2.5}, [3, 6]),
        ({"minutes": 2.5, "steps": 1}, [1, 2, 3, 4, 5, 6, 7]),
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"minutes": 100}, []),
    ],
)
def test_a_trainer_is_saved_every_so_many_minutes_or_steps(
    settings: dict[str, Any], saved: list[int], tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        tiny,
        search=dataclasses.replace(tiny.search, epochs=4),
        checkpoint=CheckpointConfig(**{"minutes": 1, **settings}),
    )
    trainer = SearchTrainer(config, data, device=CPU)
    now = 0.0
    keeper = CheckpointManager(
        trainer,
        key=resume_key(config, trainer),
        folder=RunFolder.at(tmp_path / "mine"),
        clock=lambda: now,
    )
    keeper.begin()
    found = []
    for number in range(1, 8):
        trainer.step, now = number, 60.0 * number
        before = keeper.last
        keeper.after_step(due=keeper.due, ending=False)
        found += [number] if keeper.last != before else []
    assert found == saved
    keeper.after_step(due=False, ending=True)
    assert keeper.last is not None
    assert keeper.last.name == "search-0000000007"
