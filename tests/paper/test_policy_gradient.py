"""The link to policy gradient (section 3.1): sampling one expert by u and reinforcing it is rewarded as XNAS is.

N: experts, D: dimensions, S: samples. An expert i drawn with probability u_i pays loss(f_i); REINFORCE follows the
expectation of -loss(f_i) grad ln u_i. For a loss linear in p, loss(p) = g . p + c:

- u as a free leaf, as on line 8: the derivative of ln u_i by u_j is [i = j] / u_i, so that the expectation is
  -loss(f_j) = R_j - c. A number that all experts get alike moves no mixture weight.
- u = softmax(alpha): the derivative of ln u_i by alpha_j is [i = j] - u_j, so that the expectation is
  u_j (loss(p) - loss(f_j)) = -g . u_j (f_j - p), equation 6, whatever c.

For any other loss the two differ: policy gradient asks for loss(f_j), XNAS for the slope at p. A convex loss lies above
its slope, so that sampling rewards an expert, against the mixture, no more than XNAS does.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from xnas.experts.update import eg_update, mixture
from xnas.optimizers.softmax import softmax_gradient
from xnas.optimizers.xnas import XNAS
from xnas.space.forecaster import Forecaster

Loss = Callable[[Tensor], Tensor]
SEEDS = range(10)
EXPERTS, DIMENSIONS = 5, 4


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(seed: int, constant: float = 0.0) -> Loss:
    slope_D = numbers(DIMENSIONS, seed=100 + seed)
    return lambda p: p @ slope_D + constant


def expert_rewards(loss: Loss, f_ND: Tensor, u_N: Tensor) -> Tensor:
    """R = -dloss/du of the mixture, u a free leaf."""
    u_N = u_N.clone().requires_grad_()
    loss(u_N @ f_ND).backward()
    assert u_N.grad is not None
    return -u_N.grad


def score(drawn: int, parameters_N: Tensor, to_u: Callable[[Tensor], Tensor]) -> Tensor:
    """grad ln u_i of the expert i that was drawn, by the parameters of u."""
    leaf_N = parameters_N.clone().requires_grad_()
    to_u(leaf_N)[drawn].log().backward()
    assert leaf_N.grad is not None
    return leaf_N.grad


def free(u_N: Tensor) -> Tensor:
    return u_N


def softmax(alpha_N: Tensor) -> Tensor:
    return alpha_N.softmax(dim=0)


def reinforced(loss: Loss, f_ND: Tensor, parameters_N: Tensor, to_u: Callable[[Tensor], Tensor]) -> Tensor:
    """The expectation of -loss(f_i) grad ln u_i, by the sum over all experts."""
    u_N = to_u(parameters_N)
    terms = [u_N[i] * -loss(f_D) * score(i, parameters_N, to_u) for i, f_D in enumerate(f_ND)]
    return torch.stack(terms).sum(dim=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_for_a_linear_loss_the_reinforced_gradient_by_u_is_the_expert_reward(seed: int) -> None:
    f_ND, u_N = numbers(EXPERTS, DIMENSIONS, seed=seed), softmax(numbers(EXPERTS, seed=50 + seed))
    loss = linear(seed)
    torch.testing.assert_close(reinforced(loss, f_ND, u_N, free), expert_rewards(loss, f_ND, u_N))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_constant_in_the_loss_adds_to_all_rewards_alike_and_changes_no_mixture(seed: int) -> None:
    f_ND, u_N = numbers(EXPERTS, DIMENSIONS, seed=seed), softmax(numbers(EXPERTS, seed=50 + seed))
    loss = linear(seed, constant=3.0)
    rewards_N, reinforced_N = expert_rewards(loss, f_ND, u_N), reinforced(loss, f_ND, u_N, free)
    torch.testing.assert_close(reinforced_N, rewards_N - 3.0)
    alive_EK = torch.ones(1, EXPERTS, dtype=torch.bool)
    mixtures = [
        mixture(
            eg_update(u_N.log().unsqueeze(0), gains_N.view(1, 1, -1), step_size=0.1, reward_bound=100.0),
            alive_EK,
        )
        for gains_N in (rewards_N, reinforced_N)
    ]
    torch.testing.assert_close(*mixtures)
    assert not torch.allclose(mixtures[0][0], u_N, atol=1e-3)


@pytest.mark.parametrize("constant", [0.0, 3.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_through_a_softmax_the_reinforced_gradient_is_the_reward_of_equation_6(
    seed: int, constant: float
) -> None:
    f_ND, alpha_N = numbers(EXPERTS, DIMENSIONS, seed=seed), numbers(EXPERTS, seed=50 + seed)
    u_N, loss = softmax(alpha_N), linear(seed, constant)
    reinforced_N = reinforced(loss, f_ND, alpha_N, softmax)
    slope_D = numbers(DIMENSIONS, seed=100 + seed)
    torch.testing.assert_close(reinforced_N, -u_N * ((f_ND - u_N @ f_ND) @ slope_D))
    torch.testing.assert_close(reinforced_N, -softmax_gradient(-expert_rewards(loss, f_ND, u_N), u_N))


@pytest.mark.parametrize(("to_u", "seed"), [(free, 0), (free, 1), (softmax, 2), (softmax, 3)])
def test_the_mean_over_samples_is_within_a_few_standard_errors_of_it(
    to_u: Callable[[Tensor], Tensor], seed: int
) -> None:
    f_ND, alpha_N = numbers(EXPERTS, DIMENSIONS, seed=seed), numbers(EXPERTS, seed=50 + seed)
    loss, u_N, samples = linear(seed), softmax(alpha_N), 100_000
    parameters_N = u_N if to_u is free else alpha_N
    by_expert_NN = torch.stack([-loss(f_ND[i]) * score(i, parameters_N, to_u) for i in range(EXPERTS)])
    drawn_S = u_N.multinomial(samples, replacement=True, generator=torch.Generator().manual_seed(seed))
    estimates_SN = by_expert_NN[drawn_S]
    rewards_N = expert_rewards(loss, f_ND, u_N)
    exact_N = rewards_N if to_u is free else -softmax_gradient(-rewards_N, u_N)
    errors_N = estimates_SN.std(dim=0) / samples**0.5
    # Twenty numbers in all, of which each is 4.5 standard errors off with a chance of 7e-6.
    assert ((estimates_SN.mean(dim=0) - exact_N).abs() < 4.5 * errors_N).all()
    assert (errors_N < 0.02 * exact_N.abs().max()).all()
    assert ((estimates_SN.mean(dim=0) - exact_N.roll(1)).abs() > 4.5 * errors_N).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_for_a_curved_loss_sampling_rewards_experts_less_and_otherwise(seed: int) -> None:
    f_ND, u_N = numbers(EXPERTS, DIMENSIONS, seed=seed), softmax(numbers(EXPERTS, seed=50 + seed))
    target_D = numbers(DIMENSIONS, seed=100 + seed)

    def loss(p: Tensor) -> Tensor:
        return (p - target_D).square().sum(dim=-1)

    rewards_N = expert_rewards(loss, f_ND, u_N)
    over_the_mixture_N = rewards_N - (u_N * rewards_N).sum()
    reinforced_N = reinforced(loss, f_ND, u_N, free) + loss(u_N @ f_ND)
    assert (reinforced_N < over_the_mixture_N).all()
    differences_N = over_the_mixture_N - reinforced_N
    torch.testing.assert_close(differences_N, (f_ND - u_N @ f_ND).square().sum(dim=1))
    assert differences_N.max() - differences_N.min() > 0.1


def test_xnas_measures_on_modules_what_sampling_them_would_be_paid_on_average() -> None:
    torch.manual_seed(0)
    experts = {
        "line": nn.Linear(4, 4),
        "bend": nn.Sequential(nn.Linear(4, 4), nn.Tanh()),
        "same": nn.Identity(),
    }
    forecaster = Forecaster(experts)
    inputs_BD, slopes_BD = torch.randn(6, 4), torch.randn(6, 4)
    optimizer = XNAS(
        nn.Sequential(forecaster), rounds=10, batch_size=6, reward_bound=100.0, feedback="sample"
    )
    (group,) = optimizer.groups
    optimizer.measure(lambda: (forecaster(inputs_BD) * slopes_BD).sum(dim=1))
    rewards_FEK = -optimizer.gradients(group)
    u_K = optimizer.mixture(group)[0]
    for sample, (input_D, slope_D) in enumerate(zip(inputs_BD, slopes_BD, strict=True)):
        with torch.no_grad():
            outputs_ND = torch.stack([expert(input_D) for expert in experts.values()]).double()
        paid_N = reinforced(lambda p, slope_D=slope_D: p @ slope_D.double(), outputs_ND, u_K, free)
        torch.testing.assert_close(rewards_FEK[sample, 0], paid_N, rtol=1e-5, atol=1e-6)
