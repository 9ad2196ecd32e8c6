"""Second-order DARTS against the exact derivative, by differentiating twice through a step of the weights."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from xnas.optimizers import darts_second
from xnas.optimizers.darts_second import DartsSecondOrder
from xnas.optimizers.softmax import softmax_gradient
from xnas.space.forecaster import Forecaster

from ...helpers.small_models import Twins, batch, losses

TRAIN, VALIDATION = 11, 12
"""Seeds of the two batches."""

Weights = dict[str, Tensor]


def plain_loss(model: Twins, weights: Weights, alphas: Weights, *, seed: int) -> Tensor:
    """The mean loss as a function of both kinds of weights that can be differentiated any number of times."""

    def mixed(name: str, group: str, inputs: Tensor) -> Tensor:
        outputs = []
        for i, (expert, u) in enumerate(
            zip(getattr(model, name).names, alphas[group].softmax(dim=0), strict=True)
        ):
            prefix = f"{name}.experts.{expert}."
            own = {key.removeprefix(prefix): w for key, w in weights.items() if key.startswith(prefix)}
            outputs.append(u * functional_call(getattr(model, name).experts[i], own, (inputs,)))
        return torch.stack(outputs).sum(dim=0)

    inputs, labels = batch(seed=seed)
    hidden = torch.tanh(mixed("first", "twins", inputs))
    hidden = torch.tanh(mixed("second", "twins", hidden))
    return F.cross_entropy(mixed("third", "head", hidden), labels)


def exact(model: Twins, sgd: torch.optim.SGD, alphas: Weights) -> tuple[Weights, Weights]:
    """The derivative of the validation loss after the step by alpha, and its part that comes through the step."""
    (group,) = sgd.param_groups
    weights = {name: w.detach().clone().requires_grad_() for name, w in model.named_parameters()}
    leaves = {name: alpha.clone().requires_grad_() for name, alpha in alphas.items()}
    train = plain_loss(model, weights, leaves, seed=TRAIN)
    slopes = torch.autograd.grad(train, list(weights.values()), create_graph=True)
    ahead = {}
    for (name, w), parameter, slope in zip(weights.items(), model.parameters(), slopes, strict=True):
        buffer = sgd.state.get(parameter, {}).get("momentum_buffer", torch.zeros_like(w))
        ahead[name] = w - group["lr"] * (
            slope + group["weight_decay"] * w.detach() + group["momentum"] * buffer
        )
    whole = torch.autograd.grad(
        plain_loss(model, ahead, leaves, seed=VALIDATION), list(leaves.values()), retain_graph=True
    )
    fixed = {name: w.detach() for name, w in ahead.items()}
    direct = torch.autograd.grad(plain_loss(model, fixed, leaves, seed=VALIDATION), list(leaves.values()))
    through = [total - part for total, part in zip(whole, direct, strict=True)]
    return dict(zip(leaves, whole, strict=True)), dict(zip(leaves, through, strict=True))


def prepared() -> tuple[Twins, torch.optim.SGD, DartsSecondOrder]:
    """Mid-search: uneven alpha, momentum in the weight optimizer."""
    model = Twins()
    sgd = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9, weight_decay=0.02)
    optimizer = DartsSecondOrder(model, rounds=10, weight_optimizer=sgd)
    generator = torch.Generator().manual_seed(1)
    for learner in optimizer.learners.values():
        alpha_EK = learner.alpha_EK  # type: ignore[attr-defined]
        alpha_EK.copy_(torch.randn(alpha_EK.shape, generator=generator, dtype=torch.float64))
    optimizer._apply_to_model()
    for seed in range(3):
        sgd.zero_grad()
        losses(model, seed=seed).mean().backward()
        sgd.step()
    sgd.zero_grad()
    return model, sgd, optimizer


def measured(optimizer: DartsSecondOrder, model: nn.Module) -> Weights:
    """The gradient by alpha of each group."""
    optimizer.measure(lambda: losses(model, seed=VALIDATION), training=lambda: losses(model, seed=TRAIN))
    found = {
        name: softmax_gradient(optimizer.gradients(name).sum(dim=0), optimizer.mixture(name))[0]
        for name in optimizer.groups
    }
    optimizer.zero_grad()
    return found


def flat(weights: Weights) -> Tensor:
    return torch.cat([weights[name] for name in sorted(weights)])


def alphas_of(optimizer: DartsSecondOrder) -> Weights:
    return {name: optimizer.log_weights(name)[0].clone() for name in optimizer.groups}


def test_the_gradient_by_alpha_is_the_exact_one_and_its_error_falls_with_the_square_of_epsilon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, sgd, optimizer = prepared()
    whole, through = (flat(part) for part in exact(model, sgd, alphas_of(optimizer)))
    assert through.norm() > 0.02 * whole.norm()  # else nothing would be tested
    errors = {}
    for epsilon in (1e-1, 1e-2, 1e-3):
        monkeypatch.setattr(darts_second, "EPSILON", epsilon)
        # Relative to the second term alone: first order in its place would be an error of 1, a wrong sign of 2.
        errors[epsilon] = ((flat(measured(optimizer, model)) - whole).norm() / through.norm()).item()
    assert errors[1e-2] < 1e-4
    assert errors[1e-2] == pytest.approx(errors[1e-1] / 100, rel=0.1)
    assert errors[1e-3] == pytest.approx(errors[1e-2] / 100, rel=0.1)


def by_recipe(
    model: Twins,
    sgd: torch.optim.SGD,
    alphas: Weights,
    *,
    sign: float = -1.0,
    times_xi: bool = True,
    divided: bool = True,
    v_at: str = "ahead",
    around: str = "here",
) -> Tensor:
    """Equations 7 and 8 on the plain loss, or with a mistake in them."""
    (group,) = sgd.param_groups
    here = {name: w.detach().clone().requires_grad_() for name, w in model.named_parameters()}

    def by_weights(weights: Weights, seed: int) -> list[Tensor]:
        leaves = [w.detach().requires_grad_() for w in weights.values()]
        loss = plain_loss(model, dict(zip(weights, leaves, strict=True)), alphas, seed=seed)
        return list(torch.autograd.grad(loss, leaves))

    def by_alpha(weights: Weights, seed: int) -> Tensor:
        leaves = {name: alpha.clone().requires_grad_() for name, alpha in alphas.items()}
        loss = plain_loss(model, {name: w.detach() for name, w in weights.items()}, leaves, seed=seed)
        return flat(dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)))

    slopes = by_weights(here, TRAIN)
    buffers = [sgd.state[parameter]["momentum_buffer"] for parameter in model.parameters()]
    ahead = {
        name: w - group["lr"] * (slope + group["weight_decay"] * w + group["momentum"] * buffer)
        for (name, w), slope, buffer in zip(here.items(), slopes, buffers, strict=True)
    }
    places = {"here": here, "ahead": ahead}
    v = by_weights(places[v_at], VALIDATION)
    eps = 0.01 / torch.cat([part.flatten() for part in v]).norm()
    above, below = (
        by_alpha(
            {name: w + side * eps * part for (name, w), part in zip(places[around].items(), v, strict=True)},
            TRAIN,
        )
        for side in (1.0, -1.0)
    )
    product = (above - below) / (2 * eps) if divided else (above - below) / 2 * eps
    return by_alpha(ahead, VALIDATION) + sign * (group["lr"] if times_xi else 1.0) * product


@pytest.mark.parametrize(
    "mistake",
    [
        {"sign": 1.0},
        {"times_xi": False},
        {"divided": False},
        {"v_at": "here"},
        {"around": "ahead"},
    ],
    ids=["sign", "no xi", "(g+ - g-) / 2 * eps", "v at w", "around w'"],
)
def test_every_known_mistake_would_be_noticed(mistake: dict[str, object]) -> None:
    model, sgd, optimizer = prepared()
    alphas = alphas_of(optimizer)
    whole, through = (flat(part) for part in exact(model, sgd, alphas))
    right = by_recipe(model, sgd, alphas)
    wrong = by_recipe(model, sgd, alphas, **mistake)  # type: ignore[arg-type]
    assert (right - whole).norm() < 1e-4 * through.norm()
    assert (wrong - whole).norm() > 0.05 * through.norm()
    torch.testing.assert_close(flat(measured(optimizer, model)), right, rtol=1e-7, atol=1e-10)


def test_parameter_groups_have_learning_rates_of_their_own() -> None:
    model, _, optimizer = prepared()
    slow = [*model.first.parameters(), *model.second.parameters()]
    groups = [{"params": slow, "lr": 0.2}, {"params": list(model.third.parameters())}]
    sgd = torch.optim.SGD(groups, lr=0.5)
    other = DartsSecondOrder(model, rounds=10, weight_optimizer=sgd)
    for name, learner in other.learners.items():
        learner.alpha_EK.copy_(optimizer.log_weights(name))  # type: ignore[attr-defined]
    other._apply_to_model()
    found = flat(measured(other, model))
    weights = {name: w.detach().clone().requires_grad_() for name, w in model.named_parameters()}
    leaves = {name: alpha.clone().requires_grad_() for name, alpha in alphas_of(other).items()}
    slopes = torch.autograd.grad(
        plain_loss(model, weights, leaves, seed=TRAIN), list(weights.values()), create_graph=True
    )
    ahead = {
        name: w - (0.5 if name.startswith("third") else 0.2) * slope
        for (name, w), slope in zip(weights.items(), slopes, strict=True)
    }
    loss = plain_loss(model, ahead, leaves, seed=VALIDATION)
    expected = flat(dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


class Normed(nn.Module):
    """Running statistics, dropout, a parameter that nothing uses and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.choice = Forecaster({"a": nn.Linear(4, 6), "b": nn.Sequential(nn.Linear(4, 6), nn.Tanh())})
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 3)
        self.unused = nn.Parameter(torch.ones(2))
        self.frozen = nn.Parameter(torch.ones(6), requires_grad=False)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.drop(torch.tanh(self.norm(self.choice(inputs)))) * self.frozen)
        return logits


