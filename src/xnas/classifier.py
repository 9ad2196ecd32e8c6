"""A classifier for people who think in `fit` and `predict`: it searches, trains what it found, and keeps the run.

It follows scikit-learn's protocol without importing it, so that its `clone`, `cross_val_score` and pipelines take it.

N: images; D: classes.
"""

import inspect
import json
import re
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xnas.config.diff import differences
from xnas.config.loading import read_preset, settings_from
from xnas.config.schema import AUGMENTATION, CONFIG, IN_MEMORY, RETRAIN_SECTIONS, SEARCH_SECTIONS, Config
from xnas.data.arrays import LAYOUTS, as_image_tensor, as_labels, label_array
from xnas.data.images import DataSet, ImageSet
from xnas.io.errors import Interrupted, OutOfMemory
from xnas.io.paths import expanded
from xnas.io.plain_value import plain_tree, plain_value
from xnas.io.text import choose, one_form, short_repr
from xnas.report.page import write_report
from xnas.report.terminal import log_to_terminal
from xnas.runs.callbacks import LogCallback
from xnas.runs.environment import environment
from xnas.runs.finished_files import RunFiles
from xnas.runs.folder import GENOTYPE, RunFolder
from xnas.runs.location import RunLocation
from xnas.runs.lock import locked
from xnas.runs.signals import stop_on_signals
from xnas.train.build import resolve_stems
from xnas.train.device import keeping_process_state, pick_device, use_threads
from xnas.train.retrain import fit_network, validate_retrain
from xnas.train.search import SearchTrainer, fit_search, validate_search
from xnas.train.trained_network import TrainedNetwork

IMAGES = "images.json"
"""The file of a run folder that tells which images its run was started with."""


