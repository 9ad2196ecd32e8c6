"""The experts' update and wipeout as a whole, against algorithm 1 line by line."""

import math
import random

import pytest
import torch

from xnas.experts.state import ExpertRule, ExpertState, update_experts

from ...helpers.reference_experts import PlainForecaster


def random_rule(rng: random.Random) -> ExpertRule:
    return ExpertRule(
        step_size=10 ** rng.uniform(-3, -0.5),
        reward_bound=rng.choice([0.5, 1.0, 2.0]),
        horizon=rng.randint(1, 60),
        zeta=rng.choice([None, 1.0, 0.5, 0.1]),
    )


@pytest.mark.parametrize("seed", range(300))
def test_the_state_agrees_with_algorithm_1_line_by_line_over_random_games(seed: int) -> None:
    rng = random.Random(seed)
    rule, num_experts, num_forecasters = random_rule(rng), rng.randint(2, 8), rng.randint(1, 4)
    state = ExpertState.initial(num_forecasters, num_experts)
    plain = [
        PlainForecaster(
            num_experts,
            step_size=rule.step_size,
            reward_bound=rule.reward_bound,
            horizon=rule.horizon,
            zeta=rule.zeta,
        )
        for _ in range(num_forecasters)
    ]
    generator = torch.Generator().manual_seed(seed)
    bias = torch.randn(num_experts, generator=generator)
    while state.num_feedbacks < rule.horizon:
        feedbacks = min(rng.randint(1, 5), rule.horizon - state.num_feedbacks)
        shape = (feedbacks, num_forecasters, num_experts)
        rewards_FEK = torch.randn(shape, dtype=torch.float64, generator=generator) + bias
        state = update_experts(state, rewards_FEK, rule=rule)
        for e, forecaster in enumerate(plain):
            forecaster.feedback(*rewards_FEK[:, e].tolist())
            if forecaster.tie:
                return
            alive = state.alive_EK[e].nonzero().flatten().tolist()
            assert alive == sorted(forecaster.weights)
            expected = forecaster.mixture()
            assert state.mixture_EK[e][alive].tolist() == pytest.approx(
                [expected[i] for i in alive], rel=1e-9
            )
            assert state.mixture_EK[e].sum().item() == pytest.approx(1)


def test_one_advance_by_many_feedbacks_equals_many_by_one_without_wipeout() -> None:
    rule = ExpertRule(step_size=0.1, horizon=100, zeta=None)
    rewards_FEK = torch.randn(40, 3, 5, generator=torch.Generator().manual_seed(0))
    at_once = update_experts(ExpertState.initial(3, 5), rewards_FEK, rule=rule)
    one_by_one = ExpertState.initial(3, 5)
    for rewards_1EK in rewards_FEK.split(1):
        one_by_one = update_experts(one_by_one, rewards_1EK, rule=rule)
    assert at_once.num_feedbacks == one_by_one.num_feedbacks == 40
    torch.testing.assert_close(at_once.log_v_EK, one_by_one.log_v_EK)


def test_weights_are_float64_whatever_the_rewards_are() -> None:
    state = update_experts(
        ExpertState.initial(1, 2), torch.ones(1, 1, 2).half(), rule=ExpertRule(step_size=1e-9, horizon=9)
    )
    assert state.log_v_EK.dtype == torch.float64
    assert state.log_v_EK.tolist() == [[1e-9, 1e-9]]


def test_nothing_overflows_at_the_papers_settings_when_one_expert_always_wins() -> None:
    rule = ExpertRule(step_size=7.5e-4, horizon=7_500_000, zeta=None)
    rewards_FEK = torch.tensor([1.0, -1.0]).expand(1000, 1, 2)
    state = ExpertState.initial(1, 2)
    for _ in range(3):
        state = update_experts(state, rewards_FEK * 1e9, rule=rule)
    state = ExpertState(log_v_EK=state.log_v_EK * 2500, alive_EK=state.alive_EK, num_feedbacks=7_500_000)
    assert state.log_v_EK.isfinite().all()
    assert state.mixture_EK.tolist() == [[1.0, 0.0]]


def test_an_expert_that_was_wiped_keeps_its_distance_to_the_leader_and_never_returns() -> None:
    rule = ExpertRule(step_size=1.0, horizon=4)
    lost = update_experts(ExpertState.initial(1, 2), torch.tensor([[[1.0, -1.0]]] * 3), rule=rule)
    assert lost.alive_EK.tolist() == [[True, False]]
    later = update_experts(lost, torch.tensor([[[-1.0, 1.0]]]), rule=rule)
    assert later.alive_EK.tolist() == [[True, False]]
    assert later.mixture_EK.tolist() == [[1.0, 0.0]]
    assert (later.log_v_EK[0, 0] - later.log_v_EK[0, 1]).item() == pytest.approx(6)


def test_no_expert_goes_before_half_the_horizon_with_zeta_1() -> None:
    rule = ExpertRule(step_size=0.25, horizon=100)
    state = ExpertState.initial(1, 3)
    rewards_1EK = torch.tensor([[[1.0, -1.0, 0.0]]])
    while state.alive_EK.all():
        state = update_experts(state, rewards_1EK, rule=rule)
    assert state.num_feedbacks == 51  # a lead of 2 eta t passes 2 eta (T - t) just after T / 2


def test_at_the_horizon_only_leaders_are_left() -> None:
    state = ExpertState.initial(2, 3)
    rewards_FEK = torch.tensor([[[0.1, 0.2, 0.2], [0.3, 0.1, 0.0]]])
    state = update_experts(state, rewards_FEK, rule=ExpertRule(step_size=0.1, horizon=1))
    assert state.alive_EK.tolist() == [[False, True, True], [True, False, False]]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"step_size": -1.0}, "step_size must be finite and not negative; got -1.0"),
        ({"reward_bound": 0.0}, "reward_bound must be positive and finite; got 0.0"),
        ({"reward_bound": math.nan}, "reward_bound must be positive and finite; got nan"),
        ({"horizon": 0}, "horizon must be at least 1 feedback; got 0"),
        ({"zeta": 0.0}, "zeta must lie in (0, 1]; got 0.0"),
        ({"zeta": 1.5}, "zeta must lie in (0, 1]; got 1.5"),
    ],
)
def test_a_rule_out_of_range_is_refused(settings: dict[str, float], line: str) -> None:
    with pytest.raises(ValueError) as refused:
        ExpertRule(**{"step_size": 0.1, "horizon": 10, **settings})
    assert str(refused.value) == line


def test_most_random_games_are_compared_to_their_end() -> None:
    def ends_in_a_tie(seed: int) -> bool:
        rng = random.Random(seed)
        plain = PlainForecaster(3, step_size=0.1, reward_bound=1.0, horizon=30, zeta=1.0)
        for _ in range(30):
            plain.feedback([rng.gauss(0, 1) for _ in range(3)])
        return plain.tie

    assert sum(map(ends_in_a_tie, range(100))) < 5
