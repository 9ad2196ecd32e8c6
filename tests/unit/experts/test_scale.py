"""Scale-free XNAS: every forecaster takes its rewards in units of their own size (experts/scale.py)."""

import math

import pytest
import torch
from torch import Tensor

from xnas.experts.scale import RewardScale, anytime_step_size, centred
from xnas.experts.state import ExpertRule, ExpertState, update_experts_scaled
from xnas.optimizers.xnas import XNASLearner

E, N = 3, 5
EVERYBODY = torch.ones(E, N, dtype=torch.bool)


def rule_for(rounds: int, *, zeta: float | None = None) -> ExpertRule:
    return ExpertRule(step_size=anytime_step_size(N), horizon=rounds, zeta=zeta)


def play(rewards_TEK: Tensor, *, rule: ExpertRule) -> XNASLearner:
    learner = XNASLearner(rewards_TEK.shape[1], N, rule=rule, scaled=True)
    for rewards_EK in rewards_TEK:
        learner.update(-rewards_EK[None])
    return learner


def draw(seed: int, *, rounds: int = 60) -> Tensor:
    """Rewards whose sizes rise and fall by orders of magnitude, and in which some experts are better."""
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn((rounds, E, N), generator=generator, dtype=torch.float64)
    rewards += torch.randn(E, N, generator=generator, dtype=torch.float64)
    exponents = torch.randn(rounds, 1, 1, generator=generator, dtype=torch.float64).cumsum(0).clamp(-3, 3)
    return rewards * 10**exponents


@pytest.mark.parametrize("seed", range(20))
def test_weights_and_bound_agree_with_the_formulas_worked_out_from_all_rewards(seed: int) -> None:
    rewards = draw(seed)
    rule = rule_for(len(rewards))
    learner = play(rewards, rule=rule)
    assert learner.scale is not None
    for e in range(E):
        parts = [float(row.max() - row.min()) / 2 for row in rewards[:, e]]
        roots = [math.sqrt(sum(half**2 for half in parts[: t + 1])) for t in range(len(parts))]
        weights = rule.step_size / roots[-1] * rewards[:, e].sum(dim=0)
        mine = learner.log_v_EK[e]
        torch.testing.assert_close(mine - mine.mean(), weights - weights.mean())
        shortfall = sum(
            min(rule.step_size * half**2 / (2 * before), 2 * half)
            for half, before in zip(parts, [roots[0], *roots[:-1]], strict=True)
        )
        bound = math.log(N) / rule.step_size + shortfall / roots[-1]
        assert float(learner.scale.bound(N, step_size=rule.step_size)[e]) == pytest.approx(bound)
        assert float(learner.scale.largest_E[e]) == pytest.approx(max(parts))


@pytest.mark.parametrize("seed", range(10))
def test_the_unit_of_the_loss_and_what_all_experts_share_change_nothing(seed: int) -> None:
    rewards = draw(seed)
    rule = rule_for(len(rewards), zeta=0.5)
    units = torch.tensor([1e-6, 3.0, 1e5], dtype=torch.float64)[:, None]
    shared = torch.linspace(-2, 2, len(rewards), dtype=torch.float64)[:, None, None]
    plain, changed = play(rewards, rule=rule), play(units * (rewards + shared), rule=rule)
    torch.testing.assert_close(changed.mixture_EK, plain.mixture_EK, rtol=1e-6, atol=1e-9)
    assert (changed.alive_EK == plain.alive_EK).all()


@pytest.mark.parametrize("zeta", [None, 1.0, 0.1])
@pytest.mark.parametrize("seed", range(60))
def test_the_regret_is_within_its_bound_whatever_the_rewards_do(seed: int, zeta: float | None) -> None:
    learner = play(draw(seed), rule=rule_for(60, zeta=zeta))
    assert learner.regret is not None
    assert learner.regret.holds_E.all()


@pytest.mark.parametrize("seed", range(10))
def test_an_adversary_who_raises_the_stakes_whenever_somebody_leads_stays_within_the_bound(seed: int) -> None:
    learner = XNASLearner(1, N, rule=rule_for(200), scaled=True)
    stake, generator = 1.0, torch.Generator().manual_seed(seed)
    for _ in range(200):
        u_EK = learner.mixture_EK
        rewards_EK = -stake * (u_EK == u_EK.max()).double()
        if u_EK.max() > 0.5 or torch.rand((), generator=generator) < 0.03:
            stake = min(2 * stake, 1e12)
        learner.update(-rewards_EK[None])
        assert learner.regret is not None
        assert learner.regret.holds_E.all()


