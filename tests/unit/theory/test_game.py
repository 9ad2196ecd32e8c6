"""Games between experts: sums, leaders and noise, against a plain reference."""

import math

import pytest
import torch

from xnas.theory.contenders import CONTENDERS, build_learner, tournament
from xnas.theory.game import NOBODY, check_counts, leaders, play, standard_noise


def test_a_game_is_what_a_plain_loop_over_one_game_gives() -> None:
    rewards_TEK = standard_noise(3, rounds=40, experts=4).clamp(-1, 1)
    learner = build_learner("xnas", games=3, experts=4, rounds=40, step_size=0.2, zeta=None)
    outcome = play(learner, lambda t: rewards_TEK[t], rounds=40)
    for game in range(3):
        log_v, mixture_earned = [0.0] * 4, 0.0
        for row in rewards_TEK[:, game].tolist():
            total = sum(math.exp(value) for value in log_v)
            mixture_earned += sum(math.exp(v) / total * reward for v, reward in zip(log_v, row, strict=True))
            log_v = [v + 0.2 * reward for v, reward in zip(log_v, row, strict=True)]
        earned = rewards_TEK[:, game].sum(dim=0).tolist()
        assert float(outcome.mixture_rewards_E[game]) == pytest.approx(mixture_earned)
        assert float(outcome.regret_E[game]) == pytest.approx(max(earned) - mixture_earned)
        assert int(outcome.leader_E[game]) == earned.index(max(earned)) == int(outcome.best_E[game])


@pytest.mark.parametrize("name", [each.name for each in CONTENDERS])
def test_nobody_leads_before_the_first_reward_and_initial_weights_decide(name: str) -> None:
    even = build_learner(name, games=1, experts=3, rounds=5, step_size=0.1)  # type: ignore[arg-type]
    assert leaders(even).tolist() == [NOBODY]
    log_v0_EK = torch.tensor([[0.0, 1.0, -2.0]], dtype=torch.float64)
    biased = build_learner(name, games=1, experts=3, rounds=5, step_size=0.1, log_v0_EK=log_v0_EK)  # type: ignore[arg-type]
    assert leaders(biased).tolist() == [1]
    torch.testing.assert_close(biased.mixture_EK, log_v0_EK.softmax(dim=-1))


def test_initial_weights_are_not_written_to() -> None:
    log_v0_EK = torch.zeros(1, 3, dtype=torch.float64)
    for each in CONTENDERS:
        learner = build_learner(each.name, games=1, experts=3, rounds=5, step_size=0.1, log_v0_EK=log_v0_EK)
        learner.update(torch.tensor([[[1.0, 0.0, -1.0]]], dtype=torch.float64))
    assert log_v0_EK.tolist() == [[0, 0, 0]]


def test_xnas_leads_with_the_expert_that_earned_most_at_every_step_size() -> None:
    rewards_TEK = standard_noise(20, rounds=50, experts=5).clamp(-1, 1)
    for step_size in (1e-3, 0.1, 10.0):
        learner = build_learner("xnas", games=20, experts=5, rounds=50, step_size=step_size)
        outcome = play(learner, lambda t: rewards_TEK[t], rounds=50)
        assert outcome.leader_E.tolist() == outcome.best_E.tolist()


def test_the_noise_of_a_seed_does_not_depend_on_how_many_there_are() -> None:
    few, more = (standard_noise(seeds, rounds=4, experts=3) for seeds in (2, 5))
    assert torch.equal(few, more[:, :2])
    assert not torch.equal(more[:, 0], more[:, 1])


def test_gradient_descent_with_a_step_m_times_eta_acts_as_with_eta_in_a_game_m_squared_times_as_long() -> (
    None
):
    # Only eta T counts where steps are small, and eta* T grows with the square root of T.
    def lead(rounds: int, multiple: float) -> float:
        eta = multiple * math.sqrt(2 * math.log(4) / rounds)
        learner = build_learner("gd", games=1, experts=4, rounds=rounds, step_size=eta)
        before, after = (torch.tensor([[pay, 0.25, 0, 0]], dtype=torch.float64) for pay in (0.0, 1.0))
        play(learner, lambda t: after if 5 * t >= 2 * rounds else before, rounds=rounds)
        return float(learner.mixture_EK[0, 0])

    assert lead(200, 4) == pytest.approx(lead(3200, 1), abs=0.03)
    assert abs(lead(200, 4) - lead(200, 1)) > 0.1


def test_every_contender_plays_with_each_of_its_step_sizes(said: list[str]) -> None:
    games = [(each.name, step) for each, step, _ in tournament(CONTENDERS, games=1, experts=2, rounds=8)]
    assert len(games) == len(set(games)) == sum(len(each.multiples + each.rates) for each in CONTENDERS)
    assert len(said) == len(CONTENDERS)
    for each in CONTENDERS:
        steps = each.step_sizes(experts=2, rounds=8)
        assert list(steps) == sorted(steps)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"experts": 1, "rounds": 5}, "experts must be at least 2, or there is nothing to choose; got 1"),
        ({"experts": 2, "rounds": 0}, "rounds must be at least 1; got 0"),
        ({"experts": 2, "rounds": 5, "seeds": 0}, "seeds must be at least 1; got 0"),
    ],
)
def test_games_without_a_choice_rounds_or_seeds_are_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_counts(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"step_size": 0.0}, "step_size must be positive and finite; got 0.0"),
        ({"step_size": -1.0}, "step_size must be positive and finite; got -1.0"),
        ({"step_size": 0.1, "zeta": 0.0}, r"zeta must lie in \(0, 1\]; got 0.0"),
        ({"step_size": 0.1, "zeta": 1.5}, r"zeta must lie in \(0, 1\]; got 1.5"),
    ],
)
def test_step_sizes_and_zeta_out_of_range_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_learner("xnas", games=1, experts=2, rounds=5, **wrong)
