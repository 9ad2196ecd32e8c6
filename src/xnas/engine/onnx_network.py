"""An exported ONNX file, run by onnxruntime on the CPU.

A stranger may have made it. So its sum, its words, its input and its output are looked at before anything is computed,
what comes out is looked at again, and onnxruntime writes nothing to the terminal: its log quotes names of the file.
N: images; C H W: channels, height, width; D: classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xnas.data.images import Normalisation
from xnas.engine.load import MOST_CLASSES
from xnas.io.json import Fields, parse_json
from xnas.io.safe_read import read_regular
from xnas.io.text import shown, visible
from xnas.report.export.about import (
    BESIDE,
    FORMAT,
    INSIDE,
    check_border,
    check_image_shape,
    check_normalisation,
)
from xnas.report.export.onnx_file import INPUT
from xnas.report.export.sums import IN_ONNX, is_sealed
from xnas.train.evaluate import images_at_once, shares

MOST_BYTES = 2**31
"""The largest file that the format allows."""

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
"""Types that images and logits may have beside pixels of uint8; conversions to 16 bits change them."""

FATAL = 4
"""Of onnxruntime's log: nothing less is written."""


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
    """What is to be done before it; None if it takes pixels."""

    @classmethod
    def read(cls, path: Path, *, unchecked: bool = False) -> "OnnxNetwork":
        """The file that `xnas export` has written. Raises ValueError for another, or one that has changed since.

        With `unchecked` one that was changed on purpose, such as by a quantisation, is taken.
        """
        content = read_regular(path, what="ONNX file", most=MOST_BYTES)
        return cls.of(content, where=str(path), unchecked=unchecked)

    @classmethod
    def of(cls, content: bytes, *, where: str, unchecked: bool = False) -> "OnnxNetwork":
        """The network in such a file's bytes. Raises ValueError as `read` does."""
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
        fields = Fields(
            {name: parse_json(text, where=f"{where}: {name}") for name, text in lists.items()}, where=where
        )
        classes, shape = fields.exact_names("classes"), fields.integers("image_shape")
        mean, std = fields.numbers("mean"), fields.numbers("std")
        inside, border = words.get("normalisation"), fields.number("border")
        check_border(border)
        check_image_shape(shape)
        if len(mean) != shape[0] or len(std) != shape[0] or inside not in (INSIDE, BESIDE):
            raise ValueError(
                f"image_shape {shown(shape)}, means {shown(mean)}, standard deviations {shown(std)} and normalisation "
                f"{shown(inside)} do not fit together; export the run again"
            )
        check_normalisation(mean, std)
        if not 2 <= len(set(classes)) == len(classes) <= MOST_CLASSES:
            raise ValueError(
                f"there must be 2 to {MOST_CLASSES:,} different classes; got {shown(list(classes))}"
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
        """Those of the image itself: what its graph makes of them is unknown."""
        return self.image_channels

    def logits(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, D), float32, of uint8 images. Raises ValueError where onnxruntime cannot."""
        images = images_NCHW if self.normalisation is None else self.normalisation(images_NCHW)
        (taken,) = self.session.get_inputs()
        for given, fixed in zip(images.shape, taken.shape, strict=True):
            if isinstance(fixed, int) and fixed != given:
                raise ValueError(
                    f"the network takes images of the shape {shown(taken.shape)} alone; got {tuple(images.shape)}"
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
        """The probability of every class for every uint8 image: float32 (N, D).

        Rows sum to 1, or are of NaN where a logit is not finite.

        Raises ValueError as `logits` does.
        """
        (taken,) = self.session.get_inputs()
        fixed, batch_size = taken.shape[0], images_at_once(*images_NCHW.shape[2:])
        if not isinstance(fixed, int):
            return torch.cat([shares(self.logits(part)) for part in torch.split(images_NCHW, batch_size)])
        if fixed > batch_size:
            raise ValueError(
                f"the network takes {fixed:,} images at once, more than the {batch_size:,} of this size that are asked "
                "together; export the run again"
            )
        # A file whose batch somebody has fixed: what lacks in the last is filled up.
        lacking = -len(images_NCHW) % fixed
        filled = torch.cat([images_NCHW, images_NCHW[-1:].expand(lacking, -1, -1, -1)])
        parts = [shares(self.logits(part)) for part in torch.split(filled, fixed)]
        return torch.cat(parts)[: len(images_NCHW)]


def _check_input(inputs: Sequence[Any], *, channels: int, pixels: bool) -> None:
    """Raises ValueError unless there is one, of images."""
    types = ("tensor(uint8)",) if pixels else tuple(FLOATS)
    fits = len(inputs) == 1 and inputs[0].name == INPUT and inputs[0].type in types
    shape = list(inputs[0].shape) if fits else []
    if len(shape) != 4 or shape[1] != channels or any(isinstance(side, int) and side < 1 for side in shape):
        raise ValueError(
            f"its inputs {_signature(inputs)} are not images of {channels} channels, {' or '.join(types)}, called "
            f"{INPUT}; export the run again"
        )


def _check_output(outputs: Sequence[Any], *, num_classes: int) -> None:
    """Raises ValueError unless there is one, of a number for each class."""
    fits = len(outputs) == 1 and outputs[0].type in FLOATS
    if not fits or list(outputs[0].shape[1:]) != [num_classes]:
        raise ValueError(
            f"its outputs {_signature(outputs)} are not one for each of its {num_classes:,} classes, "
            f"{' or '.join(FLOATS)}; export the run again"
        )


def _signature(values: Sequence[Any]) -> str:
    return visible(shown([f"{value.name}: {value.type} {value.shape}" for value in values]))


def _run_options() -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = FATAL
    return options


def _said(error: Exception) -> str:
    return visible(" ".join(str(error).split())[:300])


def _raise_want_of_memory(error: Exception) -> None:
    if (
        isinstance(error, MemoryError)
        or "bad_alloc" in str(error)
        or "Failed to allocate memory" in str(error)
    ):
        raise MemoryError(_said(error)) from None
