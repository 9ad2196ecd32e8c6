"""xnas predict: the classes of images, by a trained network."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.args import parse
from xnas.config.limits import MOST_PIXELS, check_decode_memory
from xnas.io.text import printable

if TYPE_CHECKING:
    from xnas.export.predict import Prediction

FORMAT, VERSION = "xnas-predictions", 1
SOME_BROKEN, NOT_FINITE = 1, 2
"""The exit codes where images were left out because they could not be read, and where the network's output for some is
no number."""
_NOT_FINITE = "the network's output for it is not finite; train it again, or export it again"


@dataclass(frozen=True, kw_only=True)
class PredictArguments:
    """The network, and the images."""

    model: Annotated[Path, tyro.conf.Positional]
    """A run folder, a folder of xnas export, or an .onnx file of it."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Images, and folders in which and below which all images are taken."""
    top: int = 3
    """Classes to print for every image, the most probable first."""
    image_size: tuple[int, int] | None = None
    """Height and width to which images are scaled and cropped; by default those of the training."""
    decode_memory: Annotated[float, tyro.conf.arg(aliases=("--data.decode-memory",))] = 2.0
    """GiB of memory that decoding takes at most; an image that would take more than half of it is not read."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, mps, or auto: the fastest that is there. ONNX files are run on the CPU."""
    json: bool = False
    """Print JSON, and nothing else."""
    unchecked: bool = False
    """Take an exported file or folder that was changed on purpose, such as by a quantisation: that it is as xnas export
    wrote it is not asked."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top must be at least 1; got {self.top}")
        check_decode_memory("decode_memory", self.decode_memory)
        if (
            self.image_size is not None
            and not 1 <= min(self.image_size) <= max(self.image_size) <= MOST_PIXELS
        ):
            raise ValueError(
                f"image_size must be a height and a width from 1 to {MOST_PIXELS}; got {self.image_size}"
            )


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0, 1 if some images could not be read, 2 if some output is not finite."""
    description = (
        "Tell the most probable classes of images, which are brought to the size and the channels of those that the "
        "network was trained on. An image that cannot be read is named, the others are told, and the exit code is 1. "
        "It is 2 where what the network says of one is no number."
    )
    arguments = parse(PredictArguments, argv, command="predict", description=description)
    if not arguments.images:
        raise ValueError("predict: give images or folders of images behind the model")
    from xnas.export.predict import form_of, image_files, open_classifier, predict_files

    paths = image_files(arguments.images)
    classifier = open_classifier(arguments.model, device=arguments.device, unchecked=arguments.unchecked)
    form = form_of(classifier, arguments.image_size)
    predictions = predict_files(
        classifier, paths, form, top=arguments.top, decode_memory=arguments.decode_memory
    )
    return (_print_json if arguments.json else _print_table)(predictions, paths)


def _print_table(predictions: "Iterable[Prediction]", paths: Sequence[str]) -> int:
    width = min(60, max(len(printable(path)) for path in paths))
    code = 0
    for prediction in predictions:
        name = printable(prediction.path)
        if prediction.not_finite:
            code = NOT_FINITE
            print(f"xnas: {name}: {_NOT_FINITE}", file=sys.stderr)
            continue
        if prediction.broken is not None:
            code = max(code, SOME_BROKEN)
            print(f"xnas: {name} cannot be read as an image: {printable(prediction.broken)}", file=sys.stderr)
            continue
        pairs = zip(prediction.classes, prediction.probabilities, strict=True)
        said = "   ".join(f"{printable(label)} {probability:6.1%}" for label, probability in pairs)
        print(f"{name:<{width}}  {said}")
    return code


def _print_json(predictions: "Iterable[Prediction]", paths: Sequence[str]) -> int:
    del paths
    rows: list[dict[str, object]] = []
    code = 0
    for prediction in predictions:
        if prediction.not_finite:
            code = NOT_FINITE
            print(f"xnas: {printable(prediction.path)}: {_NOT_FINITE}", file=sys.stderr)
            rows.append({"image": _unicode(prediction.path), "error": _NOT_FINITE})
            continue
        if prediction.broken is not None:
            code = max(code, SOME_BROKEN)
            rows.append({"image": _unicode(prediction.path), "error": _unicode(prediction.broken)})
            continue
        pairs = zip(prediction.classes, prediction.probabilities, strict=True)
        found = [{"class": label, "probability": probability} for label, probability in pairs]
        rows.append({"image": _unicode(prediction.path), "predictions": found})
    print(json.dumps({"format": FORMAT, "version": VERSION, "images": rows}, indent=2, allow_nan=False))
    return code


def _unicode(text: str) -> str:
    """Return text with the bytes of a file name that are no UTF-8 as \\xff: readers of JSON refuse lone surrogates."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
