"""The regret ledger, against sums worked by hand and by plain code. The theorems are tested in tests/paper."""

import math
import random
from dataclasses import fields

import pytest
import torch

from xnas.experts.regret import RegretLedger, RegretSummary, log_wipeout_factor, regret_bound
from xnas.experts.state import ExpertRule, ExpertState, update_experts


def played(rewards: list[list[list[float]]], *, rule: ExpertRule) -> tuple[ExpertState, RegretLedger]:
    """State and ledger of one forecaster after rewards[update][feedback][expert]."""
    num_experts = len(rewards[0][0])
    state, ledger = ExpertState.initial(1, num_experts), RegretLedger.initial(1, num_experts)
    for feedbacks in rewards:
        rewards_FEK = torch.tensor(feedbacks, dtype=torch.float64).unsqueeze(1)
        before, state = state, update_experts(state, rewards_FEK, rule=rule)
        ledger = ledger.record(rewards_FEK, before=before, after=state, reward_bound=rule.reward_bound)
    return state, ledger


def test_a_game_worked_by_hand() -> None:
    # L = 2, eta = ln 2 / 2: a reward of 2 doubles a weight. T = 3.
    # t = 1: u = (1/2, 1/2). Rewards 2, -3 -> 2, -2 and 0 for the mixture. v = (2, 1/2); the line is 2 / 2^4, both stay.
    # t = 2: u = (4/5, 1/5). Rewards 2, -1: 7/5 for the mixture. v = (4, 2^-3/2); the line is 4 / 2^2 = 1: the second
    #        goes, with Gamma = (4 + 2^-3/2) / 4.
    # t = 3: u = (1, 0). Rewards -4 -> -2 and nothing heard of the second; -2 for the mixture.
    eta = math.log(2) / 2
    rule = ExpertRule(step_size=eta, reward_bound=2.0, horizon=3)
    state, ledger = played([[[2.0, -3.0]], [[2.0, -1.0]], [[-4.0, 100.0]]], rule=rule)
    assert state.alive_EK.tolist() == [[True, False]]
    assert ledger.rewards_EK.tolist() == [[2.0, -3.0]]
    assert ledger.mixture_rewards_E.item() == pytest.approx(0 + 7 / 5 - 2)
    assert ledger.clipped_EK.tolist() == [[1, 1]]
    assert ledger.num_rewards_EK.tolist() == [[3, 2]]
    assert ledger.reward_sizes_EK.tolist() == [[8.0, 4.0]]
    assert (ledger.num_feedbacks, ledger.squared_feedbacks) == (3, 3)
    log_gamma = math.log(1 + 2**-1.5 / 4)
    assert ledger.log_gamma_E.item() == pytest.approx(log_gamma)

    regret = ledger.regret(state.alive_EK, rule=rule)
    assert regret.regret_E.item() == pytest.approx(2 + 3 / 5)
    without = eta * 4 * 3 / 2 + math.log(2) / eta
    assert regret.bound_without_wipeout_E.item() == pytest.approx(without)
    assert regret.bound_E.item() == regret.theorem_E.item() == pytest.approx(without - log_gamma / eta)
    assert regret.gap_E.item() == pytest.approx(without - log_gamma / eta - 2.6)
    assert regret.holds_E.tolist() == [True]
    assert regret.clip_rate_E.item() == pytest.approx(2 / 5)
    assert regret.reward_size_E.item() == pytest.approx(12 / 5)


def test_feedbacks_at_the_same_weights_count_with_their_square() -> None:
    rule = ExpertRule(step_size=0.1, horizon=9, zeta=None)
    state, ledger = played([[[1.0, -1.0]] * 3, [[1.0, 0.0]] * 2, [[0.5, 0.5]]], rule=rule)
    assert (ledger.num_feedbacks, ledger.squared_feedbacks) == (6, 9 + 4 + 1)
    regret = ledger.regret(state.alive_EK, rule=rule)
    assert regret.theorem_E.item() == pytest.approx(0.1 * 6 / 2 + math.log(2) / 0.1)
    assert regret.bound_E.item() == pytest.approx(0.1 * 14 / 2 + math.log(2) / 0.1)
    second = 1 / (1 + math.exp(-0.6))
    assert regret.regret_E.item() == pytest.approx(5.5 - 3 * 0.0 - 2 * second - 0.5)


