"""What theorem 1 promises of a search, and whether it was kept: regret and its bounds, from a group's ledger.

E: forecasters of a group; gamma_T: the aggregated wipeout factor. Regret and bounds are sums of rewards, in units of
the loss (nats) or of the rewards' own size.
"""

import math
from dataclasses import dataclass

from xnas.runs.history import Ledger

_ROUNDING = 1e-9
"""Of a sum of rewards, as a share of the bound."""


@dataclass(frozen=True, kw_only=True)
class RegretCheck:
    """A group's regret, and its bounds for the forecaster that is nearest to breaking them."""

    mean_regret: float
    regret: float
    """Of the forecaster with the smallest gap between bound and regret, as all that follow."""
    bound: float
    """The bound that holds for the updates as they were made, several feedbacks at once."""
    bound_without_wipeout: float
    theorem: float
    """Theorem 1's, as if an update followed every feedback."""
    kept: int
    """Forecasters whose regret is within the bound."""
    forecasters: int
    gamma: float
    """exp of the mean of ln gamma_T over the forecasters."""
    clip_rate: float
    """Mean share of the rewards that were clipped."""
    reward_size: float
    """Mean |R| before clipping."""
    scaled: bool = False
    """Whether rewards are in units of their own size, not of the loss."""

    @property
    def gap(self) -> float:
        """How far the worst regret is below its bound."""
        return self.bound - self.regret

    @property
    def several_at_once(self) -> bool:
        """Whether updates are of several feedbacks, so that theorem 1's own bound is not theirs."""
        return self.bound > self.theorem * (1 + _ROUNDING)


def check_regret(ledger: Ledger, *, scaled: bool = False) -> RegretCheck | None:
    """What a ledger says of its group; None of a group without forecasters."""
    count = len(ledger.regret_E)
    if not count:
        return None
    worst = min(range(count), key=lambda edge: ledger.bound_E[edge] - ledger.regret_E[edge])
    pairs = list(zip(ledger.regret_E, ledger.bound_E, strict=True))
    return RegretCheck(
        mean_regret=sum(ledger.regret_E) / count,
        regret=ledger.regret_E[worst],
        bound=ledger.bound_E[worst],
        bound_without_wipeout=ledger.bound_without_wipeout_E[worst],
        theorem=ledger.theorem_E[worst],
        kept=sum(regret <= bound + _ROUNDING * max(1.0, abs(bound)) for regret, bound in pairs),
        forecasters=count,
        gamma=math.exp(min(700.0, sum(ledger.log_gamma_E) / count)),
        clip_rate=sum(ledger.clip_rate_E) / count,
        reward_size=sum(ledger.reward_size_E) / count,
        scaled=scaled,
    )
