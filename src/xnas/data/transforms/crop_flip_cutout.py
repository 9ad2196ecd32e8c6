"""Random crops, horizontal flips and cutout (DeVries and Taylor 2017), drawn by the address (seed, epoch, image).

Of an image's 64 random bits z, the lowest 24 give the row of the crop, the next 24 its column, the highest the flip.
m bits stand for a whole number below n as (bits * n) >> m; at 24 bits that favours no value by more than n / 2^24.
B: images of a batch; C H W: channels, height, width.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from xnas.data.images import to_device
from xnas.data.rng import CROP, CUTOUT, mix_address
from xnas.data.sampling import mix_addresses

BITS = 24


def augment(
    images_BCHW: Tensor, ids_B: Tensor, *, seed: int, epoch: int, padding: int = 4, flip: bool = True
) -> Tensor:
    """Each uint8 image cropped at random out of itself padded with zeros, and half of them mirrored.

    What happens to an image depends on (seed, epoch, its index in `ids_B`) alone, not on its batch or the device.
    Returns uint8 of the same shape, channels last in memory.
    """
    if padding == 0 and not flip:
        return images_BCHW
    device, (height, width) = images_BCHW.device, images_BCHW.shape[2:]
    # Drawn on the CPU: a few numbers an image, and every device gets the same.
    bits_B = mix_addresses(mix_address(CROP, seed, epoch), ids_B)
    top_B = to_device(below(bits_B, 2 * padding + 1), device)
    left_B = to_device(below(bits_B >> np.uint64(BITS), 2 * padding + 1), device)
    rows_BH = top_B[:, None] + torch.arange(height, device=device)
    columns_BW = torch.arange(width, device=device).expand(len(ids_B), width)
    if flip:
        mirrored_B = to_device(torch.from_numpy((bits_B >> np.uint64(63)).astype(np.bool_)), device)
        columns_BW = torch.where(mirrored_B[:, None], width - 1 - columns_BW, columns_BW)
    columns_BW = columns_BW + left_B[:, None]
    padded_BCHW = F.pad(images_BCHW, (padding, padding, padding, padding)) if padding else images_BCHW
    images_B = torch.arange(len(ids_B), device=device)
    # A slice between index tensors puts their dimensions first: the result is (B, H, W, C).
    cropped_BHWC = padded_BCHW[images_B[:, None, None], :, rows_BH[:, :, None], columns_BW[:, None, :]]
    return cropped_BHWC.permute(0, 3, 1, 2)


def cutout(images_BCHW: Tensor, ids_B: Tensor, *, seed: int, epoch: int, size: int) -> Tensor:
    """Each normalised image with a square of `size` pixels a side set to 0, the mean.

    The centre is uniform over the image and the square ends at its borders. As `augment`, by address.
    """
    if size == 0:
        return images_BCHW
    device, (height, width) = images_BCHW.device, images_BCHW.shape[2:]
    bits_B = mix_addresses(mix_address(CUTOUT, seed, epoch), ids_B)
    inside_BH = _within(to_device(below(bits_B, height), device), size, height)
    inside_BW = _within(to_device(below(bits_B >> np.uint64(BITS), width), device), size, width)
    square_B1HW = (inside_BH[:, :, None] & inside_BW[:, None, :])[:, None]
    return images_BCHW.masked_fill(square_B1HW, 0)


def below(bits_B: NDArray[np.uint64], n: int) -> Tensor:
    """Return a whole number in [0, n) for each of the lowest 24 bits, int64."""
    low_B = bits_B & np.uint64(2**BITS - 1)
    return torch.from_numpy(((low_B * np.uint64(n)) >> np.uint64(BITS)).astype(np.int64))


def _within(centre_B: Tensor, size: int, length: int) -> Tensor:
    distance_BL = torch.arange(length, device=centre_B.device) - centre_B[:, None] + size // 2
    return (distance_BL >= 0) & (distance_BL < size)
