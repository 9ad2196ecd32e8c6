"""A sweep's numbers: means over all trainings of a cell, the worst beside them, and what is missing."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest

from xnas.study.sweep.page import write_sweep
from xnas.study.sweep.plan import SweepSpec, Variant
from xnas.study.sweep.results import read_results
from xnas.study.sweep.summary import cells_of, format_results, head, protocol, verdict

from ..experiment.test_results import trained

SMALL, LARGE = (Variant(data=data, space="narrow", settings="", method="xnas") for data in ("small", "large"))
OTHER = dataclasses.replace(SMALL, method="random")
PLAN = SweepSpec(cells=(SMALL, OTHER, LARGE), search_seeds=(0, 1), retrain_seeds=(0, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "grid"
    folder.mkdir()
    for name in ("config.toml", "sweep.toml"):
        (folder / name).write_text("")
    for cell, accuracies in ((SMALL, (0.8, 0.82, 0.9, 0.92)), (OTHER, (0.5, 0.7))):
        for number, accuracy in enumerate(accuracies):
            search_seed, seed = divmod(number, 2)
            trained(folder / cell.training_folder(search_seed, seed), accuracy, seed=seed)
    (folder / SMALL.search_folder(0)).mkdir()
    (folder / SMALL.search_folder(0) / "genotype.json").write_text("{}")
    (folder / SMALL.search_folder(0) / "timing.json").write_text('{"search": {"seconds": 12.5}}')
    return folder


def test_a_row_is_the_mean_of_all_trainings_of_its_cell(folder: Path) -> None:
    small, other, large = read_results(folder, PLAN).rows
    assert small.accuracy == pytest.approx(0.86)
    assert (small.n, small.searches, small.worst) == (4, 2, 0.8)
    assert small.spread == pytest.approx(0.0588784)
    assert small.search_means == pytest.approx([0.81, 0.91])
    assert small.spread_of_searches == pytest.approx(0.0707107)
    assert small.numbers["search_seconds"] == 12.5
    assert (other.n, other.searches, other.spread_of_searches) == (2, 1, None)
    assert (large.n, large.accuracy, large.spread, large.worst) == (0, None, None, None)


def test_the_table_names_only_what_the_cells_differ_in(folder: Path) -> None:
    results = read_results(folder, PLAN)
    assert head(PLAN)[:3] == ("data", "method", "test accuracy")
    assert cells_of(results.rows[0], PLAN)[:6] == ("small", "xnas", "86.00 ± 5.89 %", "80.00 %", "4", "2")
    assert cells_of(results.rows[2], PLAN) == ("large", "xnas", "", "", "0", "0", "", "", "")
    one = dataclasses.replace(PLAN, cells=(SMALL,))
    assert one.columns == ("method",)
    assert "with seed 3 each; nothing is trained" in protocol(
        SweepSpec(cells=(SMALL,), search_seeds=(3,), retrain_seeds=())
    )


def test_cells_of_different_data_sets_are_not_set_against_each_other(folder: Path) -> None:
    trained(folder / LARGE.training_folder(0, 0), 0.1, seed=0)
    said = verdict(read_results(folder, PLAN))
    assert said.startswith("On small: narrow xnas has the highest mean test accuracy: 26.00 ")
    assert "points more than narrow random" in said
    assert "On large: Fewer than two cells of the grid have a result" in said
    assert "large xnas" not in said


def test_what_failed_is_named_and_what_waits_is_counted(folder: Path) -> None:
    reasons = {
        LARGE.search_folder(0): "the loss is nan",
        LARGE.training_folder(
            0, 1
        ): "not begun, as it needs what has failed: search, large narrow xnas, seed 0",
    }
    results = read_results(folder, PLAN, failures=reasons)
    assert results.missing == (
        "search, large narrow xnas, seed 0: the loss is nan",
        "training, large narrow xnas, search seed 0, seed 1: not begun, as it needs what has failed: search, large "
        "narrow xnas, seed 0",
        "9 searches and trainings not done yet",  # of 18: 7 have ended
    )
    assert results.missing[-1] in format_results(results)


def test_the_files_hold_the_same_numbers(folder: Path) -> None:
    page = write_sweep(folder, PLAN).read_text()
    values = json.loads((folder / "sweep.json").read_text())
    lines = list(csv.DictReader(io.StringIO((folder / "sweep.csv").read_text())))
    assert [line["method"] for line in lines] == ["xnas", "random", "xnas"]
    for line, row in zip(lines, values["rows"], strict=True):
        for name in ("test_accuracy", "spread", "worst", "n", "searches", "search_seconds"):
            assert line[name] == ("" if row[name] is None else str(row[name]))
    assert len(values["rows"][0]["trainings"]) == 4
    assert "86.00 ± 5.89 %" in page
    assert "10 searches" not in page
    assert "<svg" in page
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        "test-accuracy-1.svg",
        "test-accuracy-1.png",
    }
    before = page
    assert write_sweep(folder, PLAN).read_text() == before


def test_a_training_of_another_seed_is_refused(folder: Path) -> None:
    (folder / SMALL.training_folder(0, 0)).rename(folder / "aside")
    (folder / SMALL.training_folder(0, 1)).rename(folder / SMALL.training_folder(0, 0))
    with pytest.raises(ValueError, match="holds a training with seed 1; put it back where it was"):
        read_results(folder, PLAN)
