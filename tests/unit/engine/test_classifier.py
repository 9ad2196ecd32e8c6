"""The classifier for people who think in fit: it tells classes apart, and goes on where it was broken off."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xnas
from xnas import DataSet, ImageClassifier, RunFolder, TrainedNetwork
from xnas.engine.retrain import Retraining

SETTINGS: dict[str, Any] = {
    "device": "cpu",
    "data": {"padding": 1},
    "space": {"nodes": 1, "channels": 4, "cells": 2, "reductions": 1, "stem": "cifar"},
    "search": {"epochs": 2, "warmup_epochs": 0, "batch_size": 12},
    "retrain": {"channels": 4, "cells": 2, "reductions": 1, "epochs": 3, "batch_size": 12, "stem": "cifar"},
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_pictures: None) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def images(data: DataSet) -> np.ndarray:
    pixels: np.ndarray = data.train.pixels(torch.arange(len(data.train))).permute(0, 2, 3, 1).numpy()
    return pixels  # NHWC


@pytest.fixture
def labels(data: DataSet) -> np.ndarray:
    return np.array(data.train.classes)[data.train.labels_N.numpy()]


def test_a_fit_searches_trains_and_tells_colours_apart(
    images: np.ndarray, labels: np.ndarray, data: DataSet
) -> None:
    said: list[str] = []
    classifier = ImageClassifier(settings=SETTINGS, say=said.append)
    assert classifier.fit(images, labels) is classifier
    assert classifier.classes_.tolist() == ["blue", "green", "red"]
    assert not classifier.network_.network.training  # or asking it would move its averages
    others = data.test.pixels(torch.arange(len(data.test)))
    truth = np.array(data.test.classes)[data.test.labels_N.numpy()]
    assert classifier.score(others, truth) > 0.8
    probabilities_ND = classifier.predict_proba(others)
    assert probabilities_ND.shape == (18, 3)
    np.testing.assert_allclose(probabilities_ND.sum(1), 1, atol=1e-6)
    assert (classifier.predict(others) == classifier.classes_[probabilities_ND.argmax(1)]).all()
    folder = RunFolder(classifier.run_folder_)
    assert classifier.run_folder_ == Path("runs/image-classifier-1")
    assert folder.genotype() == classifier.genotype_
    assert (folder.path / "report.html").is_file()
    assert not folder.has("result.json")  # nothing was tested
    read = TrainedNetwork.read(folder, device=torch.device("cpu"))
    assert torch.equal(read.predict(others), torch.from_numpy(probabilities_ND))
    assert any("retrain epoch 3/3" in line for line in said)


def test_layouts_kinds_and_whole_numbers_give_the_same_network(
    images: np.ndarray, labels: np.ndarray
) -> None:
    numbers = np.unique(labels, return_inverse=True)[1] * 10
    first = ImageClassifier(settings=SETTINGS).fit(images, numbers)
    second = ImageClassifier(settings=SETTINGS).fit(
        torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(numbers)
    )
    assert second.run_folder_ == Path("runs/image-classifier-2")
    assert first.classes_.tolist() == second.classes_.tolist() == [0, 10, 20]
    assert (first.predict_proba(images) == second.predict_proba(images / 255)).all()


def test_a_fit_that_was_broken_off_goes_on_to_the_same_network(
    images: np.ndarray, labels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ImageClassifier(settings=SETTINGS).fit(images, labels)
    one_round = Retraining.round

    def round_with_a_signal(self: Retraining, *batches: Any) -> Any:
        if self.rounds == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return one_round(self, *batches)

    classifier = ImageClassifier(settings=SETTINGS, folder="mine")
    with monkeypatch.context() as patch:
        patch.setattr(Retraining, "round", round_with_a_signal)
        with pytest.raises(KeyboardInterrupt, match="fit the same images with folder='mine'"):
            classifier.fit(images, labels)
    with pytest.raises(ValueError, match="has not been fitted yet"):
        classifier.predict(images)
    rounds: list[int] = []

    def counted(self: Retraining, *batches: Any) -> Any:
        rounds.append(self.rounds)
        return one_round(self, *batches)

    monkeypatch.setattr(Retraining, "round", counted)
    monkeypatch.setattr(xnas.Search, "round", None)  # the search is not done again
    classifier.fit(images, labels)
    assert rounds == list(range(7, 15))
    assert (classifier.predict_proba(images) == whole.predict_proba(images)).all()
    classifier.fit(images, labels)  # has ended
    assert len(rounds) == 8


def test_a_folder_of_other_images_or_settings_is_refused(images: np.ndarray, labels: np.ndarray) -> None:
    ImageClassifier(settings=SETTINGS, folder="mine").fit(images, labels)
    with pytest.raises(
        ValueError, match="mine was begun with other images or labels; give the same, or anoth"
    ):
        ImageClassifier(settings=SETTINGS, folder="mine").fit(images[::-1], labels)
    with pytest.raises(
        ValueError, match="mine was begun with other settings: seed was 0, is 1; give the same"
    ):
        ImageClassifier(settings=SETTINGS, folder="mine", seed=1).fit(images, labels)
    Path("full").mkdir()
    Path("full/letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="full is there and is not a run folder"):
        ImageClassifier(settings=SETTINGS, folder="full").fit(images, labels)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"preset": "quik"}, "unknown preset 'quik'; did you mean 'quick'?"),
        ({"layout": "NWHC"}, "unknown layout 'NWHC'; did you mean 'NHWC'?"),
        ({"settings": {"serch": {}}}, "unknown setting 'serch'; did you mean 'search'?"),
        ({"settings": {"search": {"epoch": 3}}}, "did you mean 'epochs'?"),
        ({"settings": {"search": 3}}, "'search' is a section"),
        ({"settings": 3}, "settings of ImageClassifier must be a mapping of sections to settings; got 3"),
        ({"settings": {"seed": 3}}, "the seed has no place in them; give seed="),
        ({"settings": {"data": {"held_out": 0.1}}}, "unknown setting of .data. for images that are given"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"settings": {"retrain": {"batch_size": 100}}}, "retrain.batch_size 100 is larger than"),
        (
            {"settings": {"search": {"batch_size": 100}, "retrain": {"batch_size": 9}}},
            "search.batch_size 100 is larger than the training part",
        ),
    ],
)
def test_unfit_parameters_are_refused_by_fit_in_one_line_and_nothing_is_written(
    images: np.ndarray, labels: np.ndarray, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as error:
        ImageClassifier(**parameters).fit(images, labels)
    assert "\n" not in str(error.value)
    assert not Path("runs").exists()


def test_images_of_another_size_are_refused_after_the_fit(images: np.ndarray, labels: np.ndarray) -> None:
    classifier = ImageClassifier(settings=SETTINGS).fit(images, labels)
    with pytest.raises(
        ValueError, match=r"fitted to images of shape .* \(3, 8, 8\), but these have \(3, 9, 9\)"
    ):
        classifier.predict(np.zeros((2, 9, 9, 3), np.uint8))
    with pytest.raises(ValueError, match=r"one label for each of the 60 images; got the shape \(3,\)"):
        classifier.score(images, labels[:3])


def test_parameters_are_read_and_set_by_name() -> None:
    classifier = ImageClassifier("full", seed=3)
    assert classifier.get_params() == {
        "preset": "full", "seed": 3, "folder": None, "settings": None, "layout": "auto", "say": None,
    }  # fmt: skip
    assert classifier.set_params(seed=4, folder="x").get_params()["seed"] == 4
    assert repr(classifier) == "ImageClassifier(preset='full', seed=4, folder='x')"
    with pytest.raises(
        ValueError, match=r"unknown parameter of ImageClassifier 'seeds'; did you mean 'seed'?"
    ):
        classifier.set_params(seeds=3)


def test_scikit_learn_clones_it_and_cross_validates(images: np.ndarray, labels: np.ndarray) -> None:
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    classifier = ImageClassifier(seed=2, settings=SETTINGS)
    copy = clone(classifier)
    assert copy is not classifier
    assert copy.get_params() == classifier.get_params()
    assert is_classifier(classifier)
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    scores = cross_val_score(classifier, images, labels, cv=folds, error_score="raise")
    assert len(scores) == 2
    assert scores.min() > 0.5
    assert not hasattr(classifier, "network_")
