"""Late bloomers: who finds them, and where XNAS itself no longer does."""

from dataclasses import replace

import pytest

from xnas.theory.contenders import CONTENDERS
from xnas.theory.late_bloomers import Blooming, last_delay, least_zeta, play_late_bloomers, shown

from ...helpers.small_games import BLOOMING, only


def test_without_delay_everyone_leads_with_the_best_at_once() -> None:
    numbers = play_late_bloomers(1, games=BLOOMING)
    for item in numbers["played"]:
        assert [found["leads_from"][0] for found in item["by_pay"]] == [0, 0]
    assert len(numbers["played"]) == sum(len(each.multiples + each.rates) for each in CONTENDERS)


def test_xnas_finds_the_bloomer_whenever_it_is_best_in_hindsight_and_as_soon_as_it_is_ahead() -> None:
    steps = (0.01, 1.0, 30.0)
    numbers = play_late_bloomers(1, games=BLOOMING, contenders=only("xnas", multiples=steps))
    for item in numbers["played"]:
        for found, delays, last in zip(
            item["by_pay"],
            numbers["settings"]["delays"],
            numbers["settings"]["best_in_hindsight_below"],
            strict=True,
        ):
            for since, delay in zip(found["leads_from"], delays, strict=True):
                if delay < last:
                    # Behind by (0.25 - pays) D at the delay D, it catches up by 0.75 a round.
                    ahead = delay * (1 + (0.25 - found["pays"]) / 0.75)
                    assert since == pytest.approx(ahead, abs=0.021)
                else:
                    assert since is None


def test_the_last_delay_is_where_the_bloomer_earns_as_much_as_the_steady_expert() -> None:
    for pays in (0.0, -0.5, -1.0):
        delay = last_delay(pays)
        assert pays * delay + (1 - delay) == pytest.approx(0.25)


def test_gradient_descent_with_larger_steps_finds_fewer_bloomers() -> None:
    numbers = play_late_bloomers(
        1, games=BLOOMING, contenders=only("gd", multiples=(0.25, 4.0, 64.0, 1024.0))
    )
    found = [item["found_of_due"] for item in numbers["played"]]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]


@pytest.mark.parametrize("pays", [0.0, -1.0])
@pytest.mark.parametrize("delay", [0.1, 0.2, 0.3])
def test_zeta_below_the_least_loses_the_bloomer_and_above_it_keeps_it(pays: float, delay: float) -> None:
    least = least_zeta(delay, pays=pays)
    games = Blooming(
        rounds=400,
        darts_rounds=1,
        delays_by_pay=((0.0, (delay, 0.5)), (-1.0, (delay,))),
        zetas=(0.98 * least, 1.02 * least),
    )
    numbers = play_late_bloomers(1, games=games, contenders=only("xnas", multiples=(1.0,)))
    below, above = numbers["xnas_by_zeta"]
    which = 0 if pays == 0 else 1
    assert above["longest_delay_found"][which] is not None
    assert below["longest_delay_found"][which] is None


def test_numbers_are_the_same_again() -> None:
    some = only("adam", rates=(0.01,))
    first, second = (play_late_bloomers(1, games=BLOOMING, contenders=some) for _ in range(2))
    assert first == second


def test_what_is_shown_has_every_learner_at_eta_and_at_its_least_regret() -> None:
    numbers = play_late_bloomers(1, games=replace(BLOOMING, rounds=50))
    pairs = [(why, item["learner"]) for why, item in shown(numbers)]
    assert pairs == [
        ("at η*", "xnas"),
        ("at η*", "gd"),
        ("least regret", "gd"),
        ("at η*", "momentum"),
        ("least regret", "momentum"),
        ("least regret", "adam"),
        ("as in DARTS", "adam"),
    ]


def test_games_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="experts must be at least 2"):
        Blooming(experts=1)
    with pytest.raises(ValueError, match="rounds must be at least 1; got 0"):
        Blooming(rounds=0)
    with pytest.raises(ValueError, match=r"curve_delay must be one of the delays without pay; got 0\.51"):
        Blooming(curve_delay=0.51)
