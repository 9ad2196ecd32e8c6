"""The wipeout, alone. That it never removes the best expert in hindsight (lemma 1) is tested with the theorems."""

import torch

from xnas.experts.wipeout import survivors


def wipe(log_v: list[float], *, left: int, zeta: float = 1.0, alive: list[bool] | None = None) -> list[bool]:
    log_v_EK = torch.tensor([log_v], dtype=torch.float64)
    alive_EK = torch.tensor([alive or [True] * len(log_v)])
    kept_EK = survivors(log_v_EK, alive_EK, step_size=0.5, reward_bound=2.0, feedbacks_left=left, zeta=zeta)
    kept: list[bool] = kept_EK[0].tolist()
    return kept


def test_an_expert_goes_when_it_lags_by_more_than_two_eta_l_for_each_feedback_to_come() -> None:
    assert wipe([0.0, -19.99, -20.0, -20.01], left=10) == [True, True, True, False]


def test_zeta_relaxes_the_threshold() -> None:
    assert wipe([0.0, -4.99, -5.01], left=10, zeta=0.25) == [True, True, False]


def test_the_threshold_holds_where_its_exponential_is_zero() -> None:
    assert wipe([0.0, -19_999.0, -20_001.0], left=10_000) == [True, True, False]


def test_the_leader_among_the_living_decides() -> None:
    assert wipe([100.0, 0.0, -1.0], left=10, alive=[False, True, True]) == [False, True, True]


def test_past_the_horizon_only_leaders_stay_and_ties_stay_together() -> None:
    assert wipe([1.0, 1.0, 0.0], left=0) == [True, True, False]
    assert wipe([1.0, 1.0, 0.0], left=-5) == [True, True, False]
