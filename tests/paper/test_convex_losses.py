"""Theorem 1 for convex losses of a mixture: the regret of the losses themselves is within equation 3 (section 3.1).

For a convex loss loss(p) - loss(f_i) <= grad loss(p) . (p - f_i) = R_i - sum_l u_l R_l, so that the regret of losses is
at most that of rewards; and that is what theorem 1 bounds, as long as no reward had to be clipped.
"""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given

from xnas.experts.state import ExpertRule
from xnas.experts.step_size import optimal_step_size

from .at_random import Setting, Tally, for_some, some_settings
from .games import Moment, play, theorem_1
from .losses import DIMENSIONS, LOSSES, LossGame, error_of_rounded_rewards, mixed, rewards
from .opponents import Table

Record = Callable[[str, object], None]
GAMES = 64


def numbers(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("zeta", [1.0, None], ids=["wipeout", "no wipeout"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_regret_of_convex_losses_is_within_equation_3(
    name: str, zeta: float | None, full_paper: bool, record_property: Record
) -> None:
    tally = Tally()
    positive = 0

    @for_some(40 if full_paper else 5)
    @given(some_settings(full=full_paper))
    def holds(setting: Setting) -> None:
        nonlocal positive
        generator = torch.Generator().manual_seed(setting.seed)
        table = Table(games=GAMES, experts=setting.experts, horizon=setting.horizon, generator=generator)
        game, rule = LossGame(table, LOSSES[name]), setting.rule(zeta=zeta)
        played = play(game, games=GAMES, experts=setting.experts, rule=rule)
        assert (played.regret.clip_rate_E == 0).all()
        assert (game.expert_losses_EK >= 0).all()
        error = error_of_rounded_rewards(setting.horizon)
        assert (game.regret_E <= played.regret_E + error).all()
        bound_E = theorem_1(rule, setting.experts, setting.horizon, played.ledger.log_gamma_E)
        assert (game.regret_E <= bound_E + played.rounding + error).all()
        assert not played.best_was_lost_E.any()
        assert (played.least_room_E >= -played.rounding).all()
        positive += int((game.regret_E > 0).sum())
        tally.add(played, regret_E=game.regret_E)

    holds()
    record_property("figures", f"{tally}; regret of losses positive in {positive:,}")
    assert positive > 0


@pytest.mark.parametrize("name", LOSSES)
def test_rewards_are_minus_the_gradient_by_mixture_weights_as_a_free_leaf(name: str) -> None:
    loss = LOSSES[name]
    f_EKD, y_ED = (
        loss.within(numbers(20, 5, DIMENSIONS, seed=0)),
        loss.within(numbers(20, DIMENSIONS, seed=1)),
    )
    u_EK = numbers(20, 5, seed=2).softmax(dim=-1).requires_grad_()
    loss.value(mixed(u_EK, f_EKD), y_ED).sum().backward()
    assert u_EK.grad is not None
    torch.testing.assert_close(rewards(loss, u_EK.detach(), f_EKD, y_ED), -u_EK.grad)


@pytest.mark.parametrize("name", LOSSES)
def test_the_losses_are_convex_not_negative_and_their_rewards_l_bounded_and_sometimes_large(
    name: str,
) -> None:
    loss = LOSSES[name]
    f_EKD = loss.within(3 * numbers(2000, 2, DIMENSIONS, seed=0))
    y_ED = loss.within(3 * numbers(2000, DIMENSIONS, seed=1))
    u_EK = torch.rand(2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    u_EK = torch.cat([u_EK, 1 - u_EK], dim=1)
    values_EK = loss.value(f_EKD, y_ED.unsqueeze(1))
    assert (values_EK >= 0).all()
    assert (loss.value(mixed(u_EK, f_EKD), y_ED) <= (u_EK * values_EK).sum(dim=-1) + 1e-12).all()
    sizes = rewards(loss, u_EK, f_EKD, y_ED).abs()
    assert 0.5 < sizes.max().item() <= 1 + 1e-12


def test_where_rewards_are_clipped_the_regret_of_losses_may_exceed_the_bound() -> None:
    # |p - 10| of two experts that say 10 and -10: the gradient is worth 10 and L is 0.01. The weights hardly move, and
    # the mixture pays nearly 10 every time, where the better expert pays nothing.
    rule = ExpertRule(
        step_size=optimal_step_size(2, horizon=100, reward_bound=2.0**-7), reward_bound=2.0**-7, horizon=100
    )
    f_K, paid = torch.tensor([10.0, -10.0], dtype=torch.float64), 0.0

    def rewards(now: Moment) -> torch.Tensor:
        nonlocal paid
        p = (now.mixture_EK * f_K).sum().item()
        paid += abs(p - 10)
        return (math.copysign(1, 10 - p) * f_K / rule.reward_bound).unsqueeze(0)

    played = play(rewards, games=1, experts=2, rule=rule)
    bound = rule.reward_bound * theorem_1(rule, 2, 100, torch.zeros(1)).item()
    assert played.regret.clip_rate_E.item() == 1
    assert played.regret.regret_E.item() <= bound
    assert paid > 100 * bound
