"""Rules that descend alpha with one of torch's optimizers, against plain autograd and that optimizer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from xnas.optimizers.registry import baseline

from ...helpers.small_models import Twins, by_autograd, one_round

Descent = Callable[[list[Tensor]], torch.optim.Optimizer]

DESCENTS: dict[str, Descent] = {
    "gd": lambda alphas: torch.optim.SGD(alphas, lr=1.0),
    "momentum": lambda alphas: torch.optim.SGD(alphas, lr=0.1, momentum=0.9),
    "darts": lambda alphas: torch.optim.Adam(alphas, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3),
}


@pytest.mark.parametrize("name", DESCENTS)
def test_alpha_goes_where_autograd_and_the_published_optimizer_take_it(name: str) -> None:
    model = Twins()
    optimizer = baseline(name)(model, rounds=10, seed=3)
    alphas = {group: optimizer.log_weights(group)[0].clone().requires_grad_() for group in optimizer.groups}
    descent = DESCENTS[name](list(alphas.values()))
    for seed in range(6):
        one_round(optimizer, model, seed=seed)
        descent.zero_grad()
        by_autograd(
            model, {group: alpha.softmax(dim=0) for group, alpha in alphas.items()}, seed=seed
        ).backward()
        descent.step()
        for group, alpha_K in alphas.items():
            torch.testing.assert_close(
                optimizer.log_weights(group)[0], alpha_K.detach(), rtol=1e-9, atol=1e-12
            )


def test_only_darts_starts_off_uniform_and_by_its_seed() -> None:
    def start(name: str, seed: int) -> Tensor:
        return baseline(name)(Twins(), rounds=1, seed=seed).log_weights("twins")

    assert not start("gd", 0).any()
    assert not start("momentum", 0).any()
    assert torch.equal(start("darts", 1), start("darts", 1))
    assert not torch.equal(start("darts", 1), start("darts", 2))
    noise = torch.cat([start("darts", seed).flatten() for seed in range(300)])
    assert noise.std().item() == pytest.approx(1e-3, rel=0.1)


def test_groups_start_with_noise_of_their_own() -> None:
    optimizer = baseline("darts")(Twins(), rounds=1)
    assert not set(optimizer.log_weights("twins")[0].tolist()) & set(
        optimizer.log_weights("head")[0].tolist()
    )


def test_weight_decay_and_learning_rate_can_be_set() -> None:
    model = Twins()
    optimizer = baseline("gd")(model, rounds=10, step_size=0.25, weight_decay=0.5)
    before = {}
    for seed in range(3):
        one_round(optimizer, model, seed=seed)
        alpha_K = optimizer.log_weights("head")[0].clone()
        leaf_K = (
            before["head"].clone().requires_grad_() if before else torch.zeros(2).double().requires_grad_()
        )
        twins_K = before.get("twins", torch.zeros(3).double())
        by_autograd(model, {"head": leaf_K.softmax(0), "twins": twins_K.softmax(0)}, seed=seed).backward()
        assert leaf_K.grad is not None
        expected_K = leaf_K.detach() - 0.25 * (leaf_K.grad + 0.5 * leaf_K.detach())
        torch.testing.assert_close(alpha_K, expected_K)
        before = {group: optimizer.log_weights(group)[0].clone() for group in optimizer.groups}
