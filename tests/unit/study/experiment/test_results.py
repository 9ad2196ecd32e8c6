"""An experiment's numbers: means over all trainings, the worst beside them, what is missing, and the words for it."""

import dataclasses
import json
from pathlib import Path

import pytest

from xnas import published_genotype
from xnas.study.experiment.page import write_experiment
from xnas.study.experiment.plan import ExperimentSpec
from xnas.study.experiment.results import read_results
from xnas.study.experiment.summary import cells_of, format_results, notes, protocol, verdict

PLAN = ExperimentSpec(
    data="cifar10",
    method="xnas",
    search_seeds=(0, 1),
    retrain_seeds=(0, 1, 2),
    select="best",
    held_out=0.1,
    selection_epochs=5,
    epochs=20,
    random=("random-1", "random-2"),
    published=("xnas",),
)


def trained(folder: Path, accuracy: float, *, seed: int) -> None:
    folder.mkdir(parents=True)
    result = {
        "format": "xnas-result", "version": 1, "name": "found", "test_accuracy": accuracy, "test_loss": 1.0,
        "test_samples": 500, "parameters": 1000, "multiply_adds": 2000, "epochs": 1, "seed": seed,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "genotype.json").write_text(published_genotype("xnas").to_json())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("config.toml", "experiment.toml"):
        (folder / name).write_text("")
    for seed, accuracy in enumerate((0.6, 0.7)):
        trained(folder / f"select-{seed}", accuracy, seed=0)
    (folder / "selection.json").write_text('{"chosen": 1}')
    for name, accuracies in {
        "selected": (0.80, 0.82, 0.84),
        "random-1": (0.70, 0.72, 0.74),
        "random-2": (0.80, 0.82),
    }.items():
        for seed, accuracy in enumerate(accuracies):
            trained(folder / f"{name}-seed-{seed}", accuracy, seed=seed)
    return folder


def test_a_row_is_the_mean_of_a_cells_trainings_and_several_cells_of_a_kind_have_one_together(
    folder: Path,
) -> None:
    rows = read_results(folder, PLAN).rows
    assert [(row.title, row.n, row.cells) for row in rows] == [
        ("selected cell (search seed 1)", 3, 1),
        ("all random cells", 5, 2),
        ("random cell 1", 3, 1),
        ("random cell 2", 2, 1),
        ("published xnas cell", 0, 0),
    ]
    selected, randoms, *_ = rows
    assert selected.accuracy == pytest.approx(0.82)
    assert selected.spread == pytest.approx(0.02)
    assert selected.worst == 0.80
    assert randoms.worst == 0.70
    assert randoms.cell_means == pytest.approx((0.72, 0.81))
    assert randoms.spread_of_cells == pytest.approx(0.09 / 2**0.5)
    assert cells_of(selected) == (
        "selected cell (search seed 1)", "82.00 ± 2.00 %", "80.00 %", "3", "1", "1.00 k", "2.00 k",
    )  # fmt: skip
    assert cells_of(rows[-1]) == ("published xnas cell", "", "", "0", "0", "", "")


def test_the_words_say_what_was_chosen_on_what_and_how_often_it_was_tested(folder: Path) -> None:
    said = protocol(PLAN)
    for words in (
        "Searched by xnas with 2 seeds (0, 1) on the training images of cifar10.",
        "trained once for 5 epochs on all but 10 % of the training images",
        "the test images had no say in it",
        "from scratch for 20 epochs on the whole training set of cifar10 with 3 seeds (0, 1, 2)",
        "each trained network was tested once",
    ):
        assert words in said
    text = format_results(read_results(folder, PLAN))
    assert (
        "500 held-out training images: search seed 0: 60.00 %, search seed 1: 70.00 %; search seed 1 was"
        in text
    )
    assert "differ from each other by 6.36 points" in text
    everything = protocol(dataclasses.replace(PLAN, select="all"))
    assert "Every cell that was found counts; none is chosen." in everything
    assert "held" not in everything
    assert "Searched" not in protocol(dataclasses.replace(PLAN, search_seeds=()))


def test_several_cells_of_a_kind_count_as_one_trial_each(folder: Path) -> None:
    # Selected: 0.02 over 3 trainings. Random: 0.0636 over 2 cells, whatever their trainings.
    error = 100 * (0.02**2 / 3 + (0.09 / 2**0.5) ** 2 / 2) ** 0.5
    said = verdict(read_results(folder, PLAN))
    assert said.startswith("The selected cell (search seed 1) has the highest mean test accuracy")
    assert f" ± {error:.2f} points more than the mean of all random cells" in said
    assert "random cell 1" not in said


def test_what_is_missing_is_named_and_never_counted(folder: Path) -> None:
    assert read_results(folder, PLAN).missing == (
        "random cell 2: seed 2 not done yet",
        "published xnas cell: seeds 0, 1, 2 not done yet",
    )
    failures = {"xnas-seed-1": "the loss is nan", "search-0": "out of memory"}
    assert read_results(folder, PLAN, failures=failures).missing == (
        "search, seed 0: out of memory",
        "published xnas cell, seed 1: the loss is nan",
        "random cell 2: seed 2 not done yet",
        "published xnas cell: seeds 0, 2 not done yet",
    )


def test_one_training_has_no_spread(folder: Path) -> None:
    plan = dataclasses.replace(PLAN, retrain_seeds=(0,), random=(), published=())
    results = read_results(folder, plan)
    assert [(row.n, row.spread) for row in results.rows] == [(1, None)]
    assert verdict(results) == "Fewer than two kinds of cells have a result: there is nothing to compare yet."
    assert "They tell the luck of the training" in notes(results)


def test_the_page_is_the_same_every_time_and_has_table_pictures_and_words(folder: Path) -> None:
    page = write_experiment(folder, PLAN).read_text()
    for said in (
        "82.00 ± 2.00 %",
        "How the cell was selected",
        "published xnas cell: seeds 0, 1, 2 not done yet",
        "selected cell (search seed 1): normal cell",
        'aria-label="Test accuracy of every training',
    ):
        assert said in page
    values = json.loads((folder / "experiment.json").read_text())
    assert values["chosen_search_seed"] == 1
    assert values["rows"][0]["accuracy"] == pytest.approx(0.82)
    assert values["cells"][0]["trainings"][2]["result"]["test_accuracy"] == 0.84
    assert write_experiment(folder, PLAN).read_text() == page


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("selection.json", '{"chosen": 7}', "chooses the search with seed 7, which there is not"),
        ("selection.json", "{", "selection.json is damaged"),
        ("selected-seed-0/result.json", "[]", "result.json must be a JSON object"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, file: str, text: str, said: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=said):
        read_results(folder, PLAN)


def test_a_training_in_the_wrong_place_is_named(folder: Path) -> None:
    (folder / "selected-seed-0").rename(folder / "elsewhere")
    (folder / "selected-seed-1").rename(folder / "selected-seed-0")
    with pytest.raises(ValueError, match="selected-seed-0 holds a training with seed 1; put it back"):
        read_results(folder, PLAN)


def test_a_training_behind_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "selected-seed-0").rename(folder.parent / "elsewhere")
    (folder / "selected-seed-0").symlink_to(folder.parent / "elsewhere")
    with pytest.raises(ValueError, match="selected-seed-0"):
        read_results(folder, PLAN)
