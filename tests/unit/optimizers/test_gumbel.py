"""SNAS and GDAS: what they draw, and what they learn from it, by autograd through the sample."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from xnas.optimizers.darts import BETAS
from xnas.optimizers.gdas import Gdas, GdasLearner
from xnas.optimizers.gumbel import Annealing, GumbelLearner
from xnas.optimizers.registry import baseline
from xnas.optimizers.snas import Snas

from ...helpers.small_models import Twins, batch, by_autograd, losses, one_round


def learner(kind: type[GumbelLearner], alpha: list[float], *, tau: float, seed: int = 0) -> GumbelLearner:
    made = kind(
        1,
        len(alpha),
        descent=lambda parameters: torch.optim.SGD(parameters, lr=1.0),
        annealing=Annealing(start=tau, end=tau, rounds=10),
        generator=torch.Generator().manual_seed(seed),
    )
    made.alpha_EK.copy_(torch.tensor([alpha]))
    made.resample()
    return made


@pytest.mark.parametrize("tau", [0.1, 1.0, 10.0])
def test_the_largest_entry_is_a_sample_of_the_softmax_whatever_the_temperature(tau: float) -> None:
    drawn = learner(GdasLearner, [0.0, 1.0, -1.0, 0.5], tau=tau)
    counts_K = torch.zeros(4, dtype=torch.float64)
    for _ in range(20_000):
        drawn.resample()
        counts_K += drawn.weights_EK[0]
    shares_K = counts_K / counts_K.sum()
    expected_K = drawn.alpha_EK[0].softmax(dim=0)
    # Four standard deviations of a share.
    allowed_K = 4 * (expected_K * (1 - expected_K) / 20_000).sqrt()
    assert ((shares_K - expected_K).abs() < allowed_K).all()


def test_a_sample_is_relaxed_when_hot_and_near_one_hot_when_cold() -> None:
    hot, cold = (learner(GumbelLearner, [0.0] * 7, tau=tau) for tau in (10.0, 0.01))
    for relaxed in (hot, cold):
        torch.testing.assert_close(relaxed.weights_EK.sum(dim=-1), torch.ones(1).double())
    assert hot.weights_EK.max() < 0.3
    assert cold.weights_EK.max() > 0.99


def test_the_temperature_goes_in_a_straight_line_from_the_first_round_to_the_last() -> None:
    line = Annealing(start=10.0, end=0.1, rounds=12)
    assert [line.at(0), line.at(11), line.at(12)] == pytest.approx([10.0, 0.1, 0.1])
    assert line.at(4) == pytest.approx(10 - 9.9 * 4 / 11)
    assert Annealing(start=1.0, end=0.03, rounds=1).at(0) == 1.0


def forward_by_hand(alpha_K: Tensor, seen: GumbelLearner, *, hard: bool) -> Tensor:
    """The sample as a function of alpha with the noise that was drawn, straight-through for `hard`."""
    # Recovered from the sample: alpha + G is tau log Z up to a number.
    noise_K = (seen.temperature * seen.sample_EK[0].log() - alpha_K).detach()
    soft_K = ((alpha_K + noise_K) / seen.temperature).softmax(dim=0)
    if not hard:
        return soft_K
    chosen_K = F.one_hot(soft_K.argmax(), len(soft_K)).double()
    return chosen_K - soft_K.detach() + soft_K


@pytest.mark.parametrize("name", ["snas", "gdas"])
def test_alpha_follows_the_gradient_through_the_sample_that_was_measured(name: str) -> None:
    model = Twins()
    optimizer = baseline(name)(model, rounds=4, seed=5)
    learners: dict[str, GumbelLearner] = optimizer.learners  # type: ignore[assignment]
    alphas = {group: seen.alpha_EK[0].clone().requires_grad_() for group, seen in learners.items()}
    descent = torch.optim.Adam(list(alphas.values()), lr=3e-4, betas=BETAS, weight_decay=1e-3)
    for seed in range(4):
        optimizer.measure(lambda seed=seed: losses(model, seed=seed))  # type: ignore[misc]
        weights = {
            group: forward_by_hand(alpha_K, learners[group], hard=name == "gdas")
            for group, alpha_K in alphas.items()
        }
        if name == "gdas":
            # Experts that were not drawn are not computed: nothing comes back from their outputs.
            weights = {
                group: torch.where(learners[group].weights_EK[0] > 0, weight_K, weight_K.detach())
                for group, weight_K in weights.items()
            }
        for group, weight_K in weights.items():
            torch.testing.assert_close(weight_K.detach(), learners[group].weights_EK[0])
        descent.zero_grad()
        by_autograd(model, weights, seed=seed).backward()
        descent.step()
        optimizer.step()
        for group, alpha_K in alphas.items():
            torch.testing.assert_close(
                optimizer.log_weights(group)[0], alpha_K.detach(), rtol=1e-6, atol=1e-12
            )


@pytest.mark.parametrize("kind", [Snas, Gdas])
def test_replicas_share_a_sample_that_changes_with_every_pass(kind: type[Snas] | type[Gdas]) -> None:
    model = Twins()
    optimizer = kind(model, rounds=10)
    seen = []
    for _ in range(3):
        assert torch.equal(model.first.mixture_K, model.second.mixture_K)
        seen.append(optimizer.learners["twins"].sample_EK.clone())  # type: ignore[attr-defined]
        optimizer.measure(lambda: losses(model))
        seen.append(optimizer.learners["twins"].sample_EK.clone())  # type: ignore[attr-defined]
        optimizer.step()
    assert len({tuple(sample_EK.flatten().tolist()) for sample_EK in seen}) == 6


def test_measurements_of_one_step_are_of_one_sample() -> None:
    model = Twins()
    optimizer = Snas(model, rounds=10)
    optimizer.measure(lambda: losses(model, seed=0))
    before_EK = optimizer.learners["twins"].weights_EK.clone()
    optimizer.measure(lambda: losses(model, seed=1))
    assert torch.equal(optimizer.learners["twins"].weights_EK, before_EK)
    assert optimizer.gradients("twins").shape == (1, 1, 3)  # their mean is one feedback


def test_gdas_computes_the_drawn_expert_alone() -> None:
    model = Twins()
    optimizer = Gdas(model, rounds=100)
    calls: list[str] = []
    for name, expert in zip("abc", model.first.experts, strict=True):
        expert.register_forward_hook(lambda *_, name=name: calls.append(name))
    for seed in range(10):
        calls.clear()
        losses(model, seed=seed).mean().backward()  # the network's weights
        assert calls == [optimizer.names("twins")[int(optimizer.learners["twins"].weights_EK[0].argmax())]]
        drawn = model.first.experts["abc".index(calls[0])]
        assert all(
            (parameter.grad is not None) == (expert is drawn)
            for expert in model.first.experts
            for parameter in expert.parameters()
        )
        model.zero_grad()
        calls.clear()
        optimizer.measure(lambda seed=seed: losses(model, seed=seed))  # type: ignore[misc]
        assert len(calls) == 1
        (gradient_K,) = optimizer.gradients("twins")[0]
        assert gradient_K.nonzero().flatten().tolist() == ["abc".index(calls[0])]
        optimizer.step()


def test_the_forward_pass_of_gdas_is_the_drawn_experts_exactly() -> None:
    model = Twins()
    optimizer = Gdas(model, rounds=100)
    chosen = int(optimizer.learners["twins"].weights_EK[0].argmax())
    inputs, _ = batch()
    assert torch.equal(model.first(inputs), model.first.experts[chosen](inputs))


def test_a_generators_state_that_is_none_is_refused() -> None:
    optimizer = Snas(Twins(), rounds=10)
    one_round(optimizer, optimizer._model)
    state = optimizer.state_dict()
    state["twins.generator"] = torch.full_like(state["twins.generator"], 255)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="group 'twins': the state's 'generator' is no state of a random"):
        optimizer.load_state_dict(state)
    assert all(torch.equal(value, before[name]) for name, value in optimizer.state_dict().items())