@pytest.mark.parametrize("seed", range(20))
def test_the_sums_are_those_of_a_plain_recomputation_from_all_rewards(seed: int) -> None:
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    games, experts, bound = 3, rng.randint(2, 6), 0.8
    rule = ExpertRule(step_size=0.1, reward_bound=bound, horizon=90, zeta=rng.choice([None, 1.0, 0.2]))
    state, ledger = ExpertState.initial(games, experts), RegretLedger.initial(games, experts)
    history = []
    while state.num_feedbacks < rule.horizon:
        size = (rng.choice([1, 2, 3]), games, experts)
        rewards_FEK = torch.randn(size, dtype=torch.float64, generator=generator)
        rewards_FEK += torch.linspace(-0.5, 0.5, experts)
        before, state = state, update_experts(state, rewards_FEK, rule=rule)
        ledger = ledger.record(rewards_FEK, before=before, after=state, reward_bound=bound)
        history.append((rewards_FEK, before, state))
    regret = ledger.regret(state.alive_EK, rule=rule)
    for e in range(games):
        totals, mixture_total, gamma = [0.0] * experts, 0.0, 1.0
        heard = clipped = size_sum = 0.0
        for rewards_FEK, before, after in history:
            alive = [i for i in range(experts) if before.alive_EK[e, i]]
            left = [i for i in alive if after.alive_EK[e, i]]
            u = before.mixture_EK[e].tolist()
            for rewards in rewards_FEK[:, e].tolist():
                for i in alive:
                    reward = max(-bound, min(bound, rewards[i]))
                    totals[i] += reward
                    mixture_total += u[i] * reward
                    heard += 1
                    clipped += abs(rewards[i]) > bound
                    size_sum += abs(rewards[i])
            v = after.log_v_EK[e].exp().tolist()
            gamma *= sum(v[i] for i in alive) / sum(v[i] for i in left)
        best = max(totals[i] for i in range(experts) if state.alive_EK[e, i])
        assert ledger.rewards_EK[e].tolist() == pytest.approx(totals)
        assert regret.regret_E[e].item() == pytest.approx(best - mixture_total)
        assert regret.log_gamma_E[e].item() == pytest.approx(math.log(gamma), abs=1e-12)
        assert regret.clip_rate_E[e].item() == pytest.approx(clipped / heard)
        assert regret.reward_size_E[e].item() == pytest.approx(size_sum / heard)
        squared = sum(len(rewards_FEK) ** 2 for rewards_FEK, _, _ in history)
        bound_now = 0.1 * bound**2 * squared / 2 + (math.log(experts) - math.log(gamma)) / 0.1
        assert regret.bound_E[e].item() == pytest.approx(bound_now)


def test_a_ledger_is_as_large_after_many_feedbacks_as_before_any() -> None:
    def size(ledger: RegretLedger) -> int:
        values = [getattr(ledger, item.name) for item in fields(ledger)]
        tensors = [value for value in values if isinstance(value, torch.Tensor)]
        assert all(isinstance(value, torch.Tensor | int) for value in values)
        assert not any(value.requires_grad for value in tensors)
        return sum(value.untyped_storage().nbytes() for value in tensors)

    _, ledger = played([[[1.0, -0.5, 0.0]]] * 2000, rule=ExpertRule(step_size=0.01, horizon=4000))
    assert ledger.num_feedbacks == 2000
    assert size(ledger) == size(RegretLedger.initial(1, 3))


def test_a_new_ledger_has_no_regret_before_any_reward() -> None:
    rule = ExpertRule(step_size=0.5, horizon=10)
    regret = RegretLedger.initial(2, 4).regret(torch.ones(2, 4, dtype=torch.bool), rule=rule)
    assert regret.regret_E.tolist() == regret.clip_rate_E.tolist() == regret.reward_size_E.tolist() == [0, 0]
    assert regret.bound_E.tolist() == pytest.approx([math.log(4) / 0.5] * 2)
    assert regret.holds_E.all()


def test_a_standing_says_where_the_bound_is_broken() -> None:
    numbers_E = torch.tensor([1.0, 2.0], dtype=torch.float64)
    regret = RegretSummary(
        regret_E=torch.tensor([1.0 + 1e-12, 2.1], dtype=torch.float64),
        theorem_E=numbers_E,
        bound_E=numbers_E,
        bound_without_wipeout_E=numbers_E,
        log_gamma_E=numbers_E,
        clip_rate_E=numbers_E,
        reward_size_E=numbers_E,
    )
    assert regret.holds_E.tolist() == [True, False]
    assert regret.gap_E[1].item() == pytest.approx(-0.1)


def test_the_wipeout_factor_is_exact_where_log_weights_are_thousands() -> None:
    # Of ten weights as large as the leader's nine are lost, at a level where float64 tells 1e-12 apart.
    log_v_EK = torch.full((1, 10), 12_345.678, dtype=torch.float64)
    before = ExpertState(log_v_EK=log_v_EK, alive_EK=torch.ones(1, 10, dtype=torch.bool))
    after = ExpertState(log_v_EK=log_v_EK, alive_EK=torch.arange(10).view(1, 10) == 3)
    assert log_wipeout_factor(before, after).item() == pytest.approx(math.log(10), rel=1e-15)
    assert log_wipeout_factor(before, before).item() == 0


def test_a_lone_expert_has_no_regret_and_no_bound_whatever_its_step_size() -> None:
    assert regret_bound(1, step_size=0.0, reward_bound=1.0, squared_feedbacks=5) == 0


def test_what_has_no_bound_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"step_size must be positive for the bound to exist; got 0\.0"):
        regret_bound(2, step_size=0.0, reward_bound=1.0, squared_feedbacks=5)
    with pytest.raises(ValueError, match="num_experts must be at least 1; got 0"):
        regret_bound(0, step_size=1.0, reward_bound=1.0, squared_feedbacks=5)
