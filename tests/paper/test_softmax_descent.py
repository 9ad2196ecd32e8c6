"""Gradient descent with softmax is v <- v exp(eta R~), with R~_i = -grad loss(p) . u_i (f_i - p) (section 3.2.1).

Three ways to the same weights in every round of random games: torch's autograd and SGD on alpha = ln v; equation 6 on v
itself; and the learner that the project compares XNAS with.
"""

import pytest
import torch
from torch import Tensor

from xnas.optimizers.softmax import SoftmaxLearner, softmax_gradient

from .losses import DIMENSIONS, LOSSES, ConvexLoss, mixed, rewards

GAMES, ROUNDS = 30, 40


def rewards_of_equation_6(loss: ConvexLoss, u_EK: Tensor, f_EKD: Tensor, y_ED: Tensor) -> Tensor:
    p_ED = mixed(u_EK, f_EKD)
    gradient_ED = loss.gradient(p_ED, y_ED)
    return -u_EK * (gradient_ED.unsqueeze(1) * (f_EKD - p_ED.unsqueeze(1))).sum(dim=2)


@pytest.mark.parametrize("step_size", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("experts", [2, 7])
@pytest.mark.parametrize("name", LOSSES)
def test_sgd_on_alpha_equation_6_on_v_and_the_learner_keep_the_same_weights(
    name: str, experts: int, step_size: float
) -> None:
    loss, generator = LOSSES[name], torch.Generator().manual_seed(experts)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    def sgd(parameters: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=step_size)

    alpha_EK = torch.zeros(GAMES, experts, dtype=torch.float64, requires_grad=True)
    optimizer = sgd([alpha_EK])
    v_EK = torch.ones(GAMES, experts, dtype=torch.float64)
    learner = SoftmaxLearner(GAMES, experts, descent=sgd)
    for _ in range(ROUNDS):
        f_EKD = loss.within(numbers(GAMES, experts, DIMENSIONS))
        y_ED = loss.within(numbers(GAMES, DIMENSIONS))

        optimizer.zero_grad()
        loss.value(mixed(alpha_EK.softmax(dim=-1), f_EKD), y_ED).sum().backward()
        optimizer.step()

        u_EK = v_EK / v_EK.sum(dim=-1, keepdim=True)
        v_EK = v_EK * (step_size * rewards_of_equation_6(loss, u_EK, f_EKD, y_ED)).exp()

        learner.update(-rewards(loss, learner.mixture_EK, f_EKD, y_ED).unsqueeze(0))

        torch.testing.assert_close(v_EK.log(), alpha_EK.detach(), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(learner.log_v_EK, alpha_EK.detach(), rtol=1e-8, atol=1e-8)
    assert alpha_EK.detach().amax(dim=-1).mean() > 0.05 * step_size  # something was learned
    assert learner.num_feedbacks == ROUNDS


@pytest.mark.parametrize("name", LOSSES)
def test_equation_6_is_the_expert_reward_centred_and_shrunk_by_the_experts_own_weight(name: str) -> None:
    loss, generator = LOSSES[name], torch.Generator().manual_seed(0)
    f_EKD = loss.within(torch.randn(GAMES, 4, DIMENSIONS, dtype=torch.float64, generator=generator))
    y_ED = loss.within(torch.randn(GAMES, DIMENSIONS, dtype=torch.float64, generator=generator))
    alpha_EK = torch.tensor([0.0, -1.0, -5.0, -20.0], dtype=torch.float64).expand(GAMES, -1)
    u_EK = alpha_EK.softmax(dim=-1)
    rewards_EK, softmax_EK = rewards(loss, u_EK, f_EKD, y_ED), rewards_of_equation_6(loss, u_EK, f_EKD, y_ED)
    centred_EK = rewards_EK - (u_EK * rewards_EK).sum(dim=-1, keepdim=True)
    torch.testing.assert_close(softmax_EK, u_EK * centred_EK)
    torch.testing.assert_close(softmax_EK, -softmax_gradient(-rewards_EK, u_EK))
    torch.testing.assert_close(
        softmax_EK.sum(dim=-1), torch.zeros(GAMES, dtype=torch.float64), rtol=0, atol=1e-15
    )
    # The last expert, e^-20 behind, is rewarded like any other by XNAS, and with next to nothing by softmax descent.
    assert rewards_EK[:, 3].abs().max() > 0.1
    assert softmax_EK[:, 3].abs().max() < 1e-8
