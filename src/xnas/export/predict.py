"""Classes of image files, by a trained network wherever it is.

N: images; C H W: channels, height, width; D: classes; K: the classes that are told.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from xnas.config.limits import MOST_TRAINED
from xnas.data.files.decode import SUFFIXES, Broken, DecodeSpec, each, read_image
from xnas.data.files.decode_memory import DEFAULT, DecodeMemory
from xnas.data.files.listing import is_hidden
from xnas.export.load import load
from xnas.export.onnx import OnnxNetwork
from xnas.train.evaluate import test_batch_size

MOST_FEATURES = 2**26
"""Numbers that a layer may have of one image, in float32 268 MB, because a file says the size. Of a network of 36
channels with the stem of CIFAR, which has 144 a pixel, that is an image of 682 x 682 pixels."""


class Classifier(Protocol):
    """A network that predicts: a TrainedNetwork, or an OnnxNetwork."""

    @property
    def classes(self) -> tuple[str, ...]:
        """D names."""

    @property
    def image_channels(self) -> int:
        """C."""

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """C, H, W of the images that it was trained on."""

    @property
    def features_a_pixel(self) -> int:
        """Numbers that its first layer gives for every pixel of an image, rounded up."""

    @property
    def border(self) -> float:
        """Share of an image's file that was cut off on every side for the test."""

    def predict(self, images_NCHW: Tensor) -> Tensor:
        """Probabilities (N, D) of uint8 images."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction for an image file."""

    path: str
    classes: tuple[str, ...] = ()
    """The most probable first."""
    probabilities: tuple[float, ...] = ()
    broken: str | None = None
    """The reason why the file could not be read."""
    not_finite: bool = False
    """Whether the network's output for it is no number, or infinite."""


def open_classifier(model: Path, *, device: str, unchecked: bool = False) -> Classifier:
    """Return the network in a run folder, an exported folder or an ONNX file. Raises ValueError if there is none.

    With `unchecked` an export that was changed on purpose is taken.
    """
    if model.suffix == ".onnx":
        return OnnxNetwork.read(model, unchecked=unchecked)
    if model.suffix == ".pt2" and model.is_file():
        raise ValueError(
            f"{model} is a program for torch.export.load, which reads pickles, so it is not opened here; give the run "
            "folder, or export that as onnx"
        )
    return load(model, device=device, unchecked=unchecked)


def image_files(places: Sequence[Path]) -> list[str]:
    """Return the files that are named, and those with an image's ending in the folders and below, by name, none hidden.

    Raises ValueError for a place that is not there, and a folder without images.
    """
    found: list[str] = []
    for place in places:
        if place.is_dir():
            inside = sorted(
                str(path)
                for path in place.rglob("*")
                if path.suffix.lower() in SUFFIXES and path.is_file() and not _is_hidden(path, place)
            )
            if not inside:
                raise ValueError(f"{place} has no images; they end in {', '.join(sorted(SUFFIXES))}")
            found += inside
        elif place.is_file():
            found.append(str(place))
        else:
            raise ValueError(f"{place} does not exist; give images or folders of images")
    return found


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(map(is_hidden, path.relative_to(folder).parts))


def form_of(
    classifier: Classifier,
    image_size: tuple[int, int] | None,
    *,
    remedy: str = "give the size that you want with --image-size H W",
) -> DecodeSpec:
    """Return the form to which every image is brought: the channels, the cut and, unless `image_size` (H, W) is
    given, the size of the test.

    Raises ValueError, with the `remedy`, where the network does not say, or says more pixels than networks are trained
    on; and where no image file has such channels.
    """
    shape = classifier.image_shape
    if (
        shape is not None
        and image_size is None
        and (
            shape[1] * shape[2] > MOST_TRAINED**2
            or shape[1] * shape[2] * classifier.features_a_pixel > MOST_FEATURES
        )
    ):
        raise ValueError(
            f"the network says that it was trained on images of {shape[1]:,} x {shape[2]:,} pixels, which take much "
            f"memory and time; {remedy}"
        )
    if shape is None and image_size is None:
        raise ValueError(f"the network does not say the size of its images; {remedy}")
    channels = classifier.image_channels
    if channels not in (1, 3):
        raise ValueError(f"the network takes images of {channels} channels; files have 1 or 3")
    height, width = image_size or (shape[1:] if shape else (0, 0))
    return DecodeSpec(
        height=height,
        width=width,
        scaled=True,
        colour=channels == 3,
        border=classifier.border,
        channels=channels,
    )


def read_images(
    paths: Sequence[str], form: DecodeSpec, *, decode_memory: float = DEFAULT
) -> Iterator[tuple[str, Tensor | Broken]]:
    """Every file's pixels, uint8 CHW, or why it is broken, in their order.

    `decode_memory`: GiB that decoding takes at most.
    """
    read = partial(read_image, form=form, memory=DecodeMemory(decode_memory))
    images = each(read, paths, num_bytes=math.prod(form.shape))
    for path, image in zip(paths, images, strict=True):
        yield path, image if isinstance(image, Broken) else torch.tensor(image)


def some_images(places: Sequence[Path], form: DecodeSpec, *, most: int) -> Tensor:
    """Return the first images of these files and folders: uint8 NCHW. Raises ValueError for one that is broken."""
    images = []
    for path, image in read_images(image_files(places)[:most], form):
        if isinstance(image, Broken):
            raise ValueError(f"{path} cannot be read as an image: {image.reason}; take it out")
        images.append(image)
    return torch.stack(images)


def predict_files(
    classifier: Classifier,
    paths: Sequence[str],
    form: DecodeSpec,
    *,
    top: int,
    decode_memory: float = DEFAULT,
) -> Iterator[Prediction]:
    """Yield the prediction for every file, in their order: the `top` most probable classes.

    `decode_memory` as in `read_images`.
    """
    waiting: list[tuple[str, Tensor | Broken]] = []
    at_once = test_batch_size(form.height, form.width)
    for item in read_images(paths, form, decode_memory=decode_memory):
        waiting.append(item)
        if len(waiting) == at_once:
            yield from _predictions(classifier, waiting, top)
            waiting = []
    yield from _predictions(classifier, waiting, top)


def _predictions(
    classifier: Classifier, items: Sequence[tuple[str, Tensor | Broken]], top: int
) -> Iterator[Prediction]:
    intact = [image for _, image in items if isinstance(image, Tensor)]
    rows = iter(classifier.predict(torch.stack(intact))) if intact else iter(())
    for path, image in items:
        if isinstance(image, Broken):
            yield Prediction(path=path, broken=image.reason)
            continue
        row = next(rows)
        if not row.isfinite().all():
            yield Prediction(path=path, not_finite=True)
            continue
        values_K, places_K = row.topk(min(top, len(classifier.classes)))
        yield Prediction(
            path=path,
            classes=tuple(classifier.classes[place] for place in places_K.tolist()),
            probabilities=tuple(values_K.tolist()),
        )
