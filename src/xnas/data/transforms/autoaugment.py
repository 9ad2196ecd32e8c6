"""AutoAugment (Cubuk et al. 2019): for every image one of 25 pairs of operations, by the address (seed, epoch, image).

The pairs found for each data set, and the operations, are torchvision's. Each operation of a pair has a probability,
and a level m of 0 to 9 on a scale of its own; those with a direction take either with probability 1/2. What a shift or
a rotation uncovers is black, as what random crops add.
B: images of a batch; C H W: channels, height, width.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, partial
from math import atan, degrees

import numpy as np
import torch
from torch import Tensor

from xnas.data.images import to_device
from xnas.data.rng import POLICY, mix_address
from xnas.data.sampling import mix_addresses
from xnas.data.transforms.crop_flip_cutout import BITS, below

Pairs = tuple[tuple[tuple[str, float, int | None], ...], ...]
"""Name, probability and level of each operation."""

SIGNED = frozenset(
    {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness"}
)
LEVELS = 10

ALONE = frozenset({"Contrast", "Sharpness"})
"""Operations with sums of fractions, whose last bits may depend on how many images are summed together."""


def augment_by_policy(images_BCHW: Tensor, ids_B: Tensor, *, policy: str, seed: int, epoch: int) -> Tensor:
    """Each uint8 image, grey or RGB, after a pair of operations of `policy`, "none", "cifar10", "svhn" or "imagenet".

    What happens to an image depends on (seed, epoch, its index in `ids_B`) alone, not on its batch. Returns uint8 of
    the same shape.
    """
    if policy == "none":
        return images_BCHW
    pairs, images_BCHW = pairs_of(policy), images_BCHW.clone()
    height, width = images_BCHW.shape[2:]
    choice_B = below(mix_addresses(mix_address(POLICY, seed, epoch), ids_B), len(pairs)).tolist()
    for place in range(2):
        bits_B = mix_addresses(mix_address(POLICY, seed, epoch, place), ids_B)
        chance_B = ((bits_B & np.uint64(2**BITS - 1)) / 2**BITS).tolist()
        negative_B = (bits_B >> np.uint64(63)).astype(np.bool_).tolist()
        # Those to which the same happens go together: an operation costs about as much on one small image as on ten.
        alike: defaultdict[tuple[str, float], list[int]] = defaultdict(list)
        for b, (choice, chance, negative) in enumerate(zip(choice_B, chance_B, negative_B, strict=True)):
            name, probability, level = pairs[choice][place]
            if chance < probability:
                size = magnitude(name, level or 0, height=height, width=width)
                alike[name, -size if negative and name in SIGNED else size].append(b)
        for (name, size), members in alike.items():
            for group in [[b] for b in members] if name in ALONE else [members]:
                _change(images_BCHW, group, operations()[name], size)
    return images_BCHW


def _change(
    images_BCHW: Tensor, group: Sequence[int], operation: Callable[[Tensor, float], Tensor], size: float
) -> None:
    places = to_device(torch.tensor(group), images_BCHW.device)
    images_BCHW[places] = operation(images_BCHW[places].contiguous(), size)


@cache
def pairs_of(policy: str) -> Pairs:
    """Return the pairs of operations of a policy."""
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy  # takes a while to import

    return tuple(AutoAugment(AutoAugmentPolicy(policy)).policies)


def magnitude(name: str, level: int, *, height: int, width: int) -> float:
    """Return the argument of an operation at a level from 0 to 9: pixels, degrees, a share, bits, or a grey value."""
    share = partial(_level, level)
    match name:
        case "ShearX" | "ShearY":
            return share(0.3)
        case "TranslateX":
            return float(int(share(150 / 331 * width)))
        case "TranslateY":
            return float(int(share(150 / 331 * height)))
        case "Rotate":
            return share(30.0)
        case "Posterize":
            return float(8 - round(4 * level / 9))
        case "Solarize":
            return 255 * float(torch.linspace(1.0, 0.0, LEVELS)[level])
        case "AutoContrast" | "Equalize" | "Invert":
            return 0.0
        case _:
            return share(0.9)


def _level(level: int, top: float) -> float:
    # As torchvision has it, to the last bit: a pixel may be rounded up or down for it.
    return float(torch.linspace(0.0, top, LEVELS)[level])


@cache
def operations() -> dict[str, Callable[[Tensor, float], Tensor]]:
    """Each operation on uint8 images BCHW, by the name that the policies have for it."""
    from torchvision.transforms.v2 import functional as tv  # takes a while to import

    def moved(images: Tensor, *, across: float = 0, down: float = 0) -> Tensor:
        return tv.affine(images, angle=0.0, translate=[across, down], scale=1.0, shear=[0.0, 0.0])  # type: ignore[no-any-return]

    def sheared(images: Tensor, *, across: float = 0, down: float = 0) -> Tensor:
        # From the upper left corner, as in the code of the paper's authors.
        shear = [degrees(atan(across)), degrees(atan(down))]
        return tv.affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=shear, center=[0, 0])  # type: ignore[no-any-return]

    return {
        "ShearX": lambda images, size: sheared(images, across=size),
        "ShearY": lambda images, size: sheared(images, down=size),
        "TranslateX": lambda images, size: moved(images, across=int(size)),
        "TranslateY": lambda images, size: moved(images, down=int(size)),
        "Rotate": lambda images, size: tv.rotate(images, size),
        "Brightness": lambda images, size: tv.adjust_brightness(images, 1 + size),
        "Color": lambda images, size: tv.adjust_saturation(images, 1 + size),
        "Contrast": lambda images, size: tv.adjust_contrast(images, 1 + size),
        "Sharpness": lambda images, size: tv.adjust_sharpness(images, 1 + size),
        "Posterize": lambda images, size: tv.posterize(images, int(size)),
        "Solarize": lambda images, size: tv.solarize(images, size),
        "AutoContrast": lambda images, size: tv.autocontrast(images),
        "Equalize": lambda images, size: tv.equalize(images),
        "Invert": lambda images, size: tv.invert(images),
    }
