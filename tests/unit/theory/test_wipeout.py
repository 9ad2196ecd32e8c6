"""The wipeout: what it saves, when it may begin, and what is lost once it is relaxed."""

import pytest

from xnas.theory.wipeout import KINDS, WipeoutGames, play_wipeout

from ...helpers.small_games import WIPEOUT


def test_with_zeta_one_the_best_is_never_lost_and_nobody_goes_in_the_first_half() -> None:
    numbers = play_wipeout(50, games=WipeoutGames(rounds=100, zetas=(1.0,)))
    for found in numbers["by_zeta"][0]["by_kind"]:
        assert found["lost"] == 0
        assert found["earliest_gone"] > 0.5


def test_nobody_goes_before_the_share_that_zeta_allows() -> None:
    numbers = play_wipeout(20, games=WIPEOUT)
    for item in numbers["by_zeta"]:
        for found in item["by_kind"]:
            assert found["earliest_gone"] > item["zeta"] / (1 + item["zeta"])


def test_a_smaller_zeta_saves_more_and_loses_more_bloomers() -> None:
    numbers = play_wipeout(20, games=WIPEOUT)
    for kind in range(len(KINDS)):
        saved = [item["by_kind"][kind]["saved"] for item in numbers["by_zeta"]]
        assert saved == sorted(saved)
    lost = [item["by_kind"][KINDS.index("bloomer")]["lost"] for item in numbers["by_zeta"]]
    assert lost == sorted(lost)
    assert (lost[0], lost[-1]) == (0, 1)


def test_the_regret_stays_below_the_bound_while_the_best_is_kept() -> None:
    numbers = play_wipeout(50, games=WipeoutGames(rounds=100, zetas=(1.0,)))
    for found in numbers["by_zeta"][0]["by_kind"]:
        assert found["regret_10_50_90"][-1] < numbers["settings"]["bound"]


def test_gamma_lies_between_one_and_the_number_of_experts() -> None:
    numbers = play_wipeout(50, games=WIPEOUT)
    for item in numbers["by_zeta"]:
        for found in item["by_kind"]:
            assert 1 <= found["gamma"] <= found["largest_gamma"] < numbers["settings"]["experts"]


def test_the_experts_alive_fall_from_all_to_one_and_what_is_saved_is_what_they_leave() -> None:
    numbers = play_wipeout(10, games=WIPEOUT)
    for item in numbers["by_zeta"]:
        for found in item["by_kind"]:
            alive = found["alive"]
            assert alive == sorted(alive, reverse=True)
            assert (alive[0], alive[-1]) == (8, 1)
            # 100 rounds and 101 points: every round is computed by those who were alive before it.
            assert found["saved"] == pytest.approx(1 - sum(alive[:-1]) / 800, abs=1e-5)


def test_games_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="experts must be at least 2"):
        WipeoutGames(experts=1)
    with pytest.raises(ValueError, match=r"zeta must lie in \(0, 1\]; got 2"):
        play_wipeout(1, games=WipeoutGames(rounds=4, zetas=(2.0,)))
