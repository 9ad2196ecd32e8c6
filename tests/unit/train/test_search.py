"""The search as a whole, on small images."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from xnas import Config, DataSet, Genotype, RunFolder, SearchTrainer, count_parameters
from xnas.io.errors import Interrupted, NonFinite
from xnas.optimizers.group_info import GroupInfo
from xnas.runs.callbacks import NullCallback, PhaseInfo
from xnas.runs.signals import StopRequest
from xnas.train.search import fit_search

CPU = torch.device("cpu")


def rows(folder: RunFolder, kind: str) -> list[dict[str, object]]:
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def with_search(config: Config, **settings: object) -> Config:
    return dataclasses.replace(config, search=dataclasses.replace(config.search, **settings))  # type: ignore[arg-type]


def test_a_search_leaves_a_genotype_and_a_row_for_every_epoch(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    trainer = SearchTrainer(tiny, data, device=CPU)
    before = count_parameters(trainer.network)
    genotype = fit_search(trainer, folder=folder)
    assert folder.genotype() == genotype
    epochs = rows(folder, "search_epoch")
    assert [row["epoch"] for row in epochs] == [0, 1, 2]
    assert epochs[0]["parameters"] == before
    wiped = rows(folder, "wipeout")
    assert wiped
    assert epochs[2]["parameters"] == count_parameters(trainer.network) < before
    alive = [sum(map(sum, group["alive"])) for group in epochs[2]["groups"].values()]  # type: ignore[attr-defined]
    assert sum(alive) == 2 * 5 * 7 - len(wiped)
    assert all(
        state.num_feedbacks == trainer.experts.settings[name].horizon
        for name, state in trainer.experts.states.items()
    )


def test_the_same_seed_gives_the_same_metrics_file_bit_for_bit(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    files, genotypes = [], []
    for name in ("first", "second"):
        folder = RunFolder.at(tmp_path / name)
        genotypes.append(fit_search(SearchTrainer(tiny, data, device=CPU), folder=folder))
        files.append((folder.path / "metrics.jsonl").read_bytes())
    assert files[0] == files[1]
    assert genotypes[0] == genotypes[1]
    other = RunFolder.at(tmp_path / "third")
    fit_search(SearchTrainer(dataclasses.replace(tiny, seed=1), data, device=CPU), folder=other)
    assert (other.path / "metrics.jsonl").read_bytes() != files[0]


@pytest.mark.parametrize(
    ("feedback", "horizon"), [("sample", (24 * 2, 48 * 2)), ("replica", (4, 8)), ("batch", (4, 4))]
)
def test_horizons_count_in_the_unit_of_the_feedback(
    tiny: Config, data: DataSet, feedback: str, horizon: tuple[int, int]
) -> None:
    # 30 validation images make 2 rounds of 12 in each of 2 epochs; 1 normal cell and 2 reduction cells.
    trainer = SearchTrainer(with_search(tiny, feedback=feedback, reward_bound=1.0), data, device=CPU)
    settings = trainer.experts.settings
    assert (settings["normal"].horizon, settings["reduction"].horizon) == horizon


def test_the_halves_are_disjoint_and_hold_every_class_in_equal_parts(tiny: Config, data: DataSet) -> None:
    parts = SearchTrainer(tiny, data, device=CPU).parts
    assert len(parts.train) == len(parts.validation) == 30
    for part in (parts.train, parts.validation):
        assert torch.bincount(part.labels_N).tolist() == [10, 10, 10]
    pixels = torch.cat([*parts.train.chunks(), *parts.validation.chunks()]).flatten(1)
    assert len(torch.unique(pixels, dim=0)) == 60


def test_a_warm_up_trains_the_weights_and_leaves_the_experts_alone(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    fit_search(SearchTrainer(with_search(tiny, warmup_epochs=1), data, device=CPU), folder=folder)
    epochs = rows(folder, "search_epoch")
    assert epochs[1]["groups"] == epochs[0]["groups"]
    assert epochs[1]["val_loss"] is None
    assert epochs[2]["groups"] != epochs[0]["groups"]


def test_without_wipeout_every_expert_stays(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    trainer = SearchTrainer(with_search(tiny, wipeout=False), data, device=CPU)
    fit_search(trainer, folder=folder)
    assert rows(folder, "wipeout") == []
    assert all(state.alive_EK.all() for state in trainer.experts.states.values())


def test_a_batch_larger_than_a_half_is_refused_by_name_and_value(tiny: Config, data: DataSet) -> None:
    with pytest.raises(
        ValueError,
        match=r"search.batch_size 31 is larger than the training part of 30 images; use at most 30",
    ):
        SearchTrainer(with_search(tiny, batch_size=31), data, device=CPU)


def test_a_loss_that_is_not_finite_stops_the_search_before_anything_is_updated(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    trainer = SearchTrainer(tiny, data, device=CPU)
    with torch.no_grad():
        trainer.network.classifier.bias.fill_(torch.nan)  # type: ignore[union-attr, operator]
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    with pytest.raises(
        NonFinite,
        match=r"the loss is nan at step 1 of search epoch 1, with the training images \d+(, \d+){7} and 4 more, the "
        r"first image \d+ \(class .*\); nothing was updated by it; lower the learning rate, .*; last good checkpoint: "
        r".*search-0000000000",
    ):
        fit_search(trainer, folder=folder)
    after = dict(trainer.network.named_parameters())
    assert all(torch.equal(after[name].nan_to_num(7), before[name].nan_to_num(7)) for name in before)


class _StopsAfter(NullCallback):
    """Asks for the end after some rounds, as a signal would."""

    def __init__(self, stop_request: StopRequest, rounds: int) -> None:
        self.stop_request, self.left, self.finished = stop_request, rounds, False
        self.groups: dict[str, GroupInfo] = {}

    def start(self, phase: PhaseInfo) -> None:
        self.groups = dict(phase.groups)

    def step_done(self, **values: object) -> None:
        del values
        self.left -= 1
        if self.left == 0:
            self.stop_request.number = 2

    def finish(self) -> None:
        self.finished = True


def test_an_interrupted_search_ends_after_the_round_with_what_was_reached(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    trainer, stop_request = SearchTrainer(tiny, data, device=CPU), StopRequest()
    callback = _StopsAfter(stop_request, rounds=3)
    with pytest.raises(Interrupted):
        fit_search(trainer, folder=folder, callback=callback, stop_request=stop_request)
    assert trainer.step == 3
    assert callback.finished
    assert not folder.has("genotype.json")
    so_far = (folder.path / "genotype-so-far.json").read_text()
    assert Genotype.from_json(so_far) == trainer.genotype()
    assert [row["epoch"] for row in rows(folder, "search_epoch")] == [0, 1]
    assert callback.groups["normal"].edges == ("0→2", "1→2", "0→3", "1→3", "2→3")
