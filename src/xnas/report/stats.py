"""How sure a number is: Wilson's interval of a share, mean and spread of a few values."""

import math
from collections.abc import Sequence

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def wilson_interval(share: float, *, samples: int, z: float = Z95) -> tuple[float, float]:
    """The interval of the true share, when `share` of `samples` independent samples were hits (Wilson, 1927).

    It stays within [0, 1] and has a width even at 0 and 1. It covers the luck of the test set,
    not that of the training. Raises ValueError for a share out of [0, 1] or fewer than one sample.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1]; got {share}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1; got {samples}")
    weight = z * z / samples
    centre = (share + weight / 2) / (1 + weight)
    reach = z * math.sqrt(share * (1 - share) / samples + weight / (4 * samples)) / (1 + weight)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def mean(values: Sequence[float]) -> float:
    """Their mean. Raises ValueError if there are none."""
    if not values:
        raise ValueError("the mean of 0 values does not exist; give at least 1")
    return math.fsum(values) / len(values)


def standard_deviation(values: Sequence[float]) -> float | None:
    """Their sample standard deviation, with n - 1; None for fewer than two values, which have no spread."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))
