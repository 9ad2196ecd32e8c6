"""An exported ONNX file, run by onnxruntime on the CPU.

N: images; C H W: channels, height, width; D: classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xnas.data.images import Normalisation
from xnas.engine.evaluate import images_at_once
from xnas.report.export.about import BESIDE, FORMAT, INSIDE, MOST_BORDER, MOST_SIDE
from xnas.report.export.onnx_file import INPUT
from xnas.report.fields import Fields, parse_json
from xnas.space.regular_file import read_regular
from xnas.space.shown import shown

MOST_BYTES = 2**31
"""The largest file that the format allows."""


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
    def read(cls, path: Path) -> "OnnxNetwork":
        """The file that `xnas export` has written. Raises ValueError for another or a damaged one."""
        return cls.of(read_regular(path, what="ONNX file", most=MOST_BYTES), where=str(path))

    @classmethod
    def of(cls, content: bytes, *, where: str) -> "OnnxNetwork":
        """The network in such a file's bytes. Raises ValueError as `read` does."""
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(
                f"ONNX files need the package onnxruntime ({error}): pip install onnxruntime"
            ) from error
        try:
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            words = dict(session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # onnxruntime's own kinds share no other base
            said = " ".join(str(error).split())[:300]
            raise ValueError(f"{where} cannot be read as ONNX: {said}; export the run anew") from None
        if words.get("format") != FORMAT:
            raise ValueError(
                f"{where} does not say its classes: xnas export did not write it; give one that it wrote"
            )
        lists = {
            name: words.get(name, "null") for name in ("classes", "mean", "std", "image_shape", "border")
        }
        fields = Fields(
            {name: parse_json(text, where=f"{where}: {name}") for name, text in lists.items()}, where=where
        )
        classes, shape = fields.exact_names("classes"), fields.integers("image_shape", most=MOST_SIDE)
        mean, std = fields.numbers("mean"), fields.numbers("std")
        inside, border = words.get("normalisation"), fields.number("border")
        if not 0 <= border < MOST_BORDER:
            raise ValueError(f"{where}: 'border' must lie in [0, {MOST_BORDER}); got {border}")
        if len(shape) != 3 or len(mean) != shape[0] or len(std) != shape[0] or inside not in (INSIDE, BESIDE):
            raise ValueError(
                f"{where}: image_shape {shown(shape)}, means {shown(mean)}, standard deviations {shown(std)} and "
                f"normalisation {shown(inside)} do not fit together; export the run anew"
            )
        outputs = session.get_outputs()
        if len(outputs) != 1 or list(outputs[0].shape[1:]) != [len(classes)]:
            raise ValueError(
                f"{where}: its outputs {shown([list(output.shape) for output in outputs])} are not one for each of its "
                f"{len(classes):,} classes; export the run anew"
            )
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

    def logits(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, D) of uint8 images. Raises ValueError where onnxruntime cannot."""
        images = images_NCHW if self.normalisation is None else self.normalisation(images_NCHW)
        try:
            (logits_ND,) = self.session.run(None, {INPUT: np.ascontiguousarray(images.numpy())})
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            raise ValueError(
                f"the network does not take images of shape {tuple(images.shape)}: {said}"
            ) from None
        return torch.from_numpy(np.asarray(logits_ND))

    def predict(self, images_NCHW: Tensor) -> Tensor:
        """The probability of every class for every uint8 image: (N, D). Raises ValueError as `logits` does."""
        batch_size = images_at_once(*images_NCHW.shape[2:])
        parts = [self.logits(part).softmax(1) for part in torch.split(images_NCHW, batch_size)]
        return torch.cat(parts)
