"""Scheduled drop-path: which image goes without the output of which edge of a network (Zoph et al. 2018).

Whether image b keeps edge e of cell c is drawn by the address (seed, epoch, c, e, b): 53 of its random bits are a
number in [0, 1), and it keeps the edge where that is at least the probability. So a training that is resumed
drops what it would have dropped, whatever the batches are. What is kept is multiplied by 1 / (1 - probability), so that
the mean of what an edge gives is as without.

E: edges of a cell; B: images of a batch.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xnas.data.images import to_device
from xnas.data.rng import DROP_PATH, mix_address
from xnas.data.sampling import mix_addresses


def draw_paths(
    ids_B: Tensor, *, edges: Sequence[int], seed: int, epoch: int, probability: float
) -> list[Tensor]:
    """For each cell, which has so many edges, the factors (E, B) of its edges' outputs: 0 or 1 / (1 - probability).

    float32, on the device of the images' numbers `ids_B`.
    """
    bits_EB = mix_addresses(_addresses(tuple(edges), seed, epoch), ids_B)
    uniform_EB = (bits_EB >> np.uint64(11)).astype(np.float64) * 2.0**-53
    factors_EB = torch.from_numpy(
        np.where(uniform_EB >= probability, 1 / (1 - probability), 0).astype(np.float32)
    )
    return list(torch.split(to_device(factors_EB, ids_B.device), list(edges)))


@lru_cache(maxsize=2)
def _addresses(edges: tuple[int, ...], seed: int, epoch: int) -> NDArray[np.uint64]:
    """Of all edges of all cells, (E, 1): the same for all batches of an epoch."""
    numbers = [
        mix_address(DROP_PATH, seed, epoch, cell, edge)
        for cell, count in enumerate(edges)
        for edge in range(count)
    ]
    return np.array(numbers, dtype=np.uint64)[:, None]
