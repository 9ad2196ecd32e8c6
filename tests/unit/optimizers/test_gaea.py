"""GAEA against exponentiated gradient on the simplex, written out."""

import pytest
import torch

from xnas.optimizers.gaea import Gaea, GaeaLearner

from ...helpers.small_models import Twins, by_autograd, one_round


@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_theta_is_multiplied_by_the_exponential_of_its_gradient_and_normalised(decay: float) -> None:
    model = Twins()
    optimizer = Gaea(model, rounds=10, weight_decay=decay)
    thetas = {"twins": torch.full((3,), 1 / 3).double(), "head": torch.full((2,), 1 / 2).double()}
    for seed in range(6):
        one_round(optimizer, model, seed=seed)
        leaves = {group: theta.clone().requires_grad_() for group, theta in thetas.items()}
        loss = by_autograd(model, leaves, seed=seed)
        for leaf in leaves.values():
            loss = loss + decay * (leaf * (len(leaf) * leaf).log()).sum()
        loss.backward()
        for group, leaf in leaves.items():
            assert leaf.grad is not None
            moved = thetas[group] * (-0.1 * leaf.grad).exp()
            thetas[group] = moved / moved.sum()
            torch.testing.assert_close(optimizer.mixture(group)[0], thetas[group], rtol=1e-9, atol=1e-12)


def test_it_is_xnas_without_clipping_and_wipeout() -> None:
    # The same rewards, R = -dloss/du, the same update: what differs is L, zeta and how a feedback is counted.
    learner = GaeaLearner(1, 3, step_size=0.5)
    rewards_FEK = torch.tensor([[[100.0, -3.0, 0.0]], [[1.0, 1.0, 1.0]]]).double()
    learner.update(-rewards_FEK)
    assert learner.log_v_EK.tolist() == [[50.5, -1.0, 0.5]]
    assert learner.num_feedbacks == 2
    assert learner.alive_EK.all()


def test_a_theta_that_was_close_to_zero_can_come_back() -> None:
    learner = GaeaLearner(1, 2, step_size=1.0)
    for sign, rounds in ((1.0, 900), (-1.0, 1000)):
        for _ in range(rounds):
            learner.update(torch.tensor([[[sign, -sign]]]).double())
    assert learner.mixture_EK[0, 0] > 0.99
