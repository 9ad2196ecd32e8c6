"""ONNX files: written with what is needed to use them, and read back to classify images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xnas.data.images import Normalisation
from xnas.export.load import MOST_CLASSES
from xnas.export.metadata import BESIDE, FORMAT, INSIDE, VERSION, About, check_normalisation
from xnas.export.module import export_program
from xnas.export.sums import BLANK, IN_ONNX, is_sealed, sealed
from xnas.io.json import JsonObject, parse_json
from xnas.io.safe_read import read_regular
from xnas.io.text import printable, short_repr
from xnas.train.evaluate import probabilities, test_batch_size
from xnas.train.trained_network import check_border, check_image_shape

INPUT, OUTPUT = "images", "logits"


AXES = {0: "batch", 2: "height", 3: "width"}


LEAST_OPSET = 18
"""Below it torch has no operators of its own, and converts what it can."""


LEAST_IR = 8
"""Version of the file format of the first release with that opset."""


@dataclass(frozen=True, kw_only=True)
class OnnxVersions:
    """Versions of ONNX that a file is written in; None: those that torch chooses. Raises ValueError for others."""

    opset: int | None = None
    """Version of the operators."""
    ir: int | None = None
    """Version of the file format."""

    def __post_init__(self) -> None:
        check_packages()
        import onnx

        for name, given, least, most in (
            ("opset", self.opset, LEAST_OPSET, onnx.defs.onnx_opset_version()),
            ("IR version", self.ir, LEAST_IR, onnx.IR_VERSION),
        ):
            if given is not None and not least <= given <= most:
                raise ValueError(f"the {name} of ONNX must be {least} to {most}; got {given}")


def onnx_bytes(
    module: nn.Module, about: About, *, normalise: bool, versions: OnnxVersions | None = None
) -> bytes:
    """The file. Raises ValueError if the packages for it are missing, or they cannot write such versions."""
    check_packages()
    versions = versions or OnnxVersions()
    program = export_program(module, about, normalise=normalise, any_size=True)
    exported = torch.onnx.export(
        program,
        (),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=(AXES,),
        external_data=False,
        verbose=False,
        opset_version=versions.opset,
    )
    assert exported is not None
    proto = exported.model_proto
    found = {entry.domain: entry.version for entry in proto.opset_import}
    if versions.opset is not None and found.get("") != versions.opset:
        raise ValueError(
            f"torch writes opset {found.get('')} instead of {versions.opset}; choose another opset"
        )
    if versions.ir is not None:
        proto.ir_version = versions.ir
    # The exporter notes on every node which line of which file it came from, with the names of one's own folders.
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del part.metadata_props[:]
        part.doc_string = ""
    for key, value in metadata_of(about, normalise=normalise).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return sealed(proto.SerializeToString(deterministic=True), IN_ONNX)


def metadata_of(about: About, *, normalise: bool) -> dict[str, str]:
    """Return the file's metadata; lists are JSON."""
    words = {
        "format": FORMAT,
        "version": str(VERSION),
        "xnas": metadata.version("xnas"),
        "classes": json.dumps(about.classes),
        "normalisation": INSIDE if normalise else BESIDE,
        "mean": json.dumps(about.mean),
        "std": json.dumps(about.std),
        "image_shape": json.dumps(about.image_shape),
        "border": json.dumps(about.border),
        "data": printable(about.data),
        "genotype": about.genotype.to_json(),
    }
    if about.result:
        words["test_accuracy"] = f"{about.result.test_accuracy:.6f}"
    return words | {"sha256": BLANK}


def check_packages() -> None:
    """Raise ValueError, with the command that installs them, if the packages for ONNX are missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"ONNX needs the packages onnx, onnxscript and onnxruntime ({error}): pip install 'xnas[onnx]'"
        ) from error


MOST_BYTES = 2**31
"""The largest file that the format allows."""

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
"""Types that images and logits may have beside pixels of uint8; conversions to 16 bits change them."""

FATAL = 4
"""Level of onnxruntime's log: nothing less is written."""