def everything(model: nn.Module, sgd: torch.optim.SGD) -> list[bytes | None]:
    """The bits of all that must not change."""
    tensors = [
        *model.parameters(),
        *(parameter.grad for parameter in model.parameters()),
        *model.buffers(),
        *(value for state in sgd.state.values() for value in state.values()),
    ]
    return [None if tensor is None else tensor.detach().numpy().tobytes() for tensor in tensors]


def trained_a_little() -> tuple[Normed, torch.optim.SGD, DartsSecondOrder]:
    model = Normed()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    optimizer = DartsSecondOrder(model, rounds=10, weight_optimizer=sgd)
    for seed in range(2):
        sgd.zero_grad()
        losses(model, seed=seed).mean().backward()
        sgd.step()
    return model, sgd, optimizer  # with the gradients of the last step left in place


def test_weights_norms_gradients_and_the_weight_optimizer_are_bit_for_bit_as_before() -> None:
    model, sgd, optimizer = trained_a_little()
    before = everything(model, sgd)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    measured(optimizer, model)
    assert everything(model, sgd) == before
    assert [parameter.requires_grad for parameter in model.parameters()] == flags


@pytest.mark.parametrize("failing", range(4))
def test_so_they_are_if_any_of_the_four_passes_fails(failing: int) -> None:
    model, sgd, optimizer = trained_a_little()
    before = everything(model, sgd)
    count = itertools.count()

    def failing_pass(seed: int) -> Callable[[], Tensor]:
        def run() -> Tensor:
            result = losses(model, seed=seed)
            if next(count) == failing:
                raise RuntimeError("out of memory")
            return result

        return run

    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.measure(failing_pass(VALIDATION), training=failing_pass(TRAIN))
    assert next(count) == failing + 1
    assert everything(model, sgd) == before
    assert all(member._leaf is None for group in optimizer.groups.values() for member in group)


