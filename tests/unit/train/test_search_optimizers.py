"""A search by every method: it leaves a genotype, and can be interrupted after any step."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from xnas import Config, DataSet, RunFolder, SearchTrainer
from xnas.config.schema import SearchConfig
from xnas.io.errors import Interrupted
from xnas.optimizers.registry import METHODS
from xnas.runs.callbacks import LogCallback, NullCallback
from xnas.runs.checkpoint import read_checkpoint
from xnas.runs.signals import StopRequest
from xnas.train.search import fit_search

from ...helpers.sealed_runs import seal

CPU = torch.device("cpu")
LEARNING = [name for name in METHODS if name != "random"]


class Stopper(NullCallback):
    """Asks for the end after some rounds, as a signal would."""

    def __init__(self, after: int) -> None:
        self.stop_request, self.left = StopRequest(), after

    def step_done(self, **values: Any) -> None:
        del values
        self.left -= 1
        if self.left == 0:
            self.stop_request.number = 2


def searching(config: Config, method: str, **settings: Any) -> Config:
    if method not in ("xnas", "paper", "random"):
        settings.setdefault("step_size", 0.3)  # so that four rounds decide something
    return dataclasses.replace(config, search=dataclasses.replace(config.search, method=method, **settings))


def run(config: Config, data: DataSet, folder: RunFolder, *, after: int = 0) -> SearchTrainer:
    trainer, stopper = SearchTrainer(config, data, device=CPU), Stopper(after)
    fit_search(trainer, folder=folder, callback=stopper, stop_request=stopper.stop_request)
    return trainer


def tensors(folder: RunFolder) -> dict[str, bytes]:
    newest = read_checkpoint(folder.checkpoints("search").found()[0])
    return {name: value.contiguous().numpy().tobytes() for name, value in newest.tensors.items()}


def rows(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


@pytest.mark.parametrize("method", LEARNING)
def test_a_search_interrupted_after_every_step_ends_as_if_nothing_had_happened(
    method: str, tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config = searching(tiny, method)
    whole = RunFolder.at(tmp_path / "whole")
    trainer = run(config, data, whole)
    assert whole.genotype() == trainer.genotype()
    assert [row["epoch"] for row in rows(whole, "search_epoch")] == [0, 1, 2]
    rule = "xnas" if method == "paper" else method
    assert {row["method"] for row in rows(whole, "group")} == {rule}
    folder = RunFolder.at(tmp_path / "broken-off")
    for _ in range(1, trainer.total_steps):
        with pytest.raises(Interrupted):
            run(config, data, folder, after=1)
        torch.rand(7)  # a process of its own would have another state
    assert run(config, data, folder).step == trainer.total_steps
    assert tensors(folder) == tensors(whole)
    assert folder.genotype() == whole.genotype()
    assert (folder.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("method", ["xnas", "gdas", "darts-2nd"])
def test_a_search_that_saves_memory_is_the_same_and_may_begin_to_at_any_round(
    method: str, tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config = searching(tiny, method)
    saving = dataclasses.replace(config, activation_checkpointing=True)
    whole = RunFolder.at(tmp_path / "whole")
    run(config, data, whole)
    for after in (0, 1):
        folder = RunFolder.at(tmp_path / f"after-{after}")
        if after:
            with pytest.raises(Interrupted):
                run(config, data, folder, after=after)
        trainer = run(saving, data, RunFolder(folder.path))
        assert trainer.network.spec.activation_checkpointing  # type: ignore[union-attr]
        assert tensors(folder) == tensors(whole)
        assert folder.genotype() == whole.genotype()
        assert (folder.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_partial_channels_go_with_every_optimizer(
    method: str, tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config = searching(tiny, method, epochs=1)
    config = dataclasses.replace(config, space=dataclasses.replace(config.space, partial_channels=2))
    folder = RunFolder.at(tmp_path / "mine")
    trainer = run(config, data, folder)
    assert folder.genotype() == trainer.genotype()
    if method != "random":
        settings = trainer.experts.settings["normal"]
        assert trainer.experts.learners["normal"].num_feedbacks == settings.horizon


def test_asap_prunes_and_what_it_pruned_is_written_down(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    trainer = run(searching(tiny, "asap", step_size=1.0), data, folder)
    wiped = rows(folder, "wipeout")
    assert wiped
    alive = sum(int(trainer.experts.alive(group).sum()) for group in trainer.experts.groups)
    assert alive == 2 * 5 * 7 - len(wiped)


def test_a_random_architecture_needs_no_rounds(
    said: list[str], tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    genotypes = []
    for seed in (0, 0, 1, 2):
        folder = RunFolder.at(tmp_path / f"run-{len(genotypes)}")
        config = dataclasses.replace(searching(tiny, "random"), seed=seed)
        trainer = SearchTrainer(config, data, device=CPU)
        before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
        genotypes.append(fit_search(trainer, folder=folder, callback=LogCallback()))
        assert trainer.step == trainer.total_steps == 0
        assert all(torch.equal(value, before[name]) for name, value in trainer.network.state_dict().items())
        assert [row["epoch"] for row in rows(folder, "search_epoch")] == [0]
        assert run(config, data, RunFolder(folder.path)).step == 0  # it has ended, and is not done again
        assert "search: no steps, there is nothing to learn" in said
    assert genotypes[0] == genotypes[1]
    assert len(set(genotypes)) == 3


def test_a_random_search_that_was_killed_before_its_genotype_was_written_ends_the_same(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config = searching(tiny, "random")
    folder = RunFolder.at(tmp_path / "mine")
    run(config, data, folder)
    genotype, metrics = folder.genotype(), (folder.path / "metrics.jsonl").read_bytes()
    (folder.path / "genotype.json").unlink()
    seal(folder.path)
    run(config, data, RunFolder(folder.path))
    assert folder.genotype() == genotype
    assert (folder.path / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_draws_otherwise(method: str, tiny: Config, data: DataSet) -> None:
    first, second = (
        SearchTrainer(dataclasses.replace(searching(tiny, method), seed=seed), data, device=CPU).experts
        for seed in (0, 1)
    )
    same = all(torch.equal(first.log_weights(name), second.log_weights(name)) for name in first.groups)
    assert same == (method in ("xnas", "paper", "gd", "momentum", "gaea", "asap"))  # which start uniform


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"method": "dart"}, r"^unknown method in search.method 'dart'; did you mean 'darts'\?"),
        ({"method": "gaea", "step_size": 0.0}, r"^search.step_size must be positive and finite; got 0.0$"),
        (
            {"method": "darts", "architecture_weight_decay": -1.0},
            r"^search.architecture_weight_decay must lie between 0 and 1e\+09; got -1.0$",
        ),
        (
            {"method": "xnas", "architecture_weight_decay": 1e-3},
            r"^search.architecture_weight_decay has no place in xnas",
        ),
        (
            {"method": "random", "step_size": 0.1},
            r"^search.step_size has no place in random, which learns nothing; leave it out$",
        ),
        (
            {"method": "random", "architecture_weight_decay": 0.1},
            r"^search.architecture_weight_decay has no place in random",
        ),
    ],
)
def test_wrong_settings_end_in_one_line(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        SearchConfig(**settings)