def test_steps_that_are_too_large_break_the_bound_of_those_that_are_not() -> None:
    # Else the tests above would prove nothing: whoever follows the leader is led astray.
    right = rule_for(200)
    for step_size, astray in ((right.step_size, False), (100 * right.step_size, True)):
        learner = XNASLearner(1, N, rule=ExpertRule(step_size=step_size, horizon=200, zeta=None), scaled=True)
        for _ in range(200):
            leader_E = learner.mixture_EK.argmax(dim=-1)
            learner.update(torch.nn.functional.one_hot(leader_E, N).double()[None])
        assert learner.regret is not None
        assert (float(learner.regret.regret_E) > 2 * math.sqrt(math.log(N))) == astray


@pytest.mark.parametrize("rounds", [10, 100, 1000])
def test_for_rewards_of_steady_size_the_bound_is_that_of_a_known_size_and_length_times_root_two(
    rounds: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = torch.rand((rounds, E, N), generator=generator, dtype=torch.float64) * 4 - 2
    rewards[:, :, 0], rewards[:, :, 1] = 2.0, -2.0  # half of the range is 2 in every round
    scale = play(rewards, rule=rule_for(rounds)).scale
    assert scale is not None
    theorem = 2 * math.sqrt(2 * rounds * math.log(N))
    bound_E = scale.bound(N, step_size=anytime_step_size(N)) * scale.unit_E
    assert (bound_E >= theorem).all()
    assert (bound_E <= math.sqrt(2) * theorem + 2 * anytime_step_size(N)).all()


def test_weights_at_any_time_are_those_of_a_search_that_ends_there() -> None:
    rewards = draw(7)
    short, long = play(rewards[:20], rule=rule_for(20)), play(rewards[:20], rule=rule_for(2000))
    assert torch.equal(short.mixture_EK, long.mixture_EK)


def test_nobody_is_wiped_out_who_could_still_win_with_rewards_as_large_as_the_largest() -> None:
    rule = rule_for(60, zeta=1.0)
    for seed in range(30):
        rewards = draw(seed)
        state, scale = ExpertState.initial(E, N), RewardScale.initial(E)
        total = torch.zeros(E, N, dtype=torch.float64)
        for t, rewards_EK in enumerate(rewards, start=1):
            before = state.alive_EK
            state, scale = update_experts_scaled(state, scale, rewards_EK, rule=rule)
            total += centred(rewards_EK, before)
            behind = total.masked_fill(~before, -torch.inf).amax(dim=-1, keepdim=True) - total
            reach = 2 * scale.largest_E[:, None] * (60 - t)
            gone = before & ~state.alive_EK
            assert (behind[gone] >= reach.expand_as(behind)[gone] * (1 - 1e-9)).all()


def test_what_several_replicas_and_samples_say_in_a_round_is_one_feedback() -> None:
    rewards = draw(3)
    rule = rule_for(60, zeta=0.3)
    parts = torch.rand((60, 4, E, N), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parts = parts - parts.mean(dim=1, keepdim=True) + rewards[:, None] / 4
    together, apart = play(rewards, rule=rule), XNASLearner(E, N, rule=rule, scaled=True)
    for parts_FEK in parts:
        apart.update(-parts_FEK)
    assert apart.num_feedbacks == together.num_feedbacks == 60
    torch.testing.assert_close(apart.mixture_EK, together.mixture_EK)


def test_rewards_that_are_all_equal_or_zero_move_nothing() -> None:
    state, scale = ExpertState.initial(E, N), RewardScale.initial(E)
    for value in (0.0, 3.0):
        rewards_EK = torch.full((E, N), value, dtype=torch.float64)
        state, scale = update_experts_scaled(state, scale, rewards_EK, rule=rule_for(10, zeta=1.0))
    assert not state.log_v_EK.any()
    assert state.alive_EK.all()
    assert not scale.squares_E.any()
    assert scale.bound(N, step_size=0.1).isfinite().all()


def test_a_lone_expert_has_neither_step_nor_regret_nor_bound() -> None:
    rule = ExpertRule(step_size=anytime_step_size(1), horizon=5)
    learner = XNASLearner(2, 1, rule=rule, scaled=True)
    for reward in (1.0, -3.0):
        learner.update(torch.full((1, 2, 1), reward))
    assert rule.step_size == 0
    assert learner.regret is not None
    assert learner.regret.holds_E.all()
    assert not learner.regret.regret_E.any()
    assert not learner.regret.bound_E.any()


def test_a_learner_goes_on_from_its_state_with_its_scale() -> None:
    rewards = draw(5)
    rule = rule_for(60, zeta=0.2)
    whole, first = play(rewards, rule=rule), play(rewards[:30], rule=rule)
    second = XNASLearner(E, N, rule=rule, scaled=True)
    second.load_state_dict(first.state_dict())
    for rewards_EK in rewards[30:]:
        second.update(-rewards_EK[None])
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
