"""How sure a number is: Wilson's interval of a share, and the spread of a few values."""

import math
import statistics
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


def standard_deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, with n - 1; None for fewer than two values, which have no spread."""
    return statistics.stdev(values) if len(values) > 1 else None
