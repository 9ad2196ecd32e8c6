"""One level: the batches that train the network weights reward the experts too, in one pass."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from xnas import Config, DataSet, RunFolder, SearchTrainer
from xnas.experts.step_size import Feedback
from xnas.io.errors import Interrupted, NonFinite
from xnas.optimizers.xnas import XNAS
from xnas.space.nasbench201.genotype import OPERATIONS, Nasbench201Genotype
from xnas.train.retrain import fit_retrain
from xnas.train.search import fit_search
from xnas.train.trained_network import TrainedNetwork

from .test_search import rows, with_search
from .test_search_optimizers import run, tensors

CPU = torch.device("cpu")


def single_level(config: Config, **settings: object) -> Config:
    return with_search(config, validation_share=0.0, **settings)


def nasbench201(config: Config) -> Config:
    space = dataclasses.replace(config.space, kind="nasbench201", nodes=3, experts=OPERATIONS)
    return dataclasses.replace(config, space=space)


@pytest.mark.parametrize("feedback", ["sample", "replica", "batch"])
def test_one_pass_gives_the_gradients_of_weights_and_of_mixtures_that_two_would(
    tiny: Config, data: DataSet, feedback: Feedback
) -> None:
    trainer = SearchTrainer(single_level(tiny, feedback=feedback, reward_bound=1.0), data, device=CPU)
    (batch,) = next(trainer.epoch_batches(1))
    network = copy.deepcopy(trainer.network)
    F.cross_entropy(network(batch.images_BCHW), batch.labels_B).backward()
    apart = XNAS(network, rounds=1, batch_size=len(batch), feedback=feedback, reward_bound=1.0)
    apart.measure(lambda: F.cross_entropy(network(batch.images_BCHW), batch.labels_B, reduction="none"))

    trainer.sgd.zero_grad()
    trainer.measure(batch, with_weight_grads=True)
    for name in trainer.experts.groups:
        torch.testing.assert_close(
            trainer.experts.gradients(name), apart.gradients(name), rtol=1e-4, atol=1e-6
        )
    for ours, plain in zip(trainer.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-3, atol=1e-6)


def test_every_image_trains_and_rewards_once_an_epoch(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    trainer = SearchTrainer(single_level(tiny, feedback="batch"), data, device=CPU)
    assert trainer.steps_per_epoch == len(data.train) // tiny.search.batch_size
    assert trainer.parts.train is trainer.parts.validation is data.train
    folder = RunFolder.at(tmp_path / "mine")
    fit_search(trainer, folder=folder)
    last = rows(folder, "search_epoch")[-1]
    assert last["train_accuracy"] is not None
    assert last["val_accuracy"] is None
    assert {learner.num_feedbacks for learner in trainer.experts.learners.values()} == {trainer.total_steps}


@pytest.mark.parametrize("optimizer", ["xnas", "gdas"])
def test_a_search_on_one_level_interrupted_after_any_step_ends_as_if_nothing_had_happened(
    tiny: Config, data: DataSet, tmp_path: Path, optimizer: str
) -> None:
    config = nasbench201(single_level(tiny, method=optimizer, warmup_epochs=1))
    whole = RunFolder.at(tmp_path / "whole")
    total = run(config, data, whole).total_steps
    for stop in (1, total // 2 + 1, total - 1):
        folder = RunFolder.at(tmp_path / str(stop))
        with pytest.raises(Interrupted):
            run(config, data, folder, after=stop)
        run(config, data, folder)
        assert tensors(folder) == tensors(whole)
        assert (folder.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()


def test_a_loss_that_is_not_finite_stops_a_round_before_it_updates_anything(
    tiny: Config, data: DataSet
) -> None:
    trainer = SearchTrainer(single_level(tiny), data, device=CPU)
    (batch,) = next(trainer.epoch_batches(1))
    batch.images_BCHW[0] = torch.nan
    before = {name: value.clone() for name, value in trainer.state_dict().items()}
    with pytest.raises(NonFinite, match="nothing was updated"):
        trainer.training_step(batch)
    for name, value in trainer.state_dict().items():
        if not name.startswith("random"):
            assert torch.equal(value, before[name]) or value.isnan().any(), name


def test_what_is_found_in_nasbench201_is_trained_tested_and_brought_back(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config, folder = nasbench201(single_level(tiny)), RunFolder.at(tmp_path / "mine")
    genotype = fit_search(SearchTrainer(config, data, device=CPU), folder=folder)
    assert isinstance(genotype, Nasbench201Genotype)
    assert "none" not in genotype.operations
    assert RunFolder(folder.path).genotype() == genotype
    result = fit_retrain(genotype, config, data, name="found", device=CPU, folder=folder)
    trained = TrainedNetwork.read(folder, device=CPU)
    assert trained.genotype == genotype
    assert trained.test(data.test, device=CPU).accuracy == result["test_accuracy"]


def test_a_rule_of_second_order_needs_a_part_of_its_own(tiny: Config) -> None:
    with pytest.raises(ValueError, match="leaves darts-2nd no other images"):
        single_level(tiny, method="darts-2nd")
