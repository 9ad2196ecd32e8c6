"""Step sizes and horizons against the numbers that the paper states."""

import math

import pytest

from xnas.experts.step_size import feedbacks_per_round, optimal_step_size


@pytest.mark.parametrize(
    ("num_experts", "replicas", "expected"),
    [(8, 6, 7.45e-4), (8, 2, 1.29e-3), (7, 6, 7.20e-4), (7, 2, 1.25e-3)],
)
def test_the_step_sizes_of_the_papers_search_come_out(
    num_experts: int, replicas: int, expected: float
) -> None:
    horizon = 25_000 * 50 * replicas
    assert optimal_step_size(num_experts, horizon=horizon) == pytest.approx(expected, rel=0.005)


def test_the_optimal_step_size_minimises_the_bound_of_equation_3_without_wipeout() -> None:
    num_experts, horizon, bound = 7, 5000, 1.7

    def regret_bound(eta: float) -> float:
        return math.log(num_experts) / eta + eta * horizon * bound**2 / 2

    best = optimal_step_size(num_experts, horizon=horizon, reward_bound=bound)
    assert all(regret_bound(best) < regret_bound(best * factor) for factor in (0.5, 0.99, 1.01, 2))
    assert regret_bound(best) == pytest.approx(
        bound * math.sqrt(2 * horizon * math.log(num_experts))
    )  # eq. 4


def test_a_lone_expert_has_nothing_to_learn() -> None:
    assert optimal_step_size(1, horizon=10) == 0


@pytest.mark.parametrize(("feedback", "expected"), [("sample", 96 * 6), ("replica", 6), ("batch", 1)])
def test_a_round_brings_as_many_feedbacks_as_the_unit_says(feedback: str, expected: int) -> None:
    assert feedbacks_per_round(feedback, batch_size=96, num_replicas=6) == expected  # type: ignore[arg-type]


def test_bad_arguments_are_refused_by_name_and_value() -> None:
    with pytest.raises(ValueError, match="unknown feedback 'epoch'; choose one of sample, replica, batch"):
        feedbacks_per_round("epoch", batch_size=1, num_replicas=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        feedbacks_per_round("sample", batch_size=0, num_replicas=1)
    with pytest.raises(ValueError, match="num_experts must be at least 1; got 0"):
        optimal_step_size(0, horizon=1)
    with pytest.raises(ValueError, match="horizon must be at least 1 feedback; got 0"):
        optimal_step_size(2, horizon=0)
