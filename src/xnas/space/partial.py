"""Partial channels: only one channel in k passes the experts of a forecaster, the rest goes around them.

Yuhui Xu, Lingxi Xie, Xiaopeng Zhang, Xin Chen, Guo-Jun Qi, Qi Tian, Hongkai Xiong: PC-DARTS: Partial Channel
Connections for Memory-Efficient Architecture Search, ICLR 2020, section 3.2, equation 2: an edge gives S * p(S * x) and
(1 - S) * x, for a mask S over the channels. As in its authors' code S is the first C / k channels, and both parts are
concatenated and shuffled, so that the next edge has other channels first. Published: k = 4 on CIFAR-10; where the
stride is 2 the rest is pooled, by the largest of 2 x 2. An edge needs about 1 / k of the memory and work.

The other half of PC-DARTS, edge normalisation (section 3.3), is not part of this: an edge's strength comes from its
experts, as everywhere here. Only a supernet has partial channels; the network of a genotype has none.

B: samples; C: channels, dimension 1; k: parts.
"""

import torch
from torch import Tensor, nn


def split_channels(features: Tensor, *, parts: int) -> tuple[Tensor, Tensor]:
    """The first C / k channels and the rest. Raises ValueError if k does not divide C."""
    if features.dim() < 2 or features.shape[1] % parts:
        raise ValueError(
            f"partial = {parts} does not divide the channels of an input of shape {tuple(features.shape)}; they are "
            "its second dimension"
        )
    width = features.shape[1] // parts
    # Dense, because every expert reads it.
    format_ = torch.channels_last if _channels_last(features) else torch.contiguous_format
    return features[:, :width].contiguous(memory_format=format_), features[:, width:]


def join_channels(mixed: Tensor, rest: Tensor, *, parts: int) -> Tensor:
    """Both parts in one, shuffled. Raises ValueError if they do not belong together."""
    if mixed.shape[2:] != rest.shape[2:] or mixed.shape[1] * (parts - 1) != rest.shape[1]:
        raise ValueError(
            f"with partial = {parts} the experts give {tuple(mixed.shape)} and the bypass {tuple(rest.shape)}; they "
            f"must differ in channels alone, 1 to {parts - 1}: give a bypass that changes the size as the experts do"
        )
    return shuffle_channels(torch.cat([mixed, rest], dim=1), groups=parts)


def shuffle_channels(features: Tensor, *, groups: int) -> Tensor:
    """Channel j of group g comes to place j * groups + g (Zhang et al.: ShuffleNet, CVPR 2018)."""
    if _channels_last(features):  # it stays so
        last_BHWC = features.movedim(1, -1)
        grouped_BHWGJ = last_BHWC.reshape(*last_BHWC.shape[:-1], groups, -1)
        return grouped_BHWGJ.transpose(-1, -2).flatten(-2).movedim(-1, 1)
    grouped = features.reshape(len(features), groups, -1, *features.shape[2:])
    return grouped.transpose(1, 2).flatten(1, 2)


def bypass(*, stride: int) -> nn.Module:
    """Return the bypass of a cell's operations. Odd sizes are rounded up, as the operations do."""
    return nn.Identity() if stride == 1 else nn.MaxPool2d(2, stride=stride, ceil_mode=True)


def _channels_last(features: Tensor) -> bool:
    return features.dim() == 4 and features.is_contiguous(memory_format=torch.channels_last)
