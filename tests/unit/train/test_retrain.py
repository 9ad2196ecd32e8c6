"""Retraining and testing, from a genotype to a network that comes back from its folder."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from xnas import Config, DataSet, ImageSet, RunFolder, TrainedNetwork, published_genotype
from xnas.config.loading import parse_config
from xnas.train.build import control_genotypes
from xnas.train.retrain import fit_retrain

CPU = torch.device("cpu")


@pytest.fixture
def trained(tiny: Config, data: DataSet, tmp_path: Path) -> RunFolder:
    folder = RunFolder.at(tmp_path / "mine")
    folder.describe(tiny, {})
    fit_retrain(published_genotype("darts_v2"), tiny, data, name="found", device=CPU, folder=folder)
    return folder


def test_retraining_leaves_rows_result_and_weights(trained: RunFolder) -> None:
    kinds = [json.loads(line)["kind"] for line in (trained.path / "metrics.jsonl").read_text().splitlines()]
    assert kinds == ["retrain_images", "retrain_epoch", "retrain_epoch", "test"]
    result = json.loads((trained.path / "result.json").read_text())
    assert result["format"] == "xnas-result"
    assert result["test_samples"] == 18
    assert 0 <= result["test_accuracy"] <= 1
    assert result["parameters"] > 0 < result["multiply_adds"]


def test_a_trained_network_comes_back_with_the_accuracy_that_it_had(
    trained: RunFolder, data: DataSet
) -> None:
    result = json.loads((trained.path / "result.json").read_text())
    network = TrainedNetwork.read(trained, device=CPU)
    again = network.test(data.test, device=CPU)
    assert (again.accuracy, again.loss) == (result["test_accuracy"], result["test_loss"])
    assert network.genotype == published_genotype("darts_v2")
    assert network.classes == data.train.classes


def test_other_images_are_tested_only_if_they_fit(trained: RunFolder, data: DataSet) -> None:
    network = TrainedNetwork.read(trained, device=CPU)
    strangers = dataclasses.replace(data.test, classes=("ant", "bee", "cat"))
    with pytest.raises(
        ValueError, match="the network tells apart blue, green, red, but the images have the classes ant"
    ):
        network.test(strangers, device=CPU)
    two = ImageSet(
        images_NCHW=data.test.images_NCHW[:, :2], labels_N=data.test.labels_N, classes=data.test.classes
    )
    with pytest.raises(ValueError, match=r"takes images of 3 channel\(s\), but these have 2"):
        network.test(two, device=CPU)


def test_a_trained_network_gives_each_image_its_probabilities_whatever_the_batch(
    trained: RunFolder, data: DataSet
) -> None:
    network = TrainedNetwork.read(trained, device=CPU)
    images_NCHW = data.test.pixels(torch.arange(len(data.test)))
    probabilities_ND = network.predict(images_NCHW)
    assert probabilities_ND.shape == (18, 3)
    assert torch.allclose(probabilities_ND.sum(1), torch.ones(18))
    hits = (probabilities_ND.argmax(1) == data.test.labels_N).float().mean()
    assert float(hits) == pytest.approx(network.test(data.test, device=CPU).accuracy)
    assert torch.allclose(network.predict(images_NCHW, batch_size=7), probabilities_ND, atol=1e-6)
    assert network.predict(images_NCHW[:0]).shape == (0, 3)
    assert network.predict(images_NCHW[:2, :, :, :5]).shape == (2, 3)


def test_what_a_network_cannot_be_asked_about_is_named(trained: RunFolder, data: DataSet) -> None:
    network = TrainedNetwork.read(trained, device=CPU)
    images_NCHW = data.test.pixels(torch.arange(2))
    with pytest.raises(ValueError, match=r"images must be uint8 of shape \(N, C, H, W\); got torch.float32"):
        network.predict(images_NCHW.float())
    with pytest.raises(ValueError, match=r"got torch.uint8 of shape \(3, 8, 8\)"):
        network.predict(images_NCHW[0])
    with pytest.raises(ValueError, match=r"takes images of 3 channel\(s\), but these have 1"):
        network.predict(images_NCHW[:, :1])


def test_weights_that_do_not_fit_the_settings_are_refused(trained: RunFolder, tiny: Config) -> None:
    wider = dataclasses.replace(tiny, retrain=dataclasses.replace(tiny.retrain, channels=8))
    trained.describe(wider, {})
    with pytest.raises(ValueError, match=r"the trained network in .*mine does not fit its settings"):
        TrainedNetwork.read(trained, device=CPU)


def test_the_same_seed_trains_the_same_weights(
    trained: RunFolder, tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "again")
    fit_retrain(published_genotype("darts_v2"), tiny, data, name="found", device=CPU, folder=folder)
    first, second = trained.weights()[0], folder.weights()[0]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_network_learns_to_tell_colours_apart(data: DataSet, tmp_path: Path) -> None:
    config = parse_config(
        "[data]\npadding = 1\n[retrain]\nchannels = 4\ncells = 3\nepochs = 8\nbatch_size = 12\nlearning_rate = 0.1\n",
        where="a test",
    )
    folder = RunFolder.at(tmp_path / "mine")
    result = fit_retrain(published_genotype("xnas"), config, data, name="found", device=CPU, folder=folder)
    assert result["test_accuracy"] == 1


def test_a_batch_larger_than_the_training_set_is_refused(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    config = dataclasses.replace(tiny, retrain=dataclasses.replace(tiny.retrain, batch_size=61))
    with pytest.raises(
        ValueError, match=r"retrain.batch_size 61 is larger than the training set of 60 images"
    ):
        fit_retrain(published_genotype("xnas"), config, data, name="found", device=CPU, folder=folder)
    assert not folder.has("metrics.jsonl")


def test_controls_are_the_published_cell_and_random_ones_whose_names_hold_their_seeds(tiny: Config) -> None:
    controls = control_genotypes(dataclasses.replace(tiny, seed=2), count=3)
    assert list(controls) == ["xnas", "random-201", "random-202", "random-203"]
    assert len(set(controls.values())) == 4
    assert control_genotypes(tiny, count=0) == {}