def test_both_sides_of_the_difference_see_the_same_dropout() -> None:
    # Other masks on the two sides would be divided by 2 eps.
    model, _, optimizer = trained_a_little()
    masks: list[Tensor] = []
    model.drop.register_forward_hook(lambda _, inputs, outputs: masks.append(outputs != 0))
    measured(optimizer, model)
    ahead, forecast, above, below = masks
    assert torch.equal(above, below)
    assert not torch.equal(ahead, forecast)
    assert not torch.equal(forecast, above)


def test_a_rate_of_zero_leaves_first_order() -> None:
    model, sgd, optimizer = prepared()
    sgd.param_groups[0]["lr"] = 0.0
    found = flat(measured(optimizer, model))
    leaves = {name: alpha.requires_grad_() for name, alpha in alphas_of(optimizer).items()}
    loss = plain_loss(model, dict(model.named_parameters()), leaves, seed=VALIDATION)
    expected = flat(dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)))
    torch.testing.assert_close(found, expected)


def test_what_it_needs_and_does_not_get_is_named_in_one_line() -> None:
    model = Twins()
    for bad, said in [
        (None, "got NoneType"),
        (torch.optim.Adam(model.parameters()), "got Adam"),
        (torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True), "got nesterov = True"),
        (torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.5), "got dampening = 0.5"),
    ]:
        with pytest.raises(ValueError, match=f"weight_optimizer must be a torch.optim.SGD without.*; {said}"):
            DartsSecondOrder(model, rounds=1, weight_optimizer=bad)
    optimizer = DartsSecondOrder(
        model, rounds=1, weight_optimizer=torch.optim.SGD(model.parameters(), lr=0.1)
    )
    with pytest.raises(ValueError, match=r"call measure\(closure, training=...\)"):
        optimizer.measure(lambda: losses(model))
    with pytest.raises(ValueError, match=r"one loss for each sample, shape \(B,\).*got shape \(\)"):
        optimizer.measure(lambda: losses(model), training=lambda: losses(model).mean())
