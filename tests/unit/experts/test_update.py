"""The exponentiated-gradient update, alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from xnas.experts.update import clip_rewards, eg_update, mixture


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=6), st.floats(-300, 300))
def test_the_mixture_depends_on_differences_of_log_weights_alone(log_v: list[float], shift: float) -> None:
    log_v_EK = torch.tensor([log_v], dtype=torch.float64)
    alive_EK = torch.ones_like(log_v_EK, dtype=torch.bool)
    torch.testing.assert_close(mixture(log_v_EK + shift, alive_EK), mixture(log_v_EK, alive_EK))


def test_an_outlying_feedback_moves_an_expert_by_eta_l_at_most() -> None:
    moved = eg_update(torch.zeros(1, 2), torch.tensor([[[1e12, -1e12]]]), step_size=0.1, reward_bound=2.0)
    torch.testing.assert_close(moved, torch.tensor([[0.2, -0.2]]))


def test_every_feedback_is_clipped_before_they_are_summed() -> None:
    rewards_FEK = torch.tensor([[[3.0]], [[-1.0]]])
    assert clip_rewards(rewards_FEK, reward_bound=1.0).sum().item() == 0
    assert eg_update(torch.zeros(1, 1), rewards_FEK, step_size=1.0, reward_bound=1.0).item() == 0


def test_wiped_experts_have_exactly_no_weight() -> None:
    mixture_EK = mixture(torch.tensor([[5.0, 0.0, 0.0]]), torch.tensor([[False, True, True]]))
    assert mixture_EK.tolist() == [[0.0, 0.5, 0.5]]
