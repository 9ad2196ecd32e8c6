import pytest

from xnas.report.stats import standard_deviation, wilson_interval


def test_wilson_interval_agrees_with_values_worked_out_by_hand() -> None:
    # z = 1.96, n = 100, 90 hits: centre (0.9 + 0.019208) / 1.038416, reach 1.96 * sqrt(0.0009 + 0.00009604) / 1.038416
    assert wilson_interval(0.9, samples=100, z=1.96) == pytest.approx((0.825633, 0.944771), abs=1e-6)
    # all hits: the lower end is n / (n + z^2)
    assert wilson_interval(1.0, samples=10, z=2.0) == pytest.approx((10 / 14, 1.0))
    assert wilson_interval(0.0, samples=10, z=2.0) == pytest.approx((0.0, 4 / 14))


def test_wilson_interval_is_narrower_with_more_samples_and_stays_in_the_unit_interval() -> None:
    widths = [high - low for low, high in (wilson_interval(0.97, samples=n) for n in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)
    assert wilson_interval(1.0, samples=1)[1] == 1.0


@pytest.mark.parametrize(
    ("share", "samples", "word"), [(1.1, 10, "share"), (-0.1, 10, "share"), (0.5, 0, "samples")]
)
def test_wilson_interval_refuses_what_is_no_share_or_no_sample(share: float, samples: int, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        wilson_interval(share, samples=samples)


def test_sample_standard_deviation_agrees_with_values_worked_out_by_hand() -> None:
    # mean 0.91; squares 0.0001 + 0.0004 + 0.0009 over n - 1 = 2
    assert standard_deviation([0.90, 0.89, 0.94]) == pytest.approx(0.0264575, abs=1e-6)
    assert standard_deviation([0.9]) is None
