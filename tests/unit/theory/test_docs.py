"""docs/theory: its numbers are what the code gives, its tables are those of the numbers, its text is true to them."""

import json
from pathlib import Path
from typing import Any

import pytest

from xnas.theory.contenders import CONTENDERS, at_eta, tried
from xnas.theory.demonstration import markdown_table
from xnas.theory.demonstrations import DEMONSTRATIONS
from xnas.theory.initialisation import most_found, play_initialisation
from xnas.theory.late_bloomers import Blooming, least_regret, least_zeta, play_late_bloomers
from xnas.theory.regret_selection import least_regret as least_regret_at
from xnas.theory.regret_selection import play_regret_selection
from xnas.theory.weight_decay import Decays, play_weight_decay
from xnas.theory.wipeout import WipeoutGames, play_wipeout

from ...helpers.small_games import only

DOCS = Path(__file__).parents[3] / "docs" / "theory"


def stored(name: str) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads((DOCS / f"{name}.json").read_text(encoding="utf-8"))
    return numbers


def agree(now: Any, before: Any, *, share: float = 0.011) -> None:
    """Equal, but for what another processor's last bits may do: hardly anything, or one run of a hundred."""
    if isinstance(now, dict):
        assert now.keys() == before.keys()
        for key in now:
            agree(now[key], before[key], share=share)
    elif isinstance(now, list):
        assert len(now) == len(before)
        for left, right in zip(now, before, strict=True):
            agree(left, right, share=share)
    elif isinstance(now, float):
        assert now == pytest.approx(before, rel=2e-3, abs=share)
    else:
        assert now == before


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_a_page_shows_the_picture_the_table_and_the_command(name: str) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert f"]({name}.png)" in page
    assert f"`xnas theory {name} --out docs/theory`" in page
    assert markdown_table(DEMONSTRATIONS[name].table(stored(name))) in page
    assert (DOCS / f"{name}.png").is_file()
    assert f"({name}.md)" in (DOCS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_the_numbers_were_made_with_as_many_seeds_as_the_verb_takes_by_itself(name: str) -> None:
    assert stored(name)["n"] == (DEMONSTRATIONS[name].seeds or 1)


def test_the_folder_is_small() -> None:
    names = [path for path in DOCS.iterdir() if path.suffix in (".png", ".json", ".md")]
    assert sum(path.stat().st_size for path in names) < 1_500_000


@pytest.mark.parametrize(("learner", "multiple"), [("xnas", 1.0), ("gd", 4.0)])
def test_late_bloomers_come_out_again(learner: str, multiple: float) -> None:
    # The whole is in the long test: Adam at DARTS' length takes seconds.
    games = Blooming(darts_rounds=1, zetas=(0.25,))
    now = play_late_bloomers(1, games=games, contenders=only(learner, multiples=(multiple,)))
    before = next(
        item for item in tried(stored("late-bloomers"), learner) if item["steps_of_eta"] == multiple
    )
    agree(now["played"][0], before)
    agree(
        now["xnas_by_zeta"],
        [item for item in stored("late-bloomers")["xnas_by_zeta"] if item["zeta"] == 0.25],
    )


def test_initial_weights_come_out_again() -> None:
    before = stored("initialisation")
    now = play_initialisation(before["n"], contenders=only("xnas", multiples=(1.0,)))
    agree(now["played"][0], at_eta(before, "xnas"), share=0.021)
    agree(now["settings"], before["settings"])


def test_regret_and_selection_come_out_again() -> None:
    before = stored("regret-vs-selection")
    now = play_regret_selection(before["n"], contenders=only("gd", multiples=(16.0,)))
    agree(now["played"][0], next(item for item in tried(before, "gd") if item["steps_of_eta"] == 16))


def test_the_entropy_of_xnas_comes_out_again() -> None:
    before = stored("weight-decay")
    now = play_weight_decay(before["n"], games=Decays(ratios=(), bounds=(3.0,)))
    agree(now["xnas"], [item for item in before["xnas"] if item["bound_over_reward"] == 3], share=0.013)


def test_the_wipeout_comes_out_again() -> None:
    before = stored("wipeout")
    now = play_wipeout(before["n"], games=WipeoutGames(zetas=(0.12,)))
    agree(now["by_zeta"], [item for item in before["by_zeta"] if item["zeta"] == 0.12])


@pytest.mark.long
@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_everything_comes_out_again(name: str) -> None:
    demonstration, before = DEMONSTRATIONS[name], stored(name)
    now = demonstration.play(before["n"])
    agree(now, {key: before[key] for key in now}, share=0.021)


def test_what_the_page_says_of_late_bloomers_is_so() -> None:
    numbers = stored("late-bloomers")
    assert all(item["found_of_due"] == 1 for item in tried(numbers, "xnas"))
    gd = {item["steps_of_eta"]: item for item in tried(numbers, "gd")}
    assert [round(100 * gd[step]["found_of_due"]) for step in (0.25, 1, 2, 64)] == [100, 84, 62, 22]
    assert gd[0.25]["mean_regret"] / at_eta(numbers, "xnas")["mean_regret"] == pytest.approx(12, abs=0.5)
    assert least_regret(numbers, "gd")["steps_of_eta"] == 2
    adam = least_regret(numbers, "adam")
    assert (adam["step_size"], round(100 * adam["found_of_due"])) == (0.1, 97)
    assert adam["by_pay"][0]["longest_delay_found"] == 0.7
    assert adam["mean_regret"] < at_eta(numbers, "xnas")["mean_regret"] / 2
    assert round(100 * numbers["adam_as_darts"]["found_of_due"]) == 91
    assert numbers["adam_as_darts"]["by_pay"][1]["longest_delay_found"] == 0.4
    assert least_zeta(0.667, pays=0) == pytest.approx(0.25, abs=0.002)
    assert least_zeta(0.286, pays=-1) == pytest.approx(0.25, abs=0.002)
    assert least_zeta(0.75, pays=0) == least_zeta(0.375, pays=-1) == 0.375


def test_what_the_page_says_of_initial_weights_is_so() -> None:
    numbers = stored("initialisation")
    small = [i for i, v0 in enumerate(numbers["settings"]["v0s"]) if v0 <= 0.01]
    for learner in ("gd", "momentum"):
        assert all(row[i] == 0 for item in tried(numbers, learner) for row in item["found"] for i in small)
    assert [row[-2] for row in most_found(numbers, "gd")["found"]] == [1, 0.62]
    assert at_eta(numbers, "xnas")["found"][0] == [1] * 7
    assert at_eta(numbers, "xnas")["found"][1][:3] == [0.04, 0.42, 0.84]
    assert all(item["mean_found"] == 1 for item in tried(numbers, "xnas") if item["steps_of_eta"] >= 2)
    adam = {item["step_size"]: item for item in tried(numbers, "adam")}
    assert adam[0.1]["mean_found"] == 1
    assert adam[1.0]["mean_found"] == pytest.approx(0.61, abs=0.005)
    settings = numbers["settings"]
    lacks = settings["eta"] * settings["rounds"] * settings["lead_per_round"][1]
    assert lacks == pytest.approx(13.1, abs=0.05)


def test_what_the_page_says_of_regret_is_so() -> None:
    numbers = stored("regret-vs-selection")
    for which, ceiling in enumerate((1.0, 0.93, 0.555)):
        assert numbers["best_mean_is_best_in_hindsight"][which] == ceiling
        assert all(item["by_sigma"][which]["picked_best"] == ceiling for item in tried(numbers, "xnas"))
        regrets = [item["by_sigma"][which]["mean_regret"] for item in tried(numbers, "xnas")]
        assert regrets == sorted(regrets, reverse=True)  # beyond eta*, up to the largest step
        ours = least_regret_at(numbers, "xnas", which)["by_sigma"][which]
        for each in CONTENDERS[1:]:
            theirs = least_regret_at(numbers, each.name, which)["by_sigma"][which]
            assert ours["mean_regret"] < theirs["mean_regret"]
            assert ours["picked_best"] >= theirs["picked_best"]
            assert theirs["mean_regret"] < at_eta(numbers, "xnas")["by_sigma"][which]["mean_regret"]
    highest = max(item["by_sigma"][2]["picked_best"] for item in numbers["played"])
    assert highest == 0.57
    assert min(item["by_sigma"][2]["interval_95"][1] for item in tried(numbers, "xnas")) > highest


def test_what_the_page_says_of_weight_decay_is_so() -> None:
    numbers = stored("weight-decay")
    adam = {item["decay_over_scale"]: item for item in numbers["adam"]}
    said = {0.0: 0.751, 0.01: 0.767, 0.1: 0.865, 1.0: 0.996, 10.0: 1.0}
    for ratio, entropy in said.items():
        assert adam[ratio]["mean_normalised_entropy"] == pytest.approx(entropy, abs=6e-4)
    assert [round(100 * adam[ratio]["best_leads"], 1) for ratio in (0.0, 1.0, 10.0)] == [98.8, 97.6, 84.5]
    xnas = {item["bound_over_reward"]: item["mean_normalised_entropy"] for item in numbers["xnas"]}
    assert (round(xnas[3.0], 3), round(xnas[100.0], 3)) == (0.057, 0.942)


def test_what_the_page_says_of_the_wipeout_is_so() -> None:
    by_zeta = {item["zeta"]: item["by_kind"] for item in stored("wipeout")["by_zeta"]}
    assert all(found["lost"] == 0 and found["earliest_gone"] > 0.83 for found in by_zeta[1.0])
    assert [round(100 * found["saved"]) for found in by_zeta[1.0]] == [11, 2, 12]
    assert [round(100 * found["saved"]) for found in by_zeta[0.25]] == [32, 8, 26]
    assert all(found["lost"] == 0 and found["lost_95"][1] < 0.0195 for found in by_zeta[0.25])
    assert [by_zeta[zeta][1]["lost"] for zeta in (0.18, 0.03, 0.01)] == [0.01, 0.025, 0.145]
    assert [by_zeta[zeta][2]["lost"] for zeta in (0.18, 0.12, 0.06, 0.003)] == [0, 0.43, 1, 1]
    assert by_zeta[0.06][2]["regret"] > 3 * stored("wipeout")["settings"]["bound"]
    assert by_zeta[0.01][1]["regret"] < by_zeta[0.03][1]["regret"] < by_zeta[1.0][1]["regret"]
    assert by_zeta[0.03][0]["regret"] < by_zeta[1.0][0]["regret"]
    assert by_zeta[1.0][0]["largest_gamma"] < 1.0001
    assert round(by_zeta[1.0][1]["gamma"], 2) == 1.66
