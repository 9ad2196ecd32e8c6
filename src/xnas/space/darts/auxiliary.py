"""The auxiliary tower: a second classifier, at two thirds of the depth, while a network is trained.

Its loss gives the cells below it a shorter way for gradients (Szegedy et al. 2015; section 4.2). The form is that of
DARTS (Liu et al. 2019): ReLU, average pooling to 2 x 2, 1x1 convolution to 128 channels, norm, ReLU, 2x2 convolution to
768, norm, ReLU, linear. There the pooling has windows of 5, at stride 3 on CIFAR's 8 x 8 features and at stride 2 on
ImageNet's 7 x 7. Both are the same rule, two windows of 5/8 of a side, rounded up, one at either end; by it features of
any size, even of one pixel, come to 2 x 2.

B: samples; C H W: channels, height, width; D: classes.
"""

import torch
from torch import Tensor, nn

from xnas.space.backbone import Stack
from xnas.space.operations import NETWORK_STYLE

SQUEEZED, WIDE = 128, 768
"""Channels after the first and the second convolution."""


class AuxiliaryTower(nn.Module):
    """The tower for a network of cells. It is no part of the network: neither of its weights nor of its size."""

    def __init__(self, network: Stack) -> None:
        super().__init__()
        self.cell = 2 * network.spec.cells // 3
        """The cell whose output it reads, counted from 0: of 20 the second reduction."""
        channels = int(network.cells[self.cell].out_channels)  # type: ignore[arg-type]
        self.layers = nn.Sequential(
            nn.Conv2d(channels, SQUEEZED, 1, bias=False),
            NETWORK_STYLE.norm(SQUEEZED),
            nn.ReLU(),
            nn.Conv2d(SQUEEZED, WIDE, 2, bias=False),
            NETWORK_STYLE.norm(WIDE),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(WIDE, network.spec.num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, D) for what the cell gives, (B, C, H, W)."""
        pooled_BC22 = at_both_ends(at_both_ends(features.relu(), dim=2), dim=3)
        logits_BD: Tensor = self.classifier(self.layers(pooled_BC22).flatten(1))
        return logits_BD


def at_both_ends(features: Tensor, *, dim: int) -> Tensor:
    """Means over the first and the last 5/8 of a dimension, rounded up: that dimension becomes 2."""
    side = features.shape[dim]
    window = -(-5 * side // 8)
    windows = (features.narrow(dim, start, window) for start in (0, side - window))
    return torch.cat([part.mean(dim=dim, keepdim=True) for part in windows], dim=dim)
