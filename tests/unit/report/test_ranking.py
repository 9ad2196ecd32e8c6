"""Who is said to be ahead."""

from xnas.report.ranking import Score, ranking


def standing(name: str, mean: float, *, spread: float | None = 1.0, n: int = 4) -> Score:
    return Score(name=name, mean=mean, spread=spread, n=n)


def test_the_first_is_named_with_its_lead_and_the_standard_error_of_it() -> None:
    said = ranking([standing("b", 93.0), standing("a", 94.0)], what="accuracy")
    assert said.startswith("a has the highest mean accuracy: 1.00 ± 0.71 points more than b.")


def test_those_whose_means_are_equal_as_shown_share_the_first_place() -> None:
    three = [standing("a", 94.0), standing("b", 93.998), standing("c", 90.0)]
    assert ranking(three, what="accuracy").startswith(
        "a and b share the highest mean accuracy: 4.00 ± 0.71 points more than c."
    )
    alike = [standing(name, 94.0) for name in "abc"]
    assert ranking(alike, what="accuracy") == "a, b and c share the highest mean accuracy."


def test_of_one_alone_nothing_is_said() -> None:
    assert ranking([standing("a", 94.0)], what="accuracy", noun="cells").startswith(
        "Fewer than two cells have"
    )
