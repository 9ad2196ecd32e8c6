"""Initial weights, and regret against selection: games with noise."""

import math

import pytest

from xnas.theory.initialisation import Starts, play_initialisation
from xnas.theory.regret_selection import NoisyGames, play_regret_selection

from ...helpers.small_games import NOISY, STARTS, only


def test_without_noise_xnas_makes_good_exactly_what_eta_t_times_the_lead_covers() -> None:
    games = Starts(rounds=100, gap=0.3, sigmas=(1e-9,), v0s=(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0))
    numbers = play_initialisation(1, games=games, contenders=only("xnas", multiples=(1.0,)))
    settings = numbers["settings"]
    assert settings["lead_per_round"] == pytest.approx([0.3])
    enough = settings["v0_that_xnas_makes_good"][0]
    assert enough == pytest.approx(math.exp(-math.sqrt(2 * math.log(8) * 100) * 0.3), rel=1e-5)
    assert numbers["played"][0]["found"][0] == [float(v0 > enough) for v0 in games.v0s]


def test_softmax_descent_from_a_millionth_goes_nowhere_and_from_equal_weights_finds_the_best() -> None:
    games = Starts(rounds=300, sigmas=(0.25,), v0s=(1e-6, 1.0))
    for name in ("gd", "momentum"):
        numbers = play_initialisation(5, games=games, contenders=only(name, multiples=(1.0,)))
        assert numbers["played"][0]["found"] == [[0, 1]]


def test_shares_come_with_intervals_that_hold_them_and_a_mean() -> None:
    numbers = play_initialisation(4, games=STARTS)
    for item in numbers["played"]:
        shares = [share for row in item["found"] for share in row]
        intervals = [pair for row in item["interval_95"] for pair in row]
        assert all(low <= share <= high for share, (low, high) in zip(shares, intervals, strict=True))
        assert item["mean_found"] == pytest.approx(sum(shares) / len(shares), rel=1e-5)
    assert numbers["n"] == 4


def test_xnas_picks_the_best_exactly_where_the_rewards_say_so_whatever_its_step_size() -> None:
    some = only("xnas", multiples=(0.1, 1.0, 16.0))
    numbers = play_regret_selection(40, games=NoisyGames(rounds=100), contenders=some)
    for item in numbers["played"]:
        picked = [found["picked_best"] for found in item["by_sigma"]]
        assert picked == numbers["best_mean_is_best_in_hindsight"]


def test_more_noise_hides_the_best() -> None:
    numbers = play_regret_selection(40, games=NOISY, contenders=only("xnas", multiples=(1.0,)))
    shares = numbers["best_mean_is_best_in_hindsight"]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_the_regret_stays_below_the_bound_at_eta() -> None:
    numbers = play_regret_selection(40, games=NOISY, contenders=only("xnas", multiples=(1.0,)))
    for found in numbers["played"][0]["by_sigma"]:
        low, middle, high = found["regret_10_50_90"]
        assert low <= middle <= high < numbers["settings"]["bound"]


@pytest.mark.parametrize("play", [play_initialisation, play_regret_selection])
def test_games_without_seeds_are_refused(play) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="seeds must be at least 1; got 0"):
        play(0)


def test_initial_weights_must_be_positive() -> None:
    with pytest.raises(ValueError, match="v_0 must be positive; got 0"):
        Starts(v0s=(0.0, 1.0))
