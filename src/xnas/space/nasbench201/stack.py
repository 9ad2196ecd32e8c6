"""The networks of NAS-Bench-201 around a cell that is searched or given (Dong and Yang 2020, section 2.1).

A 3x3 convolution with norm, then stages of cells; between two stages a residual block halves height and width and
doubles the channels; at the end norm, ReLU, global average and a linear classifier. The benchmark's networks have three
stages of five cells, with 16, 32 and 64 channels.

B: samples; C H W: channels, height, width; D: classes.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.space.activation_checkpointing import checkpointed
from xnas.space.backbone import NetworkSpec
from xnas.space.fast.dispatch import node_kernel, sum_outputs
from xnas.space.fast.gpu.nodes import NodeSchedules
from xnas.space.forecaster import Forecaster
from xnas.space.nasbench201.genotype import EDGES, NUM_NODES, Nasbench201Genotype
from xnas.space.operations import (
    NETWORK_STYLE,
    SUPERNET_STYLE,
    NormStyle,
    ReluConvNorm,
    build_operation,
)

GROUP = "cell"
"""The group of all forecasters: every cell is a replica of every other."""


class Nasbench201Stack(nn.Module):
    """Stem, stages of equal cells with residual blocks between them, classifier.

    Of a NetworkSpec `reductions` are the residual blocks, one less than there are stages, and `cells` the cells of all
    stages together. Raises ValueError for cells that do not spread evenly, or what this space does not have.
    """

    def __init__(
        self, spec: NetworkSpec, *, style: NormStyle, build_cell: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        stages = spec.reductions + 1
        if spec.cells % stages:
            raise ValueError(
                f"{spec.cells} cells do not spread evenly over the {stages} stages of a NAS-Bench-201 network; use a "
                f"multiple of {stages}"
            )
        if spec.stem == "imagenet" or spec.squeeze_excite:
            what = "imagenet stem" if spec.stem == "imagenet" else "squeeze-and-excitation"
            raise ValueError(f"NAS-Bench-201 has no {what}; leave it out, or choose another space")
        if spec.stem_channels not in (None, spec.channels):
            raise ValueError(
                f"the stem of NAS-Bench-201 is as wide as its first cells; got stem_channels = {spec.stem_channels} "
                f"beside channels = {spec.channels}; leave stem_channels out"
            )
        self.spec = spec
        channels = spec.channels
        self.stem = nn.Sequential(
            nn.Conv2d(
                spec.image_channels,
                channels,
                3,
                stride=2 if spec.stem == "strided" else 1,
                padding=1,
                bias=False,
            ),
            _fixed_style(style).norm(channels),
        )
        layers: list[nn.Module] = []
        for stage in range(stages):
            if stage > 0:
                layers.append(ResidualReduction(channels, 2 * channels, style=_fixed_style(style)))
                channels *= 2
            layers += [build_cell(channels) for _ in range(spec.cells // stages)]
        self.layers = nn.ModuleList(layers)
        self.last = nn.Sequential(_fixed_style(style).norm(channels), nn.ReLU())
        self.classifier = nn.Linear(channels, spec.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, D) for images of shape (B, C, H, W)."""
        features = self.stem(images)
        twice = self.spec.activation_checkpointing and self.training and torch.is_grad_enabled()
        for layer in self.layers:
            features = checkpointed(layer, layer, features) if twice else layer(features)
        logits_BD: Tensor = self.classifier(self.last(features).mean(dim=(2, 3)))
        return logits_BD


def _fixed_style(style: NormStyle) -> NormStyle:
    """The norms outside of cells: as in the cells, but with an affine part in the supernet too."""
    return NormStyle(affine=True, running=style.running, after_pooling=False)


class ResidualReduction(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, beside an average of 2 x 2 and a pointwise convolution."""

    def __init__(self, channels_in: int, channels_out: int, *, style: NormStyle) -> None:
        super().__init__()
        self.first = ReluConvNorm(channels_in, channels_out, style=style, kernel_size=3, stride=2)
        self.second = ReluConvNorm(channels_out, channels_out, style=style, kernel_size=3)
        self.shortcut = nn.Sequential(AverageOfFour(), nn.Conv2d(channels_in, channels_out, 1, bias=False))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 2 C, H / 2, W / 2), rounded up."""
        outputs: Tensor = self.second(self.first(inputs)) + self.shortcut(inputs)
        return outputs


class AverageOfFour(nn.AvgPool2d):
    """The average of every 2 x 2 pixels; at an odd edge, of those that are there."""

    def __init__(self) -> None:
        super().__init__(2, ceil_mode=True)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H / 2, W / 2), rounded up."""
        if torch.compiler.is_exporting():
            # Rounding up depends on the size, and an exported network takes any. An edge that is there twice has the
            # same average; at an even size nobody looks at it.
            return F.avg_pool2d(F.pad(input, (0, 1, 0, 1), mode="replicate"), 2)
        return super().forward(input)


class Nasbench201Supernet(Nasbench201Stack):
    """The supernet: all architectures of the space at once."""

    def __init__(self, spec: NetworkSpec, *, experts: tuple[str, ...], partial: int = 1) -> None:
        def build_cell(channels: int) -> nn.Module:
            return Nasbench201SearchCell(channels, experts=experts, partial=partial)

        super().__init__(spec, style=SUPERNET_STYLE, build_cell=build_cell)


class Nasbench201SearchCell(nn.Module):
    """A cell with a forecaster on every edge, in all cells the same group."""

    def __init__(self, channels: int, *, experts: tuple[str, ...], partial: int = 1) -> None:
        super().__init__()
        self.forecasters = nn.ModuleList(
            Forecaster(
                {
                    name: build_operation(name, channels // partial, stride=1, style=SUPERNET_STYLE)
                    for name in experts
                },
                group=GROUP,
                index=index,
                partial=partial,
            )
            for index in range(len(EDGES))
        )
        self._schedules = NodeSchedules()

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        compute = node_kernel(inputs, training=self.training, schedules=self._schedules)
        nodes = [inputs]
        for forecasters in self.incoming():
            nodes.append(compute(forecasters, nodes))
        return nodes[-1]

    def incoming(self) -> Iterator[list[Forecaster]]:
        """The forecasters of each node, in the order of their sources."""
        forecasters: Iterator[Forecaster] = iter(self.forecasters)  # type: ignore[arg-type]
        return (list(islice(forecasters, node)) for node in range(1, 1 + NUM_NODES))


class Nasbench201Network(Nasbench201Stack):
    """The network of an architecture, as the benchmark trained it."""

    def __init__(self, genotype: Nasbench201Genotype, spec: NetworkSpec) -> None:
        def build_cell(channels: int) -> nn.Module:
            return Nasbench201Cell(genotype, channels)

        super().__init__(spec, style=NETWORK_STYLE, build_cell=build_cell)
        self.genotype = genotype


class Nasbench201Cell(nn.Module):
    """A cell with one operation on every edge."""

    def __init__(self, genotype: Nasbench201Genotype, channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(
            build_operation(name, channels, stride=1, style=NETWORK_STYLE) for name in genotype.operations
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        operations = iter(self.operations)
        nodes = [inputs]
        for node in range(1, 1 + NUM_NODES):
            nodes.append(sum_outputs(list(islice(operations, node)), nodes, training=self.training))
        return nodes[-1]