class ImageClassifier:
    """Finds a network for labelled images, trains it on all of them, and tells the classes of others.

    preset: settings to start from, as `--preset` has them. seed: of everything random; the same images, settings and
    seed give the same network, bit for bit, on the same machine. folder: of the run; by default a new one,
    runs/image-classifier-N. settings: what differs from the preset, by section as in a run's config.toml, such as
    {"search": {"epochs": 4}, "retrain": {"channels": 8}, "device": "cpu"}. layout: "NHWC" or "NCHW", where the axis of
    the channels cannot be told by its being 1 or 3. verbose: whether lines of callback are printed, one for each epoch;
    they go through logging, by the logger "xnas", in any case.

    Images are arrays of numpy or torch of shape (N, H, W), (N, H, W, C) or (N, C, H, W), all of one size of at least
    8 x 8: uint8, or floating-point in [0, 1], which is rounded to 256 levels. Labels are N whole numbers or strings.

    After `fit`: `classes_` (D,), the labels in order; `genotype_`, the architecture found; `run_folder_`, a path with
    the report (report.html), the settings and the weights; `network_`, a TrainedNetwork.

    What belongs to the whole process stays as it was, also after an error: random generators, torch's threads,
    determinism, gradients, default type and device.
    """

    _estimator_type = "classifier"

    def __init__(
        self,
        preset: str = "quick",
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        layout: str = "auto",
        verbose: bool = False,
    ) -> None:
        # Only kept, as scikit-learn wants it; what is wrong with them is said by `fit`.
        self.preset = preset
        self.seed = seed
        self.folder = folder
        self.settings = settings
        self.layout = layout
        self.verbose = verbose

    def fit(self, images: Any, labels: Any) -> Self:
        """Search, then train the network that was found; returns the classifier.

        The search rewards its experts by half of the images (search.validation_share) and trains weights on the other;
        the network is then trained on all of them. Nothing is held out for a test, so none of the accuracies that the
        run folder tells is one of images it has not seen: keep some, for `score`.

        With a `folder` in which a fit of the same images and settings was interrupted, it resumes from its newest
        checkpoint, and one that has ended is not done again. Ctrl-C ends it between two steps, with a checkpoint.
        Raises ValueError, in one line, for images, labels or settings that do not fit, and for a folder of others, one
        that another fold was fitted in among them; NonFinite where the training breaks down; OutOfMemory; CannotWrite;
        KeyboardInterrupt and, for SIGTERM, SystemExit, once the checkpoint is written.
        """
        with keeping_process_state(), _in_words_of_python():
            return self._fit(images, labels)

    def _fit(self, images: Any, labels: Any) -> Self:
        location = self._location()
        if not isinstance(self.verbose, int):
            raise ValueError(
                f"verbose of ImageClassifier must be True or False; got {short_repr(self.verbose)}"
            )
        images_NCHW = as_image_tensor(images, layout=choose("layout", self.layout, LAYOUTS))
        classes_D, labels_N, names = as_labels(labels, count=len(images_NCHW))
        given = ImageSet(images_NCHW=images_NCHW, labels_N=labels_N, classes=names)
        data = DataSet(name="images", train=given, test=given)  # nothing is tested
        config = resolve_stems(self._config(), data.image_shape)
        validate_retrain(config, data)
        validate_search(config, data)
        device = pick_device(config.device)
        use_threads(config.threads)
        location.existing()  # complains of what is no run's
        path = self.run_folder_ = location.create()
        self.__dict__.pop("network_", None)  # of an earlier fit
        with locked(path):
            folder = RunFolder(path)
            _begin(folder, config, data, device=device)
            trained = self._find(folder, config, data, device=device)
            write_report(path)
        self.classes_, self.genotype_, self.network_ = classes_D, trained.genotype, trained
        self._image_shape = data.image_shape
        return self

    def _find(
        self, folder: RunFolder, config: Config, data: DataSet, *, device: torch.device
    ) -> TrainedNetwork:
        """Search and train, from where the folder is."""
        callback = LogCallback()
        try:
            with (
                log_to_terminal(in_words_of_python) if self.verbose else nullcontext(),
                stop_on_signals() as stop_request,
            ):
                if folder.has(GENOTYPE):
                    genotype = folder.genotype()
                else:
                    trainer = SearchTrainer(config, data, device=device)
                    genotype = fit_search(
                        trainer, folder=folder, callback=callback, stop_request=stop_request
                    )
                    del trainer  # training needs the memory
                return fit_network(
                    genotype,
                    config,
                    data,
                    device=device,
                    folder=folder,
                    callback=callback,
                    stop_request=stop_request,
                )
        except Interrupted as stop:
            if stop.exit_code != 128 + signal.SIGINT:
                raise SystemExit(stop.exit_code) from None
            raise KeyboardInterrupt(
                f"to resume, fit the same images with folder={str(folder.path)!r}"
            ) from None

    def predict_proba(self, images: Any) -> NDArray[np.float32]:
        """Return the probability of every class, in the order of `classes_`, for every image: (N, D), rows that sum
        to 1.

        Raises ValueError for images of another size or number of channels than those of `fit`, or before it.
        """
        network = self._network()
        with keeping_process_state():
            probabilities_ND: NDArray[np.float32] = network.predict(self._like_fitted(images)).numpy()
        return probabilities_ND

    def predict(self, images: Any) -> NDArray[Any]:
        """Return the most probable class of every image, as its label was given to `fit`: (N,).

        Raises ValueError as `predict_proba` does.
        """
        probabilities_ND = self.predict_proba(images)
        chosen_N: NDArray[Any] = self.classes_[probabilities_ND.argmax(1)]
        return chosen_N

    def score(self, images: Any, labels: Any) -> float:
        """Return the share of images whose label is predicted, in [0, 1].

        A label that is no class of `fit` counts as a miss, with a warning. Raises ValueError as `predict_proba` does,
        for labels that are not one an image, and for labels of another kind than those of `fit`, which would all
        count as misses: numbers where those were text, or the other way round.
        """
        given_N = self._as_fitted(label_array(labels))
        if given_N.ndim == 1:
            self._check_kind(given_N)  # before minutes of prediction
        predicted_N = self.predict(images)
        if given_N.shape != predicted_N.shape:
            raise ValueError(
                f"there must be one label for each of the {len(predicted_N):,} images; got the shape {given_N.shape}"
            )
        return float((predicted_N == given_N).mean())

    def _as_fitted(self, labels_N: NDArray[Any]) -> NDArray[Any]:
        """Return labels of text with the accents of the classes of `fit` written as these are."""
        if not labels_N.dtype.kind == self.classes_.dtype.kind == "U":
            return labels_N
        by_form = {one_form(name): name for name in self.classes_.tolist()}
        names, ids = np.unique(labels_N, return_inverse=True)
        known = np.array([by_form.get(one_form(name), name) for name in names.tolist()], dtype=str)
        return known[ids].reshape(labels_N.shape)

    def _check_kind(self, labels_N: NDArray[Any]) -> None:
        """Raise ValueError for text where numbers were fitted, or the other way round; warns of unknown labels."""
        kinds = ["text" if labels.dtype.kind == "U" else "numbers" for labels in (self.classes_, labels_N)]
        first = ", ".join(map(short_repr, self.classes_[:3].tolist()))
        classes = f"the classes of fit ({first}{', ...' if len(self.classes_) > 3 else ''})"
        if kinds[0] != kinds[1]:
            example = short_repr(labels_N[0].item()) if len(labels_N) else labels_N.dtype
            raise ValueError(
                f"labels are {kinds[1]}, such as {example}, but {classes} are {kinds[0]}; give the same"
            )
        unknown_N = ~np.isin(labels_N, self.classes_)
        if unknown_N.any():
            warnings.warn(
                f"{unknown_N.sum():,} of {len(labels_N):,} labels, such as "
                f"{short_repr(labels_N[unknown_N][0].item())}, are "
                f"not among {classes}; they count as misses",
                stacklevel=3,
            )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments, by name."""
        del deep  # none of them has parameters of its own
        return {name: getattr(self, name) for name in _parameters()}

    def set_params(self, **params: Any) -> Self:
        """Change what it was built with. Raises ValueError for an unknown name."""
        for name, value in params.items():
            setattr(self, choose("parameter of ImageClassifier", name, _parameters()), value)
        return self

    def __repr__(self) -> str:
        standard = inspect.signature(ImageClassifier.__init__).parameters
        given = {
            name: value
            for name, value in self.get_params().items()
            if repr(value) != repr(standard[name].default)  # arrays have no one answer to ==
        }
        return f"ImageClassifier({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        # Asked for by scikit-learn alone, which is there then.
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, three_d_array=True),
        )

    def _config(self) -> Config:
        """Raise ValueError for a preset or settings that are none."""
        where = "settings of ImageClassifier"
        if not isinstance(self.settings, Mapping | None):
            raise ValueError(
                f"{where} must be a mapping of sections to settings; got {short_repr(self.settings)}"
            )
        given = plain_tree(self.settings or {})
        if "seed" in given:
            raise ValueError(f"{where}: the seed has no place in them; give seed=")
        if isinstance(of_data := given.get("data"), Mapping):
            for name in of_data:
                choose("setting of [data] for images that are given", name, AUGMENTATION)
        config = settings_from(given, where=where, base=read_preset(self.preset))
        config = settings_from({"seed": plain_value(self.seed)}, where="ImageClassifier", base=config)
        return replace(config, data=replace(config.data, source=IN_MEMORY, root=None, download=False))

    def _location(self) -> RunLocation:
        if self.folder is None:
            return RunLocation(runs=Path("runs"), name=None, stem="image-classifier")
        if not isinstance(self.folder, str | Path) or not str(self.folder) or "\0" in str(self.folder):
            raise ValueError(
                f"folder of ImageClassifier must be a path or None; got {short_repr(self.folder)}"
            )
        return RunLocation.of(expanded(self.folder))

    def _network(self) -> TrainedNetwork:
        if not hasattr(self, "network_"):
            raise ValueError("this ImageClassifier has not been fitted yet; call fit(images, labels) first")
        return self.network_

    def _like_fitted(self, images: Any) -> Tensor:
        images_NCHW = as_image_tensor(images, layout=self.layout)
        shape = tuple(images_NCHW.shape[1:])
        if shape != self._image_shape:
            raise ValueError(
                f"the classifier was fitted to images of shape (C, H, W) = {self._image_shape}, but these have "
                f"{shape}; bring them to the same"
            )
        return images_NCHW


_FLAG = re.compile(r"--([a-z][a-z-]*)(?:\.([a-z][a-z-]*))?")
_IN_PYTHON = (
    (
        r"give it the same, choose another --name, or start over with --overwrite",
        "give the same, or another folder=",
    ),
    (r"start over with --overwrite|choose another (?:place with --runs|--name)", "give another folder="),
    (r" \(--data\.image-size\)", ""),  # they come as they are
    (r"--activation-checkpointing", 'settings={"activation_checkpointing": True}'),
    (r"--(preset) (\w+)", r'\1="\2"'),
    (r"--(device) (cpu|cuda|mps)", r'settings={"\1": "\2"}'),
)


def in_words_of_python(line: str) -> str:
    """Return a line of the engine that names flags of the command line, naming what ImageClassifier has instead of
    them."""
    for flags, words in _IN_PYTHON:
        line = re.sub(flags, words, line)
    return _FLAG.sub(_setting, line)


def _setting(flag: re.Match[str]) -> str:
    keys = [key.replace("-", "_") for key in flag.groups() if key]
    return "settings" + "".join(f'["{key}"]' for key in keys)


@contextmanager
def _in_words_of_python() -> Iterator[None]:
    try:
        yield
    except (ValueError, OutOfMemory) as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (in_words_of_python(error.args[0]),)
        raise


def _begin(folder: RunFolder, config: Config, data: DataSet, *, device: torch.device) -> None:
    """Raise ValueError if the folder is that of a fit of other images or settings."""
    path = folder.path
    if not folder.has(CONFIG):
        folder.describe(config, environment(device))
    elif changed := differences(folder.config(), config, sections=(*SEARCH_SECTIONS, *RETRAIN_SECTIONS)):
        raise ValueError(
            f"{path} was started with different settings: {'; '.join(changed)}; give the same, or another folder="
        )
    fingerprint = data.fingerprint()
    known = RunFiles(path).json_object(IMAGES)
    if known is None:
        folder.write_text(IMAGES, json.dumps({"sha256": fingerprint}) + "\n")
    elif known.text("sha256") != fingerprint:
        raise ValueError(f"{path} was started with other images or labels; give the same, or another folder=")


def _parameters() -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(ImageClassifier.__init__).parameters if name != "self")
