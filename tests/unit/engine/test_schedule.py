"""Learning-rate schedules."""

import pytest

from xnas.engine.schedule import cosine


def test_the_cosine_starts_at_its_start_falls_and_would_reach_its_end() -> None:
    rates = [cosine(epoch, epochs=10, start=0.1, end=0.01) for epoch in range(11)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[5] == pytest.approx(0.055)
    assert rates[10] == pytest.approx(0.01)
    assert rates == sorted(rates, reverse=True)
