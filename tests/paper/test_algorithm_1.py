"""The vectorised update, wipeout and ledger against algorithm 1 line by line and without rounding."""

import math
import random

import pytest
import torch

from xnas.experts.regret import RegretLedger
from xnas.experts.state import ExpertRule, ExpertState, update_experts
from xnas.experts.step_size import optimal_step_size

from .exactly import ExactForecaster

GRID = 2**20
"""Rewards are multiples of L / GRID: who is below the line is so by far more than float64 rounds."""


def random_rule(rng: random.Random, num_experts: int) -> ExpertRule:
    horizon, bound = rng.randint(1, 40), 2.0 ** rng.randint(-3, 3)
    return ExpertRule(
        step_size=10 ** rng.uniform(-2, 2)
        * optimal_step_size(num_experts, horizon=horizon, reward_bound=bound),
        reward_bound=bound,
        horizon=horizon,
        zeta=rng.choice([None, 1.0, 1.0, 0.5, 0.1]),
    )


def random_rewards(rng: random.Random, num_experts: int, bound: float, kind: str) -> list[float]:
    """Of one feedback, multiples of L / GRID; some are beyond the bound."""
    if kind == "coins":  # ties, on the line and among leaders
        rewards = [rng.choice([-1.0, 0.0, 1.0]) for _ in range(num_experts)]
    elif kind == "spread":  # some experts fall behind as fast as can be
        rewards = [1 - 2 * i / (num_experts - 1) for i in range(num_experts)]
    else:
        rewards = [rng.gauss(0.3 * i, 0.7) for i in range(num_experts)]
    return [bound * round(GRID * reward) / GRID for reward in rewards]


@pytest.mark.parametrize("kind", ["coins", "spread", "noise"])
@pytest.mark.parametrize("seed", range(40))
def test_update_wipeout_and_ledger_agree_with_algorithm_1_without_rounding(seed: int, kind: str) -> None:
    rng = random.Random(f"{seed} {kind}")
    num_experts, games = rng.randint(2, 8), 2
    rule = random_rule(rng, num_experts)
    exact = [
        ExactForecaster(
            num_experts,
            step_size=rule.step_size,
            reward_bound=rule.reward_bound,
            horizon=rule.horizon,
            zeta=rule.zeta,
        )
        for _ in range(games)
    ]
    state, ledger = ExpertState.initial(games, num_experts), RegretLedger.initial(games, num_experts)
    while state.num_feedbacks < rule.horizon:
        feedbacks = min(rng.choice([1, 1, 1, 3]), rule.horizon - state.num_feedbacks)
        rewards_FEK = torch.tensor(
            [
                [random_rewards(rng, num_experts, rule.reward_bound, kind) for _ in exact]
                for _ in range(feedbacks)
            ],
            dtype=torch.float64,
        )
        before, state = state, update_experts(state, rewards_FEK, rule=rule)
        ledger = ledger.record(rewards_FEK, before=before, after=state, reward_bound=rule.reward_bound)
        for e, forecaster in enumerate(exact):
            forecaster.feedback(*rewards_FEK[:, e].tolist())
            assert state.alive_EK[e].nonzero().flatten().tolist() == sorted(forecaster.alive)
            for i, weight in forecaster.mixture().items():
                assert state.mixture_EK[e, i].item() == pytest.approx(float(weight), rel=1e-9, abs=1e-300)
    for e, forecaster in enumerate(exact):
        assert ledger.log_gamma_E[e].item() == pytest.approx(math.log(forecaster.gamma), rel=1e-9, abs=1e-15)
        mixture_total = pytest.approx(float(forecaster.mixture_total), rel=1e-9, abs=1e-12)
        assert ledger.mixture_rewards_E[e].item() == mixture_total
        for i in forecaster.alive:
            total = float(forecaster.ln_v[i] / forecaster.eta)
            assert ledger.rewards_EK[e, i].item() == pytest.approx(total, rel=1e-12, abs=1e-12)


def test_the_exact_forecaster_does_a_game_that_was_worked_by_hand() -> None:
    # eta = L = 1, T = 3. After t = 1 the weights are e, 1, 1/e and the line is e e^-4: all stay. After t = 2 they are
    # e^2, 1, e^-2 and the line is e^2 e^-2 = 1: the second stands on it and stays, the third goes. Gamma is
    # (e^2 + 1 + e^-2) / (e^2 + 1). After t = 3 they are e and e: both lead.
    forecaster = ExactForecaster(3, step_size=1.0, reward_bound=1.0, horizon=3, zeta=1.0)
    forecaster.feedback([1.0, 0.0, -1.0])
    assert forecaster.alive == {0, 1, 2}
    forecaster.feedback([7.0, 0.0, -1.0])
    assert forecaster.alive == {0, 1}
    e = math.e
    assert float(forecaster.gamma) == pytest.approx((e**2 + 1 + e**-2) / (e**2 + 1))
    assert float(forecaster.mixture()[1]) == pytest.approx(1 / (1 + e**2))
    forecaster.feedback([-1.0, 1.0, 0.0])
    assert forecaster.alive == {0, 1}
    assert forecaster.mixture()[0] == forecaster.mixture()[1]
    first, second, third = 0.0, (e - 1 / e) / (e + 1 + 1 / e), (1 - e**2) / (1 + e**2)
    assert float(forecaster.mixture_total) == pytest.approx(first + second + third)
