"""Algorithm 1 of the paper, line by line, for one forecaster, in plain numbers: the fast code must agree with it."""

import math
from collections.abc import Sequence
from fractions import Fraction


class PlainForecaster:
    """Lines 2 and 7-14 of algorithm 1, with weights in the linear domain as the paper writes them."""

    def __init__(
        self, num_experts: int, *, step_size: float, reward_bound: float, horizon: int, zeta: float | None
    ) -> None:
        self.weights = dict.fromkeys(range(num_experts), 1.0)  # line 2: v_0,i = 1
        self.step_size, self.reward_bound, self.horizon, self.zeta = step_size, reward_bound, horizon, zeta
        self.t = 0
        self.tie = False
        """Whether an expert other than the leader ever stood on the threshold, where rounding decides."""

    def mixture(self) -> dict[int, float]:
        total = sum(self.weights.values())
        return {i: weight / total for i, weight in self.weights.items()}

    def feedback(self, *rewards_of_feedbacks: Sequence[float]) -> None:
        """Lines 9-10 for every feedback, then lines 12-14 once: the feedbacks of a round come together."""
        for rewards in rewards_of_feedbacks:
            self.t += 1
            for i in self.weights:
                clipped = max(-self.reward_bound, min(self.reward_bound, rewards[i]))  # line 9
                self.weights[i] *= math.exp(self.step_size * clipped)  # line 10
        if self.zeta is not None:
            left = max(self.horizon - self.t, 0)
            exponent = Fraction(-2) * Fraction(self.step_size) * Fraction(self.reward_bound) * left
            threshold = max(self.weights.values()) * math.exp(float(exponent) * self.zeta)  # line 12
            leader = max(self.weights, key=self.weights.__getitem__)
            self.tie |= any(
                math.isclose(weight, threshold, rel_tol=1e-9)
                for i, weight in self.weights.items()
                if i != leader
            )
            self.weights = {
                i: weight for i, weight in self.weights.items() if not weight < threshold
            }  # 13-14
