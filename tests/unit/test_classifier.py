"""The classifier for people who think in fit: it tells classes apart, and goes on where it was broken off."""

import os
import random
import re
import signal
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xnas
from xnas import Config, DataSet, ImageClassifier, RunFolder, SearchTrainer, TrainedNetwork
from xnas.classifier import in_words_of_python
from xnas.io.errors import OutOfMemory
from xnas.train.retrain import RetrainTrainer

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
    images: np.ndarray, labels: np.ndarray, data: DataSet, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = ImageClassifier(settings=SETTINGS, verbose=True)
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
    assert "retrain epoch 3/3" in capsys.readouterr().out


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


def test_a_fit_that_was_interrupted_resumes_to_the_same_network(
    images: np.ndarray, labels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ImageClassifier(settings=SETTINGS).fit(images, labels)
    one_round = RetrainTrainer.training_step

    def step_with_a_signal(self: RetrainTrainer, *batches: Any) -> Any:
        if self.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return one_round(self, *batches)

    classifier = ImageClassifier(settings=SETTINGS, folder="mine")
    with monkeypatch.context() as patch:
        patch.setattr(RetrainTrainer, "training_step", step_with_a_signal)
        with pytest.raises(KeyboardInterrupt, match="fit the same images with folder='mine'"):
            classifier.fit(images, labels)
    with pytest.raises(ValueError, match="has not been fitted yet"):
        classifier.predict(images)
    rounds: list[int] = []

    def counted(self: RetrainTrainer, *batches: Any) -> Any:
        rounds.append(self.step)
        return one_round(self, *batches)

    monkeypatch.setattr(RetrainTrainer, "training_step", counted)
    monkeypatch.setattr(SearchTrainer, "training_step", None)  # the search is not done again
    classifier.fit(images, labels)
    assert rounds == list(range(7, 15))
    assert (classifier.predict_proba(images) == whole.predict_proba(images)).all()
    classifier.fit(images, labels)  # has ended
    assert len(rounds) == 8


def test_a_folder_of_other_images_or_settings_is_refused(images: np.ndarray, labels: np.ndarray) -> None:
    ImageClassifier(settings=SETTINGS, folder="mine").fit(images, labels)
    with pytest.raises(
        ValueError, match="mine was started with other images or labels; give the same, or anoth"
    ):
        ImageClassifier(settings=SETTINGS, folder="mine").fit(images[::-1], labels)
    with pytest.raises(
        ValueError, match="mine was started with different settings: seed was 0, is 1; give the same"
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


def test_numbers_of_numpy_and_torch_are_parameters_like_pythons_own(
    images: np.ndarray, labels: np.ndarray
) -> None:
    search = {"epochs": np.int64(2), "warmup_epochs": np.array(0), "batch_size": torch.tensor(12)}
    settings = {
        **SETTINGS,
        "threads": np.uint8(1),
        "activation_checkpointing": np.bool_(False),
        "search": search,
    }
    ImageClassifier(seed=np.int64(3), settings=settings, folder="mine").fit(images, labels)
    # The same run, or it would be refused; its settings are Python's own.
    settings = {**SETTINGS, "threads": 1}
    ImageClassifier(seed=3, settings=settings, folder=np.str_("mine")).fit(images, labels)
    experts = {"space": {"experts": np.array(["skip_connect", "max_pool_3x3"]), "nodes": np.arange(1, 2)[0]}}
    assert ImageClassifier(settings=experts)._config().space.experts == ("skip_connect", "max_pool_3x3")
    assert repr(ImageClassifier(seed=np.arange(2))) == "ImageClassifier(seed=array([0, 1]))"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"seed": np.float64(3)}, "seed"),
        ({"seed": np.arange(2)}, "seed"),
        ({"seed": np.bool_(True)}, "seed is not a switch"),
        ({"settings": {"search": {"epochs": np.float32(2)}}}, "search.epochs"),
        ({"settings": {"search": {"learning_rate": np.ones(2)}}}, "search.learning_rate"),
        ({"folder": 3}, "folder of ImageClassifier must be a path or None; got 3"),
        ({"folder": ""}, "folder of ImageClassifier must be a path or None; got ''"),
        ({"verbose": "yes"}, "verbose of ImageClassifier must be True or False; got 'yes'"),
    ],
)
def test_parameters_of_another_type_are_refused_by_fit(
    images: np.ndarray, labels: np.ndarray, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ImageClassifier(**parameters).fit(images, labels)


def test_labels_of_another_kind_than_those_of_fit_are_no_misses_but_a_mistake(
    images: np.ndarray, labels: np.ndarray
) -> None:
    once = {**SETTINGS, "search": {**SETTINGS["search"], "epochs": 1}}
    numbers = np.unique(labels, return_inverse=True)[1]
    of_text = ImageClassifier(settings=once).fit(images, labels)
    of_numbers = ImageClassifier(settings=once).fit(images, numbers)
    for classifier, right, wrong in ((of_text, labels, numbers), (of_numbers, numbers, labels)):
        for same in (right, right.tolist(), right.astype(object)):
            assert classifier.score(images, same) == (classifier.predict(images) == right).mean()
        for other in (
            wrong,
            wrong.tolist(),
            wrong.astype(object),
            labels.astype("S"),
            [*right[1:].tolist(), None],
        ):
            with pytest.raises(ValueError, match=r"^labels (are|must be) ") as error:
                classifier.score(images, other)
            assert "\n" not in str(error.value)
    said = r"labels are numbers, such as False, but the classes of fit \('blue', 'green', 'red'\) are text"
    with pytest.raises(ValueError, match=said):
        of_text.score(images, labels == "red")
    with pytest.raises(ValueError, match="got float64; make them whole numbers"):
        of_numbers.score(images, numbers.astype(float))
    with pytest.warns(
        UserWarning, match="60 of 60 labels, such as 10, are not among the classes of fit .0, 1, 2."
    ):
        assert of_numbers.score(images, numbers + 10) == 0
    # An accent may be written as one character or as two, and the label is the same.
    of_text.classes_ = np.array(["bl\u00e9", "green", "red"])
    predicted = of_text.predict(images)
    assert of_text.score(images, [name.replace("\u00e9", "e\u0301") for name in predicted.tolist()]) == 1


def process_state() -> dict[str, Any]:
    return {
        "torch's generator": torch.get_rng_state().tolist(),
        "torch's seed": torch.initial_seed(),
        "numpy's generator": repr(np.random.get_state()),
        "python's generator": random.getstate(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "only warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fills": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        "type": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "precision": torch.get_float32_matmul_precision(),
        "warnings": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }


@pytest.fixture
def odd_state() -> Any:
    """A process whose user has set everything otherwise; afterwards it is as it was."""
    with ExitStack() as stack:
        stack.callback(torch.set_rng_state, torch.get_rng_state())
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.manual_seed(77)
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        stack.enter_context(torch.device("meta"))
        stack.enter_context(torch.autocast("cpu"))
        stack.enter_context(torch.inference_mode())
        yield


def test_a_fit_is_the_same_whatever_a_program_has_set_and_leaves_it_set_so(
    images: np.ndarray, labels: np.ndarray, request: pytest.FixtureRequest
) -> None:
    settings = {**SETTINGS, "threads": 1}
    plain = ImageClassifier(settings=settings).fit(images, labels)
    probabilities_ND = plain.predict_proba(images)
    request.getfixturevalue("odd_state")
    before = process_state()
    odd = ImageClassifier(settings=settings).fit(images, labels)
    assert process_state() == before
    assert (odd.predict_proba(images) == probabilities_ND).all()
    assert process_state() == before


def break_off(error: BaseException) -> Callable[..., Any]:
    def round_that_fails(*_: object) -> Any:
        raise error

    return round_that_fails


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (SearchTrainer, KeyboardInterrupt()),
        (SearchTrainer, RuntimeError("broken")),
        (RetrainTrainer, MemoryError()),
    ],
)
def test_a_fit_that_fails_leaves_the_process_as_it_was(
    images: np.ndarray,
    labels: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[SearchTrainer] | type[RetrainTrainer],
    error: BaseException,
    odd_state: None,
) -> None:
    monkeypatch.setattr(kind, "training_step", break_off(error))
    search = {"method": "random"} if kind is RetrainTrainer else {}  # which has no rounds
    settings = {**SETTINGS, "threads": 1, "search": {**SETTINGS["search"], **search}}
    before = process_state()
    with pytest.raises((type(error), OutOfMemory)):
        ImageClassifier(settings=settings).fit(images, labels)
    assert process_state() == before


