"""A network of stacked cells: a stem, cells that read the two before them, a linear classifier (section 4.2).

At each reduction cell height and width halve and the width in channels doubles. Supernets and discrete networks
are both such stacks, of different cells.

B: samples; C H W: channels, height, width; D: classes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.io.plain_value import take_plain
from xnas.io.text import choose
from xnas.space.activation_checkpointing import checkpointed
from xnas.space.fast.dispatch import sum_outputs
from xnas.space.names import Stem
from xnas.space.operations import FactorizedReduce, Norm, NormStyle, ReluConvNorm


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """The shape of a stack. Raises ValueError for a shape that cannot be built."""

    image_channels: int
    num_classes: int
    channels: int
    """C: channels of the first cells' nodes."""
    cells: int
    reductions: int = 2
    """Reduction cells, evenly spread: two stand after a third and two thirds of the cells."""
    stem: Stem = "cifar"
    stem_channels: int | None = None
    """Channels that the stem gives out; None: three times C for small images, C for the imagenet
    stem and in NAS-Bench-201, which takes no other."""
    squeeze_excite: bool = False
    """Squeeze-and-excitation after every cell up to two thirds of the depth, as in the published ImageNet network."""
    activation_checkpointing: bool = False
    """A training pass keeps what goes into a cell and nothing of what is computed inside it; the backward pass computes
    the cell again. The same numbers, bit for bit, for about one more forward pass (Chen et al. 2016)."""

    def __post_init__(self) -> None:
        take_plain(self, "image_channels", "num_classes", "channels", "cells", "reductions")
        for name, least in (
            ("image_channels", 1),
            ("num_classes", 2),
            ("cells", 1),
            ("reductions", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}; got {getattr(self, name)}")
        choose("stem", self.stem, get_args(Stem))
        # The imagenet stem, and the cell after it, work on halves of their channels.
        least = 2 if self.stem == "imagenet" else 1
        for name in ("channels", "stem_channels"):
            given = getattr(self, name)
            if given is not None and given < least:
                raise ValueError(f"{name} must be at least {least} for the stem {self.stem!r}; got {given}")
        if self.reductions > self.cells:
            raise ValueError(
                f"{self.reductions} reductions do not fit into {self.cells} cells; "
                f"use at most {self.cells} reductions or more cells"
            )

    @property
    def reduction_cells(self) -> tuple[int, ...]:
        """Indices of the reduction cells: 6 and 13 of 20."""
        return tuple(i * self.cells // (self.reductions + 1) for i in range(1, self.reductions + 1))

    @property
    def features_a_pixel(self) -> int:
        """Numbers of a cell or the stem, whichever has more, for every pixel of an image, rounded up."""
        cells = 4 * self.channels // {"cifar": 1, "strided": 4, "imagenet": 64}[self.stem]
        if self.stem == "imagenet":
            return max(1, cells, -(-(self.stem_channels or self.channels) // 8))  # half of them, of a quarter
        stem = self.stem_channels or 3 * self.channels
        return max(1, cells, stem if self.stem == "cifar" else -(-stem // 4))


@dataclass(frozen=True, kw_only=True)
class CellPosition:
    """The position of a cell in the stack: its inputs and its width."""

    index: int
    channels_before_last: int
    channels_last: int
    channels: int
    reduction: bool
    last_was_reduction: bool


class CellInputs(nn.Module):
    """Preprocessing of a cell's two inputs, to one size and width."""

    def __init__(self, position: CellPosition, *, style: NormStyle) -> None:
        super().__init__()
        before_last = FactorizedReduce if position.last_was_reduction else ReluConvNorm
        self.before_last = before_last(position.channels_before_last, position.channels, style=style)
        self.last = ReluConvNorm(position.channels_last, position.channels, style=style)

    def forward(self, before_last: Tensor, last: Tensor) -> list[Tensor]:
        """Nodes 0 and 1 of the cell."""
        training = self.training
        return [
            sum_outputs([self.before_last], [before_last], training=training),
            sum_outputs([self.last], [last], training=training),
        ]


class Stack(nn.Module):
    """Stem, cells, global average, classifier; `build_cell` says what a cell is."""

    def __init__(
        self, spec: NetworkSpec, *, style: NormStyle, build_cell: Callable[[CellPosition], nn.Module]
    ) -> None:
        super().__init__()
        self.spec = spec
        self.stem = _STEMS[spec.stem](spec, style)
        before_last, last = self.stem.out_channels
        channels, last_was_reduction = spec.channels, spec.stem == "imagenet"
        cells: list[nn.Module] = []
        excitations: list[nn.Module] = []
        for index in range(spec.cells):
            reduction = index in spec.reduction_cells
            channels = channels * 2 if reduction else channels
            position = CellPosition(
                index=index,
                channels_before_last=before_last,
                channels_last=last,
                channels=channels,
                reduction=reduction,
                last_was_reduction=last_was_reduction,
            )
            cell = build_cell(position)
            cells.append(cell)
            before_last, last, last_was_reduction = last, int(cell.out_channels), reduction  # type: ignore[arg-type]
            excited = spec.squeeze_excite and index <= 2 * spec.cells // 3
            excitations.append(
                SqueezeExcite(last, reduction=4 if channels == spec.channels else 8)
                if excited
                else nn.Identity()
            )
        self.cells = nn.ModuleList(cells)
        self.excitations = nn.ModuleList(excitations)
        self.classifier = nn.Linear(last, spec.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, D) for images of shape (B, C, H, W)."""
        for last in self.features(images):  # noqa: B007
            pass
        return self.classify(last)

    def features(self, images: Tensor, *, paths: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
        """Yield the output of each cell in turn.

        `paths` are for cells that drop them: for each cell factors (E, B), by which the output of each of its edges is
        multiplied image by image.
        """
        before_last, last = self.stem(images)
        twice = self.spec.activation_checkpointing and self.training and torch.is_grad_enabled()
        for index, (cell, excitation) in enumerate(zip(self.cells, self.excitations, strict=True)):
            run = partial(_run, cell, excitation)
            # The factors are an input too: what is computed again in the backward pass drops the same paths.
            inputs = (before_last, last) if paths is None else (before_last, last, paths[index])
            now = checkpointed(cell, run, *inputs) if twice else run(*inputs)
            before_last, last = last, now
            yield last

    def classify(self, last: Tensor) -> Tensor:
        """Logits (B, D), from what the last cell gives."""
        logits: Tensor = self.classifier(last.mean(dim=(2, 3)))
        return logits


def _run(cell: nn.Module, excitation: nn.Module, *inputs: Tensor) -> Tensor:
    excited: Tensor = excitation(cell(*inputs))
    return excited


class SmallStem(nn.Module):
    """One 3x3 convolution and norm, for small images."""

    def __init__(self, spec: NetworkSpec, style: NormStyle) -> None:
        super().__init__()
        channels = spec.stem_channels or 3 * spec.channels
        stride = 2 if spec.stem == "strided" else 1
        self.conv = nn.Conv2d(spec.image_channels, channels, 3, stride=stride, padding=1, bias=False)
        # The stem is no forecaster: its norm has an affine part in the supernet too, as in DARTS.
        self.norm = Norm(channels, track_running_stats=style.running)
        self.out_channels = (channels, channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same features twice: the first cell has only the stem before it."""
        features = self.norm(self.conv(images))
        return features, features


class ImageNetStem(nn.Module):
    """Two stem cells of convolutions, to a quarter and an eighth of the image's size (section 4.3)."""

    def __init__(self, spec: NetworkSpec, style: NormStyle) -> None:
        super().__init__()
        channels = spec.stem_channels or spec.channels
        self.first = nn.Sequential(
            nn.Conv2d(spec.image_channels, channels // 2, 3, stride=2, padding=1, bias=False),
            style.norm(channels // 2),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False),
            style.norm(channels),
        )
        self.second = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
            style.norm(channels),
        )
        self.out_channels = (channels, channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features at a quarter and at an eighth of the size."""
        quarter = self.first(images)
        return quarter, self.second(quarter)


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate computed from all channels' means (Hu et al. 2018)."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        squeezed = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, squeezed, bias=False)
        self.excite = nn.Linear(squeezed, channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W), each channel times its gate in (0, 1)."""
        gates_BC: Tensor = self.excite(F.relu(self.squeeze(features.mean(dim=(2, 3))))).sigmoid()
        return features * gates_BC[:, :, None, None]


_STEMS: dict[Stem, type[SmallStem] | type[ImageNetStem]] = {
    "cifar": SmallStem,
    "strided": SmallStem,
    "imagenet": ImageNetStem,
}
