"""ASAP: annealing, the time of grace, and pruning."""

import pytest
import torch
from torch import Tensor

from xnas.optimizers.asap import Asap, AsapLearner
from xnas.optimizers.darts import BETAS

from ...helpers.small_models import Twins, by_autograd, losses, one_round


def learner(rounds: int, *, experts: int = 4, rate: float = 1.0) -> AsapLearner:
    return AsapLearner(
        1, experts, descent=lambda parameters: torch.optim.SGD(parameters, lr=rate), rounds=rounds
    )


def feedback(rewards: list[float]) -> Tensor:
    return -torch.tensor([[rewards]]).double()


def test_the_temperature_falls_from_1_6_as_over_50_epochs() -> None:
    annealed = learner(rounds=100)
    seen = []
    for _ in range(101):
        seen.append(annealed.temperature)
        annealed.update(feedback([0.0] * 4))
    assert seen[0] == 1.6
    assert seen[2] == pytest.approx(1.6 * 0.95)
    assert seen[100] == pytest.approx(1.6 * 0.95**50)
    assert annealed.temperature == seen[100]  # and no further


def test_alpha_rests_until_the_temperature_is_below_one() -> None:
    graced = learner(rounds=100)
    while graced.temperature >= 1:
        graced.update(feedback([100.0, 0.0, 0.0, 0.0]))
        assert not graced.alpha_EK.any()
        assert graced.alive_EK.all()
    assert graced.num_feedbacks == 19  # 1.6 * 0.95^(50 * 0.19) < 1
    graced.update(feedback([1.0, 0.0, 0.0, 0.0]))
    assert graced.alpha_EK.any()


def test_alpha_goes_where_autograd_through_the_annealed_softmax_takes_it() -> None:
    model = Twins()
    optimizer = Asap(model, rounds=10)
    for seed in range(2):  # the time of grace
        one_round(optimizer, model, seed=seed)
    alphas = {
        "twins": torch.zeros(3).double().requires_grad_(),
        "head": torch.zeros(2).double().requires_grad_(),
    }
    # As the learner, whose Adam has not been stepped before.
    descent = torch.optim.Adam(list(alphas.values()), lr=3e-4, betas=BETAS, weight_decay=1e-3)
    for t in range(2, 10):
        tau = 1.6 * 0.95 ** (50 * t / 10)
        one_round(optimizer, model, seed=t)
        descent.zero_grad()
        by_autograd(
            model, {name: (alpha / tau).softmax(0) for name, alpha in alphas.items()}, seed=t
        ).backward()
        descent.step()
        for name, alpha_K in alphas.items():
            after = 1.6 * 0.95 ** (50 * (t + 1) / 10)
            torch.testing.assert_close(optimizer.mixture(name)[0], (alpha_K.detach() / after).softmax(0))


def test_an_expert_below_the_threshold_is_pruned_and_never_again_leads() -> None:
    pruned = learner(rounds=100, rate=0.5)
    while pruned.alive_EK.all():
        pruned.update(feedback([1.0, 0.5, -1.0, -2.0]))
    assert pruned.alive_EK.tolist() == [[True, True, True, False]]
    assert pruned.mixture_EK[0, 3] == 0
    distance = (pruned.alpha_EK[0, 3] - pruned.alpha_EK[0].max()).item()
    for _ in range(3):
        # Rewards of one that is gone mean nothing, and those that are left may all lose.
        pruned.update(feedback([-40.0, -40.0, -40.0, 0.0]))
    assert (pruned.alpha_EK[0, 3] - pruned.alpha_EK[0].max()).item() == pytest.approx(distance)
    assert pruned.log_v_EK[0].argmax() != 3


def test_pruning_is_by_the_share_that_an_expert_has_at_the_next_temperature() -> None:
    pruned = learner(rounds=100)
    for _ in range(60):
        pruned.update(feedback([0.0] * 4))
    tau = 1.6 * 0.95**30.5
    u = torch.tensor([0.4, 0.3, 0.2, 0.1]).double()
    pruned.alpha_EK.copy_(tau * (u + torch.tensor([0.0, 0.0, 0.001, -0.001])).log())
    pruned.update(feedback([0.0] * 4))
    assert pruned.temperature == pytest.approx(tau)
    assert pruned.alive_EK.tolist() == [[True, True, True, False]]  # 0.4 / 4


def test_a_pruned_expert_leaves_the_model_and_the_weight_optimizer() -> None:
    model = Twins()
    weights = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses(model).mean().backward()
    weights.step()
    optimizer = Asap(model, rounds=20, step_size=0.5, weight_optimizer=weights)
    gone = [expert for seed in range(20) for expert in one_round(optimizer, model, seed=seed)]
    assert gone
    assert len(gone) == sum(int((~optimizer.alive(name)).sum()) for name in optimizer.groups)
    left = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for group in weights.param_groups for parameter in group["params"]} == left
    assert {id(parameter) for parameter in weights.state} <= left
    assert all(optimizer.alive(name).any(dim=-1).all() for name in optimizer.groups)