def test_a_search_and_a_retraining_from_a_program_leave_the_process_as_it_was(
    tiny: Config, data: DataSet, odd_state: None
) -> None:
    torch.set_num_threads(1)  # that is left to a program
    before = process_state()
    genotype = xnas.search(tiny, data, folder="run")
    assert process_state() == before
    xnas.retrain(genotype, tiny, data, folder="run")
    assert process_state() == before


def test_what_a_fit_says_names_its_own_parameters(
    images: np.ndarray,
    labels: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(RetrainTrainer, "training_step", break_off(MemoryError()))
    with pytest.raises(OutOfMemory) as error:
        ImageClassifier(settings=SETTINGS, verbose=True).fit(images, labels)
    said = capsys.readouterr().out.splitlines()
    lines = [*said, str(error.value)]
    memory = 'settings={"activation_checkpointing": True}, '
    memory += 'a smaller settings["search"]["batch_size"] or fewer settings["space"]'
    assert any(memory in line for line in said)
    assert 'with settings={"activation_checkpointing": True}, or where there is more memory' in lines[-1]
    assert 'fewer settings["retrain"]["channels"]; last good' in lines[-1]
    assert not [line for line in lines if "--" in line]


def test_no_flag_of_the_sources_messages_is_left_in_what_a_fit_says() -> None:
    source = Path(xnas.__file__).parent
    messages = [
        line for part in ("train", "report", "data") for path in (source / part).glob("*.py")
        for line in path.read_text().splitlines() if re.search(r"--[a-z]", line) and not re.search(r"var\(--|--{", line)
    ]  # fmt: skip
    assert len(messages) > 20
    assert not [line for line in map(in_words_of_python, messages) if "--" in line]
    assert in_words_of_python("wait, or choose another --name") == "wait, or give another folder="
    assert (
        in_words_of_python("a larger --search.reward-bound") == 'a larger settings["search"]["reward_bound"]'
    )
    assert in_words_of_python("use --device cpu or cuda") == 'use settings={"device": "cpu"} or cuda'


def test_parameters_are_read_and_set_by_name() -> None:
    classifier = ImageClassifier("full", seed=3)
    assert classifier.get_params() == {
        "preset": "full", "seed": 3, "folder": None, "settings": None, "layout": "auto", "verbose": False,
    }  # fmt: skip
    assert classifier.set_params(seed=4, folder="x").get_params()["seed"] == 4
    assert repr(classifier) == "ImageClassifier(preset='full', seed=4, folder='x')"
    with pytest.raises(
        ValueError, match=r"unknown parameter of ImageClassifier 'seeds'; did you mean 'seed'?"
    ):
        classifier.set_params(seeds=3)


def test_scikit_learn_clones_it_and_searches_its_parameters_by_cross_validation(
    images: np.ndarray, labels: np.ndarray
) -> None:
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    classifier = ImageClassifier(seed=2, settings=SETTINGS)
    copy = clone(classifier)
    assert copy is not classifier
    assert copy.get_params() == classifier.get_params()
    assert is_classifier(classifier)
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    search = SETTINGS["search"]
    grid = {
        "seed": np.arange(2, 3),
        "settings": [{**SETTINGS, "search": {**search, "epochs": epochs}} for epochs in np.arange(2, 3)],
    }
    found = GridSearchCV(classifier, grid, cv=folds, refit=False, error_score="raise").fit(images, labels)
    scores = [found.cv_results_[f"split{fold}_test_score"][0] for fold in range(2)]
    assert min(scores) > 0.5
    assert not hasattr(classifier, "network_")
