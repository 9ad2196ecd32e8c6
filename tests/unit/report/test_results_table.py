from pathlib import Path

import pytest

from xnas.report.results_table import count_text, format_table, result_table, verdict

from ...helpers.run_builder import build_run, result, write_json


def put(folder: Path, found: float | None, controls: dict[str, float]) -> Path:
    folder.mkdir()
    if found is not None:
        write_json(folder / "result.json", result("found", found))
    for name, accuracy in controls.items():
        (folder / "controls" / name).mkdir(parents=True)
        write_json(folder / "controls" / name / "result.json", result(name, accuracy))
    return folder


def test_the_table_has_the_found_cell_the_mean_of_the_random_ones_each_of_them_and_the_published_one(
    tmp_path: Path,
) -> None:
    rows = result_table(build_run(tmp_path / "run"))
    assert [row.name for row in rows] == [
        "found cell",
        "random cells, mean ± sd",
        "random-301",
        "random-302",
        "random-303",
        "published xnas cell",
    ]
    centre = rows[1]
    assert centre.test_accuracy == pytest.approx((0.901 + 0.896 + 0.9075) / 3)
    assert centre.spread == pytest.approx(0.0057662, abs=1e-6)
    assert centre.count == 3
    assert centre.interval is None


def test_random_controls_stand_in_the_order_of_their_seeds(tmp_path: Path) -> None:
    rows = result_table(put(tmp_path / "run", 0.9, {"random-10": 0.8, "random-9": 0.8}))
    assert [row.name for row in rows if row.kind == "random"] == ["random-9", "random-10"]


def test_the_verdict_says_when_the_controls_win(tmp_path: Path) -> None:
    said = verdict(result_table(put(tmp_path / "run", 0.80, {"random-1": 0.90, "random-2": 0.91})))
    assert "behind the mean of 2 random cells by 10.50 points" in said
    assert "more than their spread (sd 0.71)" in said
    assert "not more" not in said
    assert "beyond its test interval" in said
    assert "2 of the 2 are better than it" in said


def test_the_verdict_says_when_a_lead_is_no_more_than_chance(tmp_path: Path) -> None:
    said = verdict(
        result_table(put(tmp_path / "run", 0.905, {"random-1": 0.89, "random-2": 0.91, "xnas": 0.904}))
    )
    assert "ahead of the mean of 2 random cells by 0.50 points, which is not more than their spread" in said
    assert "ahead of the published xnas cell by 0.10 points, within its test interval" in said


def test_one_random_control_has_no_spread(tmp_path: Path) -> None:
    rows = result_table(put(tmp_path / "run", 0.9, {"random-1": 0.8}))
    assert rows[1].spread is None
    assert "no spread" in verdict(rows)


def test_without_controls_the_verdict_claims_nothing(tmp_path: Path) -> None:
    assert "cannot be said" in verdict(result_table(put(tmp_path / "run", 0.9, {})))


def test_networks_trained_for_different_times_are_not_compared_without_a_warning(tmp_path: Path) -> None:
    folder = put(tmp_path / "run", 0.9, {"random-1": 0.8})
    write_json(folder / "controls" / "random-1" / "result.json", result("random-1", 0.8, epochs=3))
    assert "not fair" in verdict(result_table(folder))


def test_a_run_without_results_has_an_empty_table_and_says_so(tmp_path: Path) -> None:
    rows = result_table(put(tmp_path / "run", None, {}))
    assert rows == []
    assert "yet" in format_table(rows)


def test_the_terminal_table_lines_up(tmp_path: Path) -> None:
    lines = format_table(result_table(build_run(tmp_path / "run"))).splitlines()
    assert "90.70 %" in lines[1]
    assert "90.15 ± 0.58 %" in lines[2]
    assert len({line.index(" %") for line in lines[1:7]}) == 1
    assert lines[7] == ""


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (950, "950"),
        (84_122, "84.1 k"),
        (999_950, "1.00 M"),
        (3_793_438, "3.79 M"),
        (1_118.9e6, "1.12 G"),
    ],
)
def test_counts_have_three_digits_and_a_unit(number: float, text: str) -> None:
    assert count_text(number) == text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"test_accuracy": 1.5}, "test_accuracy"),
        ({"test_samples": "many"}, "test_samples"),
        ({"version": 2}, "upgrade"),
    ],
)
def test_a_damaged_result_is_named(tmp_path: Path, change: dict[str, object], word: str) -> None:
    folder = put(tmp_path / "run", None, {})
    write_json(folder / "result.json", {**result("found", 0.9), **change})
    with pytest.raises(ValueError, match=rf"result\.json.*{word}"):
        result_table(folder)
