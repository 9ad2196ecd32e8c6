"""The wipeout, alone. That it never removes the best expert in hindsight (lemma 1) is tested with the theorems."""

import pytest
import torch

from xnas.experts.state import ExpertRule, ExpertState, update_experts
from xnas.experts.wipeout import survivors


def wipe(log_v: list[float], *, left: int, zeta: float = 1.0, alive: list[bool] | None = None) -> list[bool]:
    log_v_EK = torch.tensor([log_v], dtype=torch.float64)
    alive_EK = torch.tensor([alive or [True] * len(log_v)])
    kept_EK = survivors(
        log_v_EK,
        alive_EK,
        step_size=0.5,
        reward_bound=2.0,
        num_feedbacks=20,
        feedbacks_left=left,
        zeta=zeta,
    )
    kept: list[bool] = kept_EK[0].tolist()
    return kept


def test_an_expert_goes_when_it_lags_by_more_than_two_eta_l_for_each_feedback_to_come() -> None:
    assert wipe([0.0, -19.99, -20.0, -20.01], left=10) == [True, True, True, False]


def test_zeta_relaxes_the_threshold() -> None:
    assert wipe([0.0, -4.99, -5.01], left=10, zeta=0.25) == [True, True, False]


def test_the_threshold_holds_where_its_exponential_is_zero() -> None:
    assert wipe([0.0, -19_999.0, -20_001.0], left=10_000) == [True, True, False]


def test_the_leader_among_the_living_decides() -> None:
    assert wipe([100.0, 0.0, -1.0], left=10, alive=[False, True, True]) == [False, True, True]


def test_past_the_horizon_only_leaders_stay_and_ties_stay_together() -> None:
    assert wipe([1.0, 1.0, 0.0], left=0) == [True, True, False]
    assert wipe([1.0, 1.0, 0.0], left=-5) == [True, True, False]


@pytest.mark.parametrize("step_size", [0.1, 0.3, 0.7])
def test_experts_that_earned_the_same_in_another_order_end_together(step_size: float) -> None:
    # Ten times 0.1, then ten times -0.1, is not zero in float64, and not what it is the other way round.
    rewards = [1.0] * 10 + [-1.0] * 10
    state = ExpertState.initial(1, 2)
    for first in rewards:
        feedback_1EK = torch.tensor([[[first, -first]]], dtype=torch.float64)
        state = update_experts(
            state, feedback_1EK, rule=ExpertRule(step_size=step_size, horizon=len(rewards))
        )
    assert state.log_v_EK[0, 0] != state.log_v_EK[0, 1]
    assert state.alive_EK.all()


def test_an_expert_on_the_line_stays_and_leads_by_the_horizon() -> None:
    # At T / 2 it is 2 eta L (T - t) behind, minus one part in a million million. With this step size the sums are off
    # by more than that.
    rule, ahead = ExpertRule(step_size=0.1, horizon=2000), 1e-12
    state = ExpertState.initial(1, 2)
    for t in range(rule.horizon):
        reward = -1.0 + (ahead if t == 0 else 0.0) if t < rule.horizon // 2 else 1.0
        state = update_experts(state, torch.tensor([[[reward, -reward]]], dtype=torch.float64), rule=rule)
        assert state.alive_EK[0, 0], t


def test_what_rounding_forgives_is_far_less_than_one_feedback_brings() -> None:
    short = torch.tensor([[0.0, -1e-6]], dtype=torch.float64)
    everyone = torch.ones(1, 2, dtype=torch.bool)
    kept_EK = survivors(
        short, everyone, step_size=0.05, reward_bound=1.0, num_feedbacks=2000, feedbacks_left=0
    )
    assert kept_EK.tolist() == [[True, False]]
