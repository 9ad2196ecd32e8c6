"""What changes from epoch to epoch of a training: the learning rate, and the probability of drop-path.

Power-cosine annealing (sharpDARTS, Hundt et al. 2019): with c = (1 + cos(pi t / T)) / 2, which falls from 1 to 0,
eta(t) = eta_min + (eta_max - eta_min) (p^(1 + c) - p) / (p^2 - p), p > 1. As p goes to 1 the fraction goes to c, the
plain cosine (Loshchilov and Hutter 2017); the larger p, the sooner the rate falls. t: epochs behind; T: epochs in all.
"""

import math


def power_cosine(t: float, *, horizon: float, power: float = 1.0) -> float:
    """(p^(1 + c) - p) / (p^2 - p) at t of T = `horizon`, from 1 down to 0; for p = 1 the plain cosine, c itself."""
    c = (1 + math.cos(math.pi * t / horizon)) / 2
    if power == 1:
        return c
    # The fraction is (p^c - 1) / (p - 1). As written, near p = 1, it is one rounding error by another; here p - 1 is
    # exact, and log1p and expm1 keep all digits of it.
    return math.expm1(c * math.log1p(power - 1)) / (power - 1)


def learning_rate(
    epoch: int,
    *,
    epochs: int,
    start: float,
    end: float,
    power: float = 1.0,
    cycles: int = 1,
    cycle_decay: float = 1.0,
) -> float:
    """The learning rate of an epoch, counted from 0: eta_max = `start`, eta_min = `end`.

    Each cycle has `cycle_decay` times the amplitude eta_max - eta_min of the one before.
    Cycle i begins with epoch floor(i epochs / cycles): where cycles do not divide the epochs, some are an epoch longer,
    and each still begins at its peak and anneals over its own length. eta_min would come after the last epoch.
    """
    # The last cycle that begins at this epoch or before it; to the last of all its end belongs too.
    cycle = min(((epoch + 1) * cycles - 1) // epochs, cycles - 1)
    begin, following = (number * epochs // cycles for number in (cycle, cycle + 1))
    share = power_cosine(epoch - begin, horizon=following - begin, power=power)
    return end + (start - end) * cycle_decay**cycle * share


def drop_probability(epoch: int, *, epochs: int, last: float) -> float:
    """The probability of an epoch, counted from 0, that a path is dropped: linear, from 0 to `last` in the last one."""
    return last * epoch / (epochs - 1) if epochs > 1 else last
