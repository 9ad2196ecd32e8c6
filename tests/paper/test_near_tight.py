"""Theorem 1 is tight: an opponent comes near its bound, so that a looser or a wrong one is noticed (section 3.1)."""

import math

import pytest
import torch

from xnas.experts.state import ExpertRule
from xnas.experts.step_size import optimal_step_size

from .games import Moment, play, theorem_1
from .near_tight import nearly_tight


def share_of_the_bound(experts: int, *, horizon: int, eta_factor: float, zeta: float | None) -> float:
    best = optimal_step_size(experts, horizon=horizon)
    rule = ExpertRule(step_size=eta_factor * best, horizon=horizon, zeta=zeta)
    played = play(nearly_tight(experts, rule=rule), games=1, experts=experts, rule=rule)
    assert played.least_room_E.item() >= -played.rounding
    return (played.regret_E / theorem_1(rule, experts, horizon, played.ledger.log_gamma_E)).item()


@pytest.mark.parametrize("zeta", [1.0, None], ids=["wipeout", "no wipeout"])
@pytest.mark.parametrize("experts", [2, 8, 32])
def test_at_the_optimal_step_size_the_regret_comes_near_the_bound_and_violates_a_quarter_of_it(
    experts: int, zeta: float | None
) -> None:
    share = share_of_the_bound(experts, horizon=2000, eta_factor=1.0, zeta=zeta)
    assert 0.95 < share <= 1  # so a bound four times smaller is violated


@pytest.mark.parametrize("experts", [2, 8, 32])
@pytest.mark.parametrize(("eta_factor", "larger_term"), [(3.0, "eta T L^2 / 2"), (1 / 3, "ln N / eta")])
def test_each_term_is_tight_where_it_is_nine_tenths_of_the_bound(
    experts: int, eta_factor: float, larger_term: str
) -> None:
    # A quarter of that term alone would leave 0.325 of the bound.
    del larger_term
    assert 0.95 < share_of_the_bound(experts, horizon=2000, eta_factor=eta_factor, zeta=1.0) <= 1


def test_the_opponent_is_one_of_convex_losses_too() -> None:
    # |p - 1| where no prediction exceeds 1: its slope is -1, and experts that predict f_i earn R_i = f_i. So any game
    # of rewards is one of absolute losses, and their regret is the rewards'.
    rule = ExpertRule(step_size=optimal_step_size(4, horizon=400), horizon=400)
    opponent, paid_by_mixture, paid_K = nearly_tight(4, rule=rule), 0.0, torch.zeros(4, dtype=torch.float64)

    def rewards(now: Moment) -> torch.Tensor:
        nonlocal paid_by_mixture, paid_K
        f_EK = opponent(now).double()
        paid_by_mixture += ((now.mixture_EK * f_EK).sum() - 1).abs().item()
        paid_K = paid_K + (f_EK[0] - 1).abs()
        return f_EK

    played = play(rewards, games=1, experts=4, rule=rule)
    assert paid_by_mixture - paid_K.min().item() == pytest.approx(played.regret_E.item())
    assert played.regret_E.item() > 0.95 * theorem_1(rule, 4, 400, played.ledger.log_gamma_E).item()


@pytest.mark.parametrize("experts", [2, 8, 32])
def test_the_wipeouts_term_is_tight(experts: int) -> None:
    # Back and forth, and a little for one expert at the end: all others go with nearly its weight, gamma is nearly N,
    # and only eta T L^2 / 2 is left of the bound. All of that is paid, half the bound without the wipeout.
    horizon = 2001
    rule = ExpertRule(step_size=optimal_step_size(experts, horizon=horizon), horizon=horizon)
    signs_K = 1.0 - 2.0 * (torch.arange(experts) % 2)
    little_K = 2.0**-20 * (torch.arange(experts) == 0)

    def rewards(now: Moment) -> torch.Tensor:
        last = now.t == horizon - 1
        return (little_K if last else signs_K * (-1) ** now.t).double().expand_as(now.totals_EK)

    played = play(rewards, games=1, experts=experts, rule=rule)
    with_wipeout = theorem_1(rule, experts, horizon, played.ledger.log_gamma_E).item()
    without = theorem_1(rule, experts, horizon, torch.zeros(1)).item()
    assert with_wipeout == pytest.approx(without / 2, rel=1e-4)
    assert 0.98 * with_wipeout < played.regret_E.item() <= with_wipeout
    assert with_wipeout == pytest.approx(played.regret.bound_E.item())
    assert without == pytest.approx(played.regret.bound_without_wipeout_E.item())


@pytest.mark.parametrize("experts", [2, 8])
@pytest.mark.parametrize("feedbacks", [4, 8])
def test_many_feedbacks_at_the_same_weights_violate_equation_3_counted_in_feedbacks(
    experts: int, feedbacks: int
) -> None:
    # The same opponent, but the weights stand still for a block of feedbacks: every update is F times as large, and so
    # is what the mixture pays for it. The bound with the sum of F^2 holds, and is nearly met.
    horizon = 2000
    rule = ExpertRule(step_size=optimal_step_size(experts, horizon=horizon), horizon=horizon)
    opponent = nearly_tight(experts, rule=rule, feedbacks=feedbacks)
    played = play(opponent, games=1, experts=experts, rule=rule, feedbacks=feedbacks)
    regret = played.regret
    assert regret.regret_E.item() > 0.45 * feedbacks * regret.theorem_E.item()
    assert played.least_room_E.item() >= 0
    assert 0.85 * regret.bound_E.item() < regret.regret_E.item() <= regret.bound_E.item()
    one_by_one = play(opponent, games=1, experts=experts, rule=rule)
    assert one_by_one.regret_E.item() <= math.sqrt(2 * horizon * math.log(experts))
