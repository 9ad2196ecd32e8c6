"""The entropy of mixtures, from a choice to no choice at all."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xnas.theory.entropy import normalised_entropy


def test_equal_weights_have_entropy_one_and_a_choice_has_zero() -> None:
    mixtures = torch.tensor([[0.25] * 4, [0.0, 1.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
    assert normalised_entropy(mixtures).tolist() == pytest.approx([1, 0, 0.5])


def test_it_is_the_sum_of_u_ln_u_over_ln_n() -> None:
    weights = [0.7, 0.2, 0.1]
    expected = -sum(u * math.log(u) for u in weights) / math.log(3)
    assert float(normalised_entropy(torch.tensor([weights], dtype=torch.float64))) == pytest.approx(expected)


def test_a_lone_expert_leaves_nothing_open() -> None:
    assert normalised_entropy(torch.ones(2, 1, dtype=torch.float64)).tolist() == [0, 0]


@given(st.integers(2, 32).flatmap(lambda n: st.lists(st.floats(-800, 800, width=32), min_size=n, max_size=n)))
def test_it_lies_between_zero_and_one(log_weights: list[float]) -> None:
    mixture_EK = torch.tensor([log_weights], dtype=torch.float64).softmax(dim=-1)
    assert -1e-12 <= float(normalised_entropy(mixture_EK)) <= 1 + 1e-12
