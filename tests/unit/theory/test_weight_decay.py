"""Weight decay: entropy by the coefficient, against torch's own Adam, and its invariance to the rewards' size."""

import pytest
import torch

from xnas.optimizers.softmax import SoftmaxLearner
from xnas.theory.entropy import normalised_entropy
from xnas.theory.weight_decay import DecayedSoftmax, Decays, play_weight_decay

from ...helpers.small_games import DECAYS


def adam(parameters: list[torch.Tensor], decay: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01, betas=(0.5, 0.999), weight_decay=decay)


def test_decay_row_by_row_is_the_decay_of_torchs_adam() -> None:
    decays = (0.0, 1e-3, 0.1)
    gradients_TEK = torch.randn(50, 1, 1, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    together = DecayedSoftmax(3, 5, descent=adam)
    together.decay_E1 = torch.tensor(decays, dtype=torch.float64)[:, None]
    apart = [
        SoftmaxLearner(1, 5, descent=lambda parameters, decay=decay: adam(parameters, decay))  # type: ignore[misc]
        for decay in decays
    ]
    for gradients_FEK in gradients_TEK:
        together.update(gradients_FEK.expand(-1, 3, -1))
        for learner in apart:
            learner.update(gradients_FEK)
    torch.testing.assert_close(together.log_v_EK, torch.cat([learner.log_v_EK for learner in apart]))


def test_only_decay_over_the_size_of_the_rewards_counts() -> None:
    gradients_TEK = torch.randn(200, 1, 1, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    learner = DecayedSoftmax(2, 5, descent=adam)
    scales = torch.tensor([[1.0], [1e-3]], dtype=torch.float64)
    learner.decay_E1 = 0.3 * scales
    for gradients_FEK in gradients_TEK:
        learner.update(scales * gradients_FEK)
    large, small = normalised_entropy(learner.mixture_EK).tolist()
    assert small == pytest.approx(large, abs=1e-3)


def test_more_decay_means_more_entropy_and_so_does_a_larger_bound_for_xnas() -> None:
    numbers = play_weight_decay(2, games=DECAYS)
    for items in (numbers["adam"], numbers["xnas"]):
        entropies = [item["mean_normalised_entropy"] for item in items]
        assert entropies == sorted(entropies)
        assert all(0 <= entropy <= 1 for entropy in entropies)
        for item in items:
            low, high = item["lowest_and_highest_search"]
            assert low <= item["mean_normalised_entropy"] <= high


def test_searches_are_the_same_however_many_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    games = Decays(forecasters=2, rounds=40, ratios=(0.0, 0.1), bounds=(1.0,))
    together = play_weight_decay(5, games=games)  # four, then one
    monkeypatch.setattr("xnas.theory.weight_decay._AT_ONCE", 1)
    assert play_weight_decay(5, games=games) == together


def test_searches_without_a_choice_are_refused() -> None:
    with pytest.raises(ValueError, match="experts must be at least 2"):
        Decays(experts=1)
    with pytest.raises(ValueError, match="seeds must be at least 1; got 0"):
        play_weight_decay(0, games=DECAYS)
