"""The names that settings, genotypes and operations share."""

from typing import Literal

EXPERTS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Section 4.1's list of experts. The paper's own numbers come out with `none` counted as an eighth."""

OPERATIONS = (*EXPERTS, "sep_conv_7x7", "conv_7x1_1x7")
"""Operations of a genotype's edges."""

SEARCHABLE = ("none", *OPERATIONS)
"""Operations of a supernet's experts."""

NASBENCH201_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Operations of a NAS-Bench-201 cell, in the order of the benchmark's own code."""

Stem = Literal["cifar", "strided", "imagenet"]
"""`cifar`: one convolution at full size. `strided`: the same at half size. `imagenet`: two stem cells, to an eighth."""

StemSetting = Literal["auto", "auto-strided", "cifar", "strided", "imagenet"]
"""`auto`, `auto-strided`: by the size of the images; of small ones the cells see the whole size, or a half."""

OPEN_STEMS: dict[StemSetting, Stem] = {"auto": "cifar", "auto-strided": "strided"}
"""Settings that depend on the image size, and the stem of small images."""
