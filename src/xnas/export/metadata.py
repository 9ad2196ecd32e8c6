"""Metadata of an exported network: config.json, the metadata of an ONNX file, the model card.

C H W: channels, height, width of an image.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from xnas.io.json import JsonObject
from xnas.io.text import short_repr
from xnas.runs.folder import Result, parse_result
from xnas.space.architecture import Architecture, parse_architecture
from xnas.space.backbone import NetworkSpec
from xnas.space.nasbench201.genotype import Nasbench201Genotype
from xnas.train.trained_network import check_border, check_image_shape

FORMAT, VERSION = "xnas-network", 1


TIMM_NAME = "xnas_network"
"""The entry point of timm that builds a network of any genotype."""

INSIDE, BESIDE = "inside", "beside"
"""Location of the normalisation: inside, a file takes uint8 pixels; beside, normalised images."""


_SMALLEST = 1e-6
"""A standard deviation of pixels from 0 to 1; those that xnas computes are at least 1 / 255."""

_PLAN = (
    "image_channels",
    "num_classes",
    "channels",
    "cells",
    "reductions",
    "stem",
    "stem_channels",
    "squeeze_excite",
)
"""Fields of a plan that describe the network, not its training."""


@dataclass(frozen=True, kw_only=True)
class About:
    """A network's description: with it and the weights the network comes back. Raises ValueError where it contradicts
    itself."""

    genotype: Architecture
    plan: NetworkSpec
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """Mean of each channel of the training images, for pixels from 0 to 1."""
    std: tuple[float, ...]
    image_shape: tuple[int, int, int]
    """C, H, W of the training images; the network takes other heights and widths too."""
    border: float = 0.0
    """Share of an image's file that was cut off on every side for the test."""
    data: str
    """Name of the data set."""
    result: Result | None
    """The result on the test set; None if it was not tested."""

    def __post_init__(self) -> None:
        channels = self.plan.image_channels
        check_image_shape(self.image_shape)
        check_normalisation(self.mean, self.std)
        check_border(self.border)
        for what, count, needed in (
            ("classes", len(self.classes), self.plan.num_classes),
            ("different classes", len(set(self.classes)), self.plan.num_classes),
            ("means", len(self.mean), channels),
            ("standard deviations", len(self.std), channels),
            ("image channels", self.image_shape[0], channels),
        ):
            if count != needed:
                raise ValueError(f"{count:,} {what} where the network has {needed:,}")

    @property
    def reduction(self) -> int:
        """The factor by which the network divides height and width."""
        stem = {"cifar": 1, "strided": 2, "imagenet": 8}[self.plan.stem]
        return int(stem * 2**self.plan.reductions)

    def to_json(self, *, sums: Mapping[str, str] | None = None) -> str:
        """config.json, ending in a newline: our own words, the SHA-256 of each file, then what timm reads."""
        genotype, plan = json.loads(self.genotype.to_json()), plan_fields(self.plan)
        fields: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "xnas": metadata.version("xnas"),
            "genotype": genotype,
            "plan": plan,
            "classes": self.classes,
            "normalisation": {"mean": self.mean, "std": self.std},
            "image_shape": self.image_shape,
            "border": self.border,
            "data": self.data,
            "result": asdict(self.result) if self.result else None,
            **({"sha256": dict(sums)} if sums else {}),
            "architecture": TIMM_NAME,
            "num_classes": self.plan.num_classes,
            "model_args": {"genotype": genotype, "plan": plan},
            "pretrained_cfg": {
                "input_size": self.image_shape,
                "mean": self.mean,
                "std": self.std,
                "interpolation": "bilinear",
                "crop_pct": 1 - 2 * self.border,
                "num_classes": self.plan.num_classes,
                "label_names": self.classes,
                "first_conv": first_conv(self.genotype, self.plan),
                "classifier": "classifier",
            },
        }
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_fields(cls, fields: JsonObject) -> "About":
        """Return what `to_json` wrote. Raises ValueError, naming the file, for anything else."""
        check_format(fields)
        if fields.integer("version") != VERSION:
            raise ValueError(
                f"{fields.where} has version {fields.integer('version')}; this xnas reads version {VERSION}: "
                "upgrade xnas if the file is newer"
            )
        plan, normalisation = fields.nested("plan"), fields.nested("normalisation")
        result = fields.optional_inner("result")
        try:
            shape = fields.integers("image_shape")
            check_image_shape(shape)
            return cls(
                genotype=parse_architecture(json.dumps(fields.nested("genotype").values)),
                plan=parse_plan(plan),
                classes=fields.exact_names("classes"),
                mean=normalisation.numbers("mean"),
                std=normalisation.numbers("std"),
                image_shape=(shape[0], shape[1], shape[2]),
                border=fields.number("border"),
                data=fields.name("data"),
                result=parse_result(result) if result else None,
            )
        except RecursionError:  # writing goes less deep than reading
            raise ValueError(f"{fields.where} is damaged: nested too deeply; export the run again") from None
        except ValueError as error:
            said = str(error)
            raise ValueError(said if said.startswith(fields.where) else f"{fields.where}: {said}") from None


def check_format(fields: JsonObject) -> None:
    """Raise ValueError for JSON that describes no exported network."""
    if fields.values.get("format") != FORMAT:
        raise ValueError(f'{fields.where} is not of an exported network: it lacks "format": "{FORMAT}"')


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise ValueError for means or standard deviations that pixels from 0 to 1 cannot have."""
    if not (mean and std) or min(std) < _SMALLEST or max(*std, *map(abs, mean)) > 1 / _SMALLEST:
        raise ValueError(
            f"the normalisation must lie between {_SMALLEST:g} and {1 / _SMALLEST:g}; got the means "
            f"{short_repr(list(mean))} and the standard deviations {short_repr(list(std))}"
        )


def first_conv(genotype: Architecture, plan: NetworkSpec) -> str:
    """Return the name of the convolution that takes the images, which timm adapts to other channels."""
    if isinstance(genotype, Nasbench201Genotype):
        return "stem.0"
    return "stem.first.0" if plan.stem == "imagenet" else "stem.conv"


def plan_fields(plan: NetworkSpec) -> dict[str, Any]:
    """Return the plan as JSON has it."""
    return {name: getattr(plan, name) for name in _PLAN}


def parse_plan(fields: JsonObject) -> NetworkSpec:
    """Return what `plan_fields` gave. Raises ValueError for what is no plan."""
    return NetworkSpec(
        image_channels=fields.integer("image_channels"),
        num_classes=fields.integer("num_classes"),
        channels=fields.integer("channels"),
        cells=fields.integer("cells"),
        reductions=fields.integer("reductions"),
        stem=fields.name("stem"),  # type: ignore[arg-type]  # it checks the name
        stem_channels=fields.optional_integer("stem_channels"),
        squeeze_excite=fields.flag("squeeze_excite"),
    )
