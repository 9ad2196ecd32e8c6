"""The XNAS optimizer on models of a user's own."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.optimizers.base import ArchitectureOptimizer
from xnas.optimizers.xnas import XNAS
from xnas.space.forecaster import Forecaster


class Twins(nn.Module):
    """Two replicas of a choice between linear maps, and one other choice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = Forecaster(
            {"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "c": nn.Identity()}, group="twins"
        )
        self.second = Forecaster(
            {"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "c": nn.Identity()}, group="twins"
        )
        self.third = Forecaster({"on": nn.Linear(4, 3), "off": nn.Linear(4, 3)}, group="head")

    def forward(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = self.third(torch.tanh(self.second(torch.tanh(self.first(inputs)))))
        return hidden


def batch(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 4, generator=generator), torch.randint(3, (size,), generator=generator)


def measure(optimizer: ArchitectureOptimizer, model: nn.Module, size: int = 8, seed: int = 0) -> Tensor:
    inputs, labels = batch(size, seed)
    return optimizer.measure(lambda: F.cross_entropy(model(inputs), labels, reduction="none"))


def prefers(optimizer: XNAS, group: str, rewards_K: list[float], feedbacks: int) -> None:
    """Put feedbacks into the optimizer as if they had been measured."""
    size = optimizer.states[group].log_v_EK.shape
    for name, members in optimizer.groups.items():
        shape = (members.num_replicas, feedbacks, len(members.replicas_ER), len(optimizer.names(name)))
        gradients = torch.zeros(shape, dtype=torch.float64)
        if name == group:
            gradients -= torch.tensor(rewards_K).expand(size).double()
        optimizer._gradients[name].append(gradients)


def test_horizon_and_step_size_are_each_groups_own() -> None:
    optimizer = XNAS(Twins(), rounds=10, batch_size=8, feedback="sample", reward_bound=1.0)
    twins, head = optimizer.settings["twins"], optimizer.settings["head"]
    assert (twins.replicas, len(twins.experts), twins.horizon) == (2, 3, 160)
    assert (head.replicas, len(head.experts), head.horizon) == (1, 2, 80)
    assert twins.step_size == pytest.approx(math.sqrt(2 * math.log(3) / 160))
    assert str(twins) == (
        "twins: 1 forecasters, N = 3 experts, 2 replicas, feedback per sample, T = 160 feedbacks, "
        "eta = 0.117, L = 1, zeta = 1"
    )


def test_a_step_moves_log_weights_by_the_clipped_rewards_of_every_sample_in_every_replica() -> None:
    model = Twins()
    optimizer = XNAS(model, rounds=10, batch_size=8, reward_bound=0.05, zeta=None, feedback="sample")
    inputs, labels = batch(8)
    expected = torch.zeros(3, dtype=torch.float64)
    for sample in range(8):
        for member in (model.first, model.second):
            leaf = member.mixture_K.clone().requires_grad_()
            plain = copy.deepcopy(model)
            twin = plain.first if member is model.first else plain.second
            twin.mixture_K = leaf
            F.cross_entropy(plain(inputs[sample : sample + 1]), labels[sample : sample + 1]).backward()
            assert leaf.grad is not None
            expected += (-leaf.grad).clamp(-0.05, 0.05).double()
    measure(optimizer, model)
    optimizer.step()
    eta = optimizer.settings["twins"].step_size
    torch.testing.assert_close(optimizer.states["twins"].log_v_EK[0], eta * expected, rtol=1e-5, atol=1e-8)
    assert optimizer.states["twins"].num_feedbacks == 16


@pytest.mark.parametrize("feedback", ["replica", "batch"])
def test_batch_feedback_is_the_mean_losss_reward_of_each_replica_or_of_all(feedback: str) -> None:
    model = Twins()
    per_sample = XNAS(model, rounds=10, batch_size=8, feedback="sample", reward_bound=1.0)
    measure(per_sample, model)
    sample_FEK = per_sample.gradients("twins").view(2, 8, 1, 3)
    optimizer = XNAS(model, rounds=10, batch_size=8, feedback=feedback, reward_bound=1.0)  # type: ignore[arg-type]
    measure(optimizer, model)
    by_replica = sample_FEK.mean(dim=1)
    expected = by_replica if feedback == "replica" else by_replica.sum(dim=0, keepdim=True)
    torch.testing.assert_close(optimizer.gradients("twins"), expected, rtol=1e-5, atol=1e-8)
    optimizer.step()
    assert optimizer.states["twins"].num_feedbacks == len(expected)


def test_softmax_descents_reward_is_the_expert_reward_times_u_and_centred() -> None:
    # Line 8 takes u as a free leaf; equation 6 goes through the normalisation. Both by autograd.
    model = Twins()
    optimizer = XNAS(model, rounds=10, batch_size=8, feedback="sample", reward_bound=1.0)
    u_K = torch.tensor([0.5, 0.2, 0.3])
    for member in (model.first, model.second):
        member.set_mixture(u_K)
    measure(optimizer, model)
    rewards_K = -optimizer.gradients("twins").sum(dim=(0, 1))

    alpha_K = u_K.log().requires_grad_()
    inputs, labels = batch(8)
    for member in (model.first, model.second):
        member.mixture_K = alpha_K.softmax(dim=0)
    F.cross_entropy(model(inputs), labels, reduction="sum").backward()
    assert alpha_K.grad is not None
    centred_K = u_K * (rewards_K - (u_K * rewards_K).sum())
    torch.testing.assert_close(-alpha_K.grad.double(), centred_K, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(-alpha_K.grad.double(), rewards_K, atol=1e-2)


def test_measuring_leaves_no_gradients_in_the_network_and_no_trace_in_its_outputs() -> None:
    model = Twins()
    optimizer = XNAS(model, rounds=10, batch_size=8, feedback="sample", reward_bound=1.0)
    inputs, _ = batch(8)
    before = model(inputs)
    losses_B = measure(optimizer, model)
    assert losses_B.shape == (8,)
    assert not losses_B.requires_grad
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(model(inputs), before)


def test_a_wiped_expert_is_gone_from_the_model_and_from_the_weight_optimizer() -> None:
    model = Twins()
    weights = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    inputs, _ = batch(8)
    model(inputs).sum().backward()
    weights.step()
    optimizer = XNAS(
        model, rounds=10, batch_size=8, weight_optimizer=weights, feedback="sample", reward_bound=1.0
    )
    gone = [*model.first.experts[1].parameters(), *model.second.experts[1].parameters()]
    assert all(parameter in weights.state for parameter in gone)
    prefers(optimizer, "twins", [1.0, -1.0, 1.0], feedbacks=70)
    wiped = optimizer.step()
    assert [(gone.group, gone.index, gone.expert, gone.num_feedbacks) for gone in wiped] == [
        ("twins", 0, "b", 140)
    ]
    assert model.first.names == model.second.names == ("a", "c")
    left = {id(parameter) for parameter in model.parameters()}
    assert not any(id(parameter) in left for parameter in gone)
    assert {id(p) for group in weights.param_groups for p in group["params"]} == left
    assert {id(p) for p in weights.state} <= left
    measure(optimizer, model)
    assert (optimizer.gradients("twins")[:, 0, 1] == 0).all()
    optimizer.step()
    assert optimizer.mixture("twins")[0].tolist() == pytest.approx([0.5, 0, 0.5], abs=0.3)
    assert optimizer.mixture("twins")[0, 1] == 0


def test_a_search_finds_the_expert_that_fits() -> None:
    torch.manual_seed(0)
    good, bad = nn.Linear(4, 3), nn.Linear(4, 3)
    inputs = torch.randn(512, 4)
    labels = good(inputs).argmax(dim=1)
    model = nn.Sequential(Forecaster({"bad": bad, "good": good}))
    optimizer = XNAS(model, rounds=64, batch_size=8, feedback="sample", reward_bound=1.0)
    wiped = []
    for ids in torch.arange(512).split(8):
        optimizer.measure(lambda ids=ids: F.cross_entropy(model(inputs[ids]), labels[ids], reduction="none"))
        wiped += optimizer.step()
    assert optimizer.best("0") == ("good",)
    assert [gone.expert for gone in wiped] == ["bad"]
    assert wiped[0].num_feedbacks > 256  # with zeta = 1, not before half the horizon


def test_the_state_goes_through_a_dict_and_wiped_experts_stay_wiped() -> None:
    model = Twins()
    optimizer = XNAS(model, rounds=10, batch_size=8, feedback="sample", reward_bound=1.0)
    prefers(optimizer, "twins", [1.0, -1.0, 0.9], feedbacks=70)
    optimizer.step()
    later = Twins()
    resumed = XNAS(later, rounds=10, batch_size=8, feedback="sample", reward_bound=1.0)
    resumed.load_state_dict(optimizer.state_dict())
    assert later.first.names == ("a", "c")
    for left, right in ((optimizer, model), (resumed, later)):
        measure(left, right, seed=1)
        left.step()
    assert all(
        torch.equal(before, after)
        for before, after in zip(optimizer.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_a_state_of_another_search_is_refused_in_one_line() -> None:
    def state() -> dict[str, Tensor]:
        return XNAS(Twins(), rounds=10, batch_size=8, feedback="sample", reward_bound=1.0).state_dict()

    optimizer = XNAS(Twins(), rounds=10, batch_size=8, feedback="sample", reward_bound=1.0)
    missing = state()
    del missing["head.num_feedbacks"]
    strange = state() | {"tail.log_v_EK": torch.zeros(1, 2)}
    misshapen = state() | {"head.log_v_EK": torch.zeros(1, 5)}
    endless = state() | {"head.log_v_EK": torch.full((1, 2), torch.inf)}
    lifeless = state() | {"head.alive_EK": torch.zeros(1, 2, dtype=torch.bool)}
    for bad, line in [
        (missing, "group 'head': the state has no 'num_feedbacks'"),
        (strange, "the state holds 'tail.log_v_EK'"),
        (misshapen, "group 'head': 'log_v_EK' has shape (1, 2); the state's is (1, 5)"),
        (endless, "not all finite"),
        (lifeless, "a forecaster has no expert alive"),
    ]:
        before = optimizer.state_dict()
        with pytest.raises(ValueError) as refused:
            optimizer.load_state_dict(bad)
        assert line in str(refused.value)
        assert all(torch.equal(value, before[key]) for key, value in optimizer.state_dict().items())
    prefers(optimizer, "twins", [1.0, -1.0, 0.9], feedbacks=70)
    optimizer.step()
    with pytest.raises(ValueError, match="was wiped out here but is alive in the state"):
        optimizer.load_state_dict(state())


def test_misuse_is_answered_in_one_line() -> None:
    model = Twins()
    optimizer = XNAS(model, rounds=10, batch_size=8, feedback="sample", reward_bound=1.0)
    inputs, labels = batch(8)
    with pytest.raises(ValueError, match=r"one loss for each sample, shape \(B,\).*got shape \(\)"):
        optimizer.measure(lambda: F.cross_entropy(model(inputs), labels))
    with pytest.raises(ValueError, match="the losses do not depend on the forecasters"):
        optimizer.measure(lambda: torch.zeros(8))
    with pytest.raises(ValueError, match="no gradients gathered since the last step"):
        XNAS(Twins(), rounds=10, batch_size=8, feedback="sample", reward_bound=1.0).step()
    with pytest.raises(ValueError, match="rounds must be at least 1; got 0"):
        XNAS(Twins(), rounds=0, batch_size=8, feedback="sample", reward_bound=1.0)
    with pytest.raises(ValueError, match="Linear holds no Forecaster; put one where the choice is open"):
        XNAS(nn.Linear(1, 1), rounds=1, batch_size=1, feedback="sample", reward_bound=1.0)


def test_gradients_of_several_measurements_are_put_together_once_and_can_be_added_to() -> None:
    model = Twins()
    optimizer = XNAS(model, rounds=10, batch_size=8, feedback="sample", reward_bound=1.0)
    parts = []
    for seed in range(3):
        measure(optimizer, model, size=(3, 3, 2)[seed], seed=seed)
        parts.append(optimizer._gradients["twins"][-1])
        asked, again = optimizer.gradients("twins"), optimizer.gradients("twins")
        assert asked.data_ptr() == again.data_ptr()
        assert torch.equal(asked, torch.cat(parts, dim=1).flatten(end_dim=1))
