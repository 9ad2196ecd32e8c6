"""Algorithm 1, lines 2 and 7 to 14, for one forecaster, line by line and without rounding.

Rewards, eta and L are taken as the fractions that their floats are, and so is ln v = eta sum R: who is wiped out is
decided exactly, ties included. Exponentials have 28 decimal digits, and no weight is too small for them.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction


class ExactForecaster:
    """The experts of one forecaster: N weights, and who is left."""

    def __init__(
        self, num_experts: int, *, step_size: float, reward_bound: float, horizon: int, zeta: float | None
    ) -> None:
        self.eta, self.bound = Fraction(step_size), Fraction(reward_bound)
        self.horizon, self.zeta = horizon, None if zeta is None else Fraction(zeta)
        self.t = 0
        self.alive = set(range(num_experts))  # line 2: I_0
        self.ln_v = dict.fromkeys(self.alive, Fraction(0))  # line 2: v_0,i = 1
        self.gamma = Decimal(1)
        self.mixture_total = Decimal(0)

    def feedback(self, *rewards_of_feedbacks: Sequence[float]) -> None:
        """One update by the feedbacks of a round, which come together."""
        mixture = self.mixture()
        for rewards in rewards_of_feedbacks:
            self.t += 1
            for i in self.alive:  # line 7
                reward = max(-self.bound, min(self.bound, Fraction(rewards[i])))  # line 9
                self.ln_v[i] += self.eta * reward  # line 10
                self.mixture_total += mixture[i] * _decimal(reward)
        if self.zeta is None:
            return
        left = max(self.horizon - self.t, 0)
        line = max(self.ln_v[i] for i in self.alive) - 2 * self.eta * self.bound * left * self.zeta  # line 12
        survivors = {i for i in self.alive if not self.ln_v[i] < line}  # line 13
        self.gamma *= self._weight(self.alive, survivors) / self._weight(survivors, survivors)
        self.alive = survivors

    def mixture(self) -> dict[int, Decimal]:
        """u of those alive (equation 1)."""
        total = self._weight(self.alive, self.alive)
        return {i: self._weight({i}, self.alive) / total for i in sorted(self.alive)}

    def _weight(self, experts: set[int], among: set[int]) -> Decimal:
        """The sum of v, in units of the largest v of some: exponentials of thousands are beyond any number."""
        largest = max(self.ln_v[i] for i in among)
        return sum((_decimal(self.ln_v[i] - largest).exp() for i in sorted(experts)), Decimal(0))


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)
