"""Learning rates over a training."""

import math


def cosine(epoch: int, *, epochs: int, start: float, end: float) -> float:
    """The learning rate of an epoch, counted from 0: half a cosine from `start` to `end` (Loshchilov & Hutter 2017)."""
    return end + (start - end) * (1 + math.cos(math.pi * epoch / epochs)) / 2