@dataclass(frozen=True, kw_only=True)
class OnnxNetwork:
    """A network in an ONNX file, and what it must be fed with."""

    session: Any
    """onnxruntime's."""
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    border: float
    """Share of an image's file that was cut off on every side for the test."""
    normalisation: Normalisation | None
    """Normalisation to apply before it; None if it takes pixels."""

    @classmethod
    def read(cls, path: Path, *, unchecked: bool = False) -> "OnnxNetwork":
        """Return the file that `xnas export` has written. Raises ValueError for another, or one that has changed since.

        With `unchecked` one that was changed on purpose, such as by a quantisation, is taken.
        """
        content = read_regular(path, what="ONNX file", most=MOST_BYTES)
        return cls.of(content, where=str(path), unchecked=unchecked)

    @classmethod
    def of(cls, content: bytes, *, where: str, unchecked: bool = False) -> "OnnxNetwork":
        """Return the network in such a file's bytes. Raises ValueError as `read` does."""
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(
                f"ONNX files need the package onnxruntime ({error}): pip install onnxruntime"
            ) from error
        if not unchecked and not is_sealed(content, IN_ONNX):
            raise ValueError(
                f"{where} is not as xnas export writes files, or has changed since: its SHA-256 is missing or wrong; "
                "export the run again, or copy the file again; what was changed on purpose, such as by a quantisation, "
                "is taken by xnas predict --unchecked"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            words = dict(session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # onnxruntime's own kinds share no other base
            _raise_want_of_memory(error)
            raise ValueError(
                f"{where} cannot be read as ONNX: {_said(error)}; export the run again"
            ) from None
        if words.get("format") != FORMAT:
            raise ValueError(
                f"{where} does not say its classes: xnas export did not write it; give one that it wrote"
            )
        try:
            return cls._from_words(session, words, where=where)
        except ValueError as error:
            said = str(error)
            raise ValueError(said if said.startswith(where) else f"{where}: {said}") from None

    @classmethod
    def _from_words(cls, session: Any, words: dict[str, str], *, where: str) -> "OnnxNetwork":
        lists = {
            name: words.get(name, "null") for name in ("classes", "mean", "std", "image_shape", "border")
        }
        fields = JsonObject(
            {name: parse_json(text, where=f"{where}: {name}") for name, text in lists.items()}, where=where
        )
        classes, shape = fields.exact_names("classes"), fields.integers("image_shape")
        mean, std = fields.numbers("mean"), fields.numbers("std")
        inside, border = words.get("normalisation"), fields.number("border")
        check_border(border)
        check_image_shape(shape)
        if len(mean) != shape[0] or len(std) != shape[0] or inside not in (INSIDE, BESIDE):
            raise ValueError(
                f"image_shape {short_repr(shape)}, means {short_repr(mean)}, standard deviations {short_repr(std)} and "
                "normalisation "
                f"{short_repr(inside)} do not fit together; export the run again"
            )
        check_normalisation(mean, std)
        if not 2 <= len(set(classes)) == len(classes) <= MOST_CLASSES:
            raise ValueError(
                f"there must be 2 to {MOST_CLASSES:,} different classes; got {short_repr(list(classes))}"
            )
        _check_input(session.get_inputs(), channels=shape[0], pixels=inside == INSIDE)
        _check_output(session.get_outputs(), num_classes=len(classes))
        return cls(
            session=session,
            classes=classes,
            image_shape=(shape[0], shape[1], shape[2]),
            border=border,
            normalisation=None
            if inside == INSIDE
            else Normalisation(mean_C=torch.tensor(mean), std_C=torch.tensor(std)),
        )

    @property
    def image_channels(self) -> int:
        """C."""
        return self.image_shape[0]

    @property
    def features_a_pixel(self) -> int:
        """Numbers a pixel of the image itself: those of the graph are unknown."""
        return self.image_channels

    def logits(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, D), float32, of uint8 images. Raises ValueError where onnxruntime cannot."""
        images = images_NCHW if self.normalisation is None else self.normalisation(images_NCHW)
        (taken,) = self.session.get_inputs()
        for given, fixed in zip(images.shape, taken.shape, strict=True):
            if isinstance(fixed, int) and fixed != given:
                raise ValueError(
                    f"the network takes images of the shape {short_repr(taken.shape)} alone; got {tuple(images.shape)}"
                )
        values = np.ascontiguousarray(images.numpy())
        options = _run_options()
        try:
            found = self.session.run(
                None, {INPUT: values.astype(FLOATS.get(taken.type, np.uint8), copy=False)}, options
            )
        except Exception as error:
            _raise_want_of_memory(error)
            raise ValueError(
                f"the network does not take images of shape {tuple(images.shape)}: {_said(error)}"
            ) from None
        logits_ND = np.asarray(found[0])
        if logits_ND.shape != (len(images), len(self.classes)) or logits_ND.dtype.kind != "f":
            raise ValueError(
                f"the network gives {logits_ND.dtype} of shape {logits_ND.shape} for {len(images)} images of "
                f"{len(self.classes):,} classes; export the run again"
            )
        return torch.from_numpy(logits_ND).float()

    def predict(self, images_NCHW: Tensor) -> Tensor:
        """Return the probability of every class for every uint8 image: float32 (N, D).

        Rows sum to 1, or are of NaN where a logit is not finite.

        Raises ValueError as `logits` does.
        """
        (taken,) = self.session.get_inputs()
        fixed, batch_size = taken.shape[0], test_batch_size(*images_NCHW.shape[2:])
        if not isinstance(fixed, int):
            return torch.cat(
                [probabilities(self.logits(part)) for part in torch.split(images_NCHW, batch_size)]
            )
        if fixed > batch_size:
            raise ValueError(
                f"the network takes {fixed:,} images at once, more than the {batch_size:,} of this size that are asked "
                "together; export the run again"
            )
        # A file whose batch somebody has fixed: what lacks in the last is filled up.
        lacking = -len(images_NCHW) % fixed
        filled = torch.cat([images_NCHW, images_NCHW[-1:].expand(lacking, -1, -1, -1)])
        parts = [probabilities(self.logits(part)) for part in torch.split(filled, fixed)]
        return torch.cat(parts)[: len(images_NCHW)]


def _check_input(inputs: Sequence[Any], *, channels: int, pixels: bool) -> None:
    """Raise ValueError unless there is one, of images."""
    types = ("tensor(uint8)",) if pixels else tuple(FLOATS)
    fits = len(inputs) == 1 and inputs[0].name == INPUT and inputs[0].type in types
    shape = list(inputs[0].shape) if fits else []
    if len(shape) != 4 or shape[1] != channels or any(isinstance(side, int) and side < 1 for side in shape):
        raise ValueError(
            f"its inputs {_signature(inputs)} are not images of {channels} channels, {' or '.join(types)}, called "
            f"{INPUT}; export the run again"
        )


def _check_output(outputs: Sequence[Any], *, num_classes: int) -> None:
    """Raise ValueError unless there is one, of a number for each class."""
    fits = len(outputs) == 1 and outputs[0].type in FLOATS
    if not fits or list(outputs[0].shape[1:]) != [num_classes]:
        raise ValueError(
            f"its outputs {_signature(outputs)} are not one for each of its {num_classes:,} classes, "
            f"{' or '.join(FLOATS)}; export the run again"
        )


def _signature(values: Sequence[Any]) -> str:
    return printable(short_repr([f"{value.name}: {value.type} {value.shape}" for value in values]))


def _run_options() -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = FATAL
    return options


def _said(error: Exception) -> str:
    return printable(" ".join(str(error).split())[:300])


def _raise_want_of_memory(error: Exception) -> None:
    if (
        isinstance(error, MemoryError)
        or "bad_alloc" in str(error)
        or "Failed to allocate memory" in str(error)
    ):
        raise MemoryError(_said(error)) from None
