"""Learning-rate schedules, and the probability of drop-path."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas.train.schedule import drop_probability, learning_rate, power_cosine


def rates(epochs: int, **schedule: float) -> list[float]:
    return [
        learning_rate(epoch, epochs=epochs, start=0.1, end=0.01, **schedule)  # type: ignore[arg-type]
        for epoch in range(epochs)
    ]


def as_printed(t: float, horizon: float, p: float) -> float:
    """The fraction of sharpDARTS, word by word."""
    return float((p ** (1 + (1 + math.cos(math.pi * t / horizon)) / 2) - p) / (p**2 - p))


def test_the_cosine_starts_at_its_start_falls_and_would_reach_its_end() -> None:
    found = [*rates(10), learning_rate(10, epochs=10, start=0.1, end=0.01)]
    assert found[0] == pytest.approx(0.1)
    assert found[5] == pytest.approx(0.055)
    assert found[10] == pytest.approx(0.01)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("p", [1.5, 2, 10, 100, 1e6])
def test_power_cosine_annealing_is_as_it_is_printed(p: float) -> None:
    for t in range(101):
        assert power_cosine(t, horizon=100, power=p) == pytest.approx(as_printed(t, 100, p), abs=1e-12)
    assert power_cosine(0, horizon=100, power=p) == pytest.approx(1)
    assert power_cosine(100, horizon=100, power=p) == 0


def test_power_cosine_annealing_by_hand() -> None:
    # Halfway c = 1/2: (p^1.5 - p) / (p^2 - p) = (sqrt(p) - 1) / (p - 1) = 1 / (sqrt(p) + 1).
    assert power_cosine(5, horizon=10, power=4) == pytest.approx(1 / 3)
    assert power_cosine(5, horizon=10, power=9) == pytest.approx(1 / 4)
    assert power_cosine(5, horizon=10, power=10) == pytest.approx(0.2402530734)
    # A third of the way cos = 1/2 and c = 3/4: (16^0.75 - 1) / 15 = 7 / 15.
    assert power_cosine(1, horizon=3, power=16) == pytest.approx(7 / 15)


@settings(max_examples=300, derandomize=True)
@given(st.floats(0, 1), st.floats(1e-16, 1e-3))
def test_near_one_the_power_is_the_cosine_to_all_digits(t: float, above: float) -> None:
    cosine = power_cosine(t, horizon=1)
    # Of first order in p - 1 the fraction is c - (p - 1) c (1 - c) / 2.
    found = power_cosine(t, horizon=1, power=1 + above)
    assert found == pytest.approx(cosine, abs=above / 8 + 1e-15)
    assert 0 <= found <= cosine + 1e-15


def test_near_one_the_formula_as_printed_has_no_digits_left() -> None:
    p = 1 + 2e-16
    assert abs(as_printed(1, 3, p) - 0.75) > 0.1
    assert power_cosine(1, horizon=3, power=p) == pytest.approx(0.75, abs=1e-15)


@settings(max_examples=200, derandomize=True)
@given(st.floats(0, 1), st.floats(1, 50), st.floats(1.01, 10))
def test_the_larger_the_power_the_sooner_the_rate_falls(t: float, p: float, more: float) -> None:
    assert power_cosine(t, horizon=1, power=p * more) <= power_cosine(t, horizon=1, power=p) + 1e-12


def test_every_cycle_anneals_again_from_a_share_of_the_amplitude_before() -> None:
    found = rates(50, power=10, cycles=5, cycle_decay=0.5)
    first = [rate - 0.01 for rate in found[:10]]
    assert first == pytest.approx([0.09 * power_cosine(t, horizon=10, power=10) for t in range(10)])
    for cycle in range(5):
        again = [rate - 0.01 for rate in found[10 * cycle : 10 * cycle + 10]]
        assert again == pytest.approx([0.5**cycle * rate for rate in first])
    assert found[::10] == pytest.approx([0.1, 0.055, 0.0325, 0.02125, 0.015625])


def test_the_papers_five_cycles_in_1500_epochs_begin_every_300_epochs_at_half_the_rate() -> None:
    def rate(epoch: int) -> float:
        return learning_rate(epoch, epochs=1500, start=0.025, end=0.0, power=10, cycles=5, cycle_decay=0.5)

    peaks = [rate(300 * cycle) for cycle in range(5)]
    assert peaks == pytest.approx([0.025, 0.0125, 0.00625, 0.003125, 0.0015625])
    assert all(rate(300 * cycle - 1) < 1e-6 for cycle in range(1, 6))
    # In the middle of the first: 0.025 (sqrt(10) - 1) / 9.
    assert rate(150) == pytest.approx(0.00600632683)


@settings(max_examples=300, derandomize=True)
@given(st.integers(1, 60), st.data())
def test_cycles_that_do_not_divide_the_epochs_differ_by_an_epoch_and_begin_at_their_peaks(
    epochs: int, data: st.DataObject
) -> None:
    cycles = data.draw(st.integers(1, epochs))
    found = rates(epochs, power=3, cycles=cycles, cycle_decay=0.75)
    begins = [number * epochs // cycles for number in range(cycles)]
    lengths = [after - before for before, after in zip(begins, [*begins[1:], epochs], strict=True)]
    assert sum(lengths) == epochs
    assert max(lengths) - min(lengths) <= 1
    for number, (begin, length) in enumerate(zip(begins, lengths, strict=True)):
        cycle = found[begin : begin + length]
        assert cycle[0] == pytest.approx(0.01 + 0.09 * 0.75**number)
        assert cycle == sorted(cycle, reverse=True)


def test_drop_path_rises_evenly_from_nothing_to_its_probability_in_the_last_epoch() -> None:
    found = [drop_probability(epoch, epochs=5, last=0.2) for epoch in range(5)]
    assert found == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert drop_probability(0, epochs=1, last=0.2) == 0.2
