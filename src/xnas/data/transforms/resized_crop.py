"""Random resized crops (Szegedy et al. 2015): a part of an image, scaled to a size, drawn by the key of the image.

A key is a hash of (seed, epoch, image). This file does without torch, so that a process that only reads images starts
at once. C H W: channels, height, width; B: images of a batch.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xnas.data.rng import mix_address

AREA = (0.08, 1.0)
"""Share of an image's area that a crop has."""
RATIO = (3 / 4, 4 / 3)
"""Width of a crop over its height."""
TRIES = 10
BITS = 24


def crop_box(key: int, *, height: int, width: int) -> tuple[int, int, int, int]:
    """Left, upper, right and lower border, in pixels, of the crop that a key draws from an image of that size.

    The area is uniform between its bounds, the logarithm of the ratio too, and so is the place, in whole pixels. What
    does not fit into the image is drawn again, ten times in all; after that it is the middle, as much as the ratio
    allows.
    """
    for attempt in range(TRIES):
        area, ratio = _two(mix_address(key, attempt, 0))
        across, down = _two(mix_address(key, attempt, 1))
        pixels = height * width * (AREA[0] + (AREA[1] - AREA[0]) * area)
        aspect = RATIO[0] * (RATIO[1] / RATIO[0]) ** ratio
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(across * (width - w + 1)), int(down * (height - h + 1))
            return left, upper, left + w, upper + h
    w = min(width, max(1, round(height * RATIO[1])))
    h = min(height, max(1, round(width / RATIO[0])))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def resized_crop(image: Image.Image, key: int, *, height: int, width: int) -> Image.Image:
    """Return the crop of an image that a key draws, scaled to a size."""
    box = crop_box(key, height=image.height, width=image.width)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def resized_crops(pixels_BCHW: NDArray[np.uint8], keys: Sequence[int]) -> NDArray[np.uint8]:
    """Return the crop that its key draws of each uint8 image, grey or RGB, scaled to the size that the images have."""
    crops_BCHW = np.empty_like(pixels_BCHW)
    height, width = pixels_BCHW.shape[2:]
    for b, (pixels_CHW, key) in enumerate(zip(pixels_BCHW, keys, strict=True)):
        pixels_HWC = np.ascontiguousarray(pixels_CHW.transpose(1, 2, 0))
        image = Image.fromarray(pixels_HWC[:, :, 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)
        crop = np.asarray(resized_crop(image, key, height=height, width=width))
        crops_BCHW[b] = crop.reshape(height, width, -1).transpose(2, 0, 1)
    return crops_BCHW


def _two(bits: int) -> tuple[float, float]:
    """Two numbers in [0, 1) out of the lowest 48 bits."""
    low, high = bits & (2**BITS - 1), (bits >> BITS) & (2**BITS - 1)
    return low / 2**BITS, high / 2**BITS
