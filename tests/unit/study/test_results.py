"""A study's numbers: means over all networks, the worst beside them, what is missing, and the words for it."""

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest

from xnas import Config, StudySpec, published_genotype
from xnas.config.loading import parse_config
from xnas.study.page import write_study
from xnas.study.results import StudyResults, read_study
from xnas.study.scheduler import Failure
from xnas.study.summary import format_study, name_columns, notes, protocol, rows, verdict

pytestmark = pytest.mark.usefixtures("by_hand")

CONFIG = parse_config(
    '[data]\nsource = "cifar10"\n[space]\nnodes = 1\nchannels = 2\ncells = 2\nreductions = 1\n[retrain]\nepochs = 20\n',
    where="the tests",
)
COMPARE = StudySpec(methods=("xnas", "gaea"), search_seeds=(0, 1))
EXPERIMENT = StudySpec(
    search_seeds=(0, 1), train_seeds=(0, 1, 2), select="best", random_controls=2, published_controls=("xnas",)
)
SWEEP = StudySpec(
    data={"small": {"padding": 0}, "large": {"padding": 1}},
    space={"narrow": {"channels": 2}},
    methods=("xnas", "random"),
    search_seeds=(0, 1),
    train_seeds=(0, 1),
)


def trained(folder: Path, accuracy: float, *, seed: int) -> None:
    folder.mkdir(parents=True)
    result = {
        "format": "xnas-result", "version": 1, "name": "found", "test_accuracy": accuracy, "test_loss": 1.0,
        "test_samples": 500, "parameters": 1000, "multiply_adds": 2000, "epochs": 1, "seed": seed,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "genotype.json").write_text(published_genotype("xnas").to_json())


def searched(folder: Path, *, seconds: float = 10.0) -> None:
    folder.mkdir(parents=True)
    timing = {"search": {"seconds": seconds, "step": 4, "peak_memory_bytes": 2**30}}
    (folder / "timing.json").write_text(json.dumps(timing))
    (folder / "genotype.json").write_text(published_genotype("xnas").to_json())


def start(folder: Path, spec: StudySpec) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(CONFIG.to_toml())
    (folder / "study.toml").write_text(spec.to_toml())
    return folder


@pytest.fixture
def compare(tmp_path: Path) -> Path:
    folder = start(tmp_path / "compare", COMPARE)
    for method, seed, seconds, accuracy in (("xnas", 0, 10, 0.8), ("xnas", 1, 30, 0.9), ("gaea", 0, 10, 0.7)):
        searched(folder / f"search-{method}-{seed}", seconds=seconds)
        trained(folder / f"found-{method}-{seed}-seed-{seed}", accuracy, seed=seed)
    return folder


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    folder = start(tmp_path / "experiment", EXPERIMENT)
    for seed, accuracy in enumerate((0.6, 0.7)):
        searched(folder / f"search-xnas-{seed}")
        trained(folder / f"select-xnas-{seed}", accuracy, seed=0)
    (folder / "selection.json").write_text('{"chosen": {"xnas": 1}}')
    for name, accuracies in {
        "selected-xnas": (0.80, 0.82, 0.84),
        "random-1": (0.70, 0.72, 0.74),
        "random-2": (0.80, 0.82),
    }.items():
        for seed, accuracy in enumerate(accuracies):
            trained(folder / f"{name}-seed-{seed}", accuracy, seed=seed)
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = start(tmp_path / "sweep", SWEEP)
    for method, accuracies in (("xnas", (0.8, 0.82, 0.9, 0.92)), ("random", (0.5, 0.7))):
        for number, accuracy in enumerate(accuracies):
            search_seed, seed = divmod(number, 2)
            trained(folder / f"found-small-narrow-{method}-{search_seed}-seed-{seed}", accuracy, seed=seed)
    searched(folder / "search-small-narrow-xnas-0", seconds=12.5)
    return folder


def failures(**reasons: str) -> dict[str, Failure]:
    return {
        name.replace("_", "-"): Failure(reason=reason, error=None, permanent=True)
        for name, reason in reasons.items()
    }


def line(results: StudyResults, index: int) -> dict[str, str]:
    head, lines = rows(results)
    return dict(zip(head, lines[index], strict=True))


def test_a_method_s_row_is_the_mean_over_all_its_seeds_with_spread_and_worst(compare: Path) -> None:
    results = read_study(compare)
    first, second = results.summaries
    assert first.accuracy is not None
    assert (first.n, first.accuracy.lowest) == (2, 0.80)
    assert first.accuracy.mean == pytest.approx(0.85)
    assert first.accuracy.spread == first.spread_of_cells == pytest.approx(0.1 / 2**0.5)
    assert first.numbers["search_seconds"].mean == pytest.approx(20)
    assert line(results, 0) == {
        "method": "xnas", "test accuracy": "85.00 ± 7.07 %", "worst": "80.00 %", "n": "2", "cells": "2",
        "parameters": "1.00 k", "mult-adds": "2.00 k", "search": "20.0 s", "peak memory": "1.00 GiB",
    }  # fmt: skip
    assert (second.n, second.accuracy and second.accuracy.mean, second.spread_of_cells) == (1, 0.70, None)


def test_several_cells_of_a_source_have_a_row_together(experiment: Path) -> None:
    results = read_study(experiment)
    assert [(row.title, row.n, row.cells, row.part) for row in results.summaries] == [
        ("selected cell (search seed 1)", 3, 1, False),
        ("all random cells", 5, 2, False),
        ("random cell 1", 3, 1, True),
        ("random cell 2", 2, 1, True),
        ("published xnas cell", 0, 0, False),
    ]
    selected, randoms, *_, published = results.summaries
    assert (selected.accuracies, selected.cell_means) == ((0.80, 0.82, 0.84), (pytest.approx(0.82),))
    assert randoms.cell_means == pytest.approx((0.72, 0.81))
    assert randoms.spread_of_cells == pytest.approx(0.09 / 2**0.5)
    assert published.accuracy is None
    assert line(results, 0)["test accuracy"] == "82.00 ± 2.00 %"
    assert set(line(results, 4).values()) == {"published xnas cell", "", "0"}
    alone = dataclasses.replace(EXPERIMENT, train_seeds=(0,), random_controls=0, published_controls=())
    results = read_study(experiment, alone)
    assert [(row.n, row.accuracy and row.accuracy.spread) for row in results.summaries] == [(1, None)]
    assert verdict(results) == "Fewer than two kinds of cells have a result: there is nothing to compare yet."
    assert "They tell the luck of the training" in notes(results)


def test_a_variant_s_row_is_the_mean_of_all_its_networks(sweep: Path) -> None:
    results = read_study(sweep)
    small, other, large, _ = results.summaries
    assert small.accuracy is not None
    assert small.accuracy.mean == pytest.approx(0.86)
    assert (small.n, small.cells, small.accuracy.lowest) == (4, 2, 0.8)
    assert small.accuracy.spread == pytest.approx(0.0588784)
    assert small.cell_means == pytest.approx((0.81, 0.91))
    assert small.spread_of_cells == pytest.approx(0.0707107)
    assert small.numbers["search_seconds"].mean == 12.5
    assert (other.n, other.cells, other.spread_of_cells) == (2, 1, None)
    assert (large.n, large.accuracy) == (0, None)
    assert name_columns(results) == ("data", "method")  # what variants differ in
    assert list(line(results, 2).values())[:6] == ["large", "xnas", "", "", "0", "0"]
    one = dataclasses.replace(SWEEP, data={}, methods=())
    assert name_columns(read_study(sweep, one)) == ("method",)


def test_the_verdict_gives_each_difference_with_its_standard_error(compare: Path, experiment: Path) -> None:
    said = verdict(read_study(compare))
    assert "xnas has the highest mean test accuracy: 15.00 points more than gaea" in said
    for seed, accuracy in enumerate((0.60, 0.64)):
        trained(compare / f"found-darts-{seed}-seed-{seed}", accuracy, seed=seed)
    darts = dataclasses.replace(COMPARE, methods=("xnas", "darts"))
    # sqrt(0.0707^2 / 2 + 0.0283^2 / 2) = 0.0539
    assert "23.00 ± 5.39 points more than darts" in verdict(read_study(compare, darts))
    alone = dataclasses.replace(COMPARE, methods=("xnas",))
    assert verdict(read_study(compare, alone)).startswith("Fewer than two methods have a result")
    # Several cells of a source count as one trial each. Selected: 0.02 over 3 trainings. Random: 0.0636 over 2 cells.
    error = 100 * (0.02**2 / 3 + (0.09 / 2**0.5) ** 2 / 2) ** 0.5
    said = verdict(read_study(experiment))
    assert said.startswith("The selected cell (search seed 1) has the highest mean test accuracy")
    assert f" ± {error:.2f} points more than the mean of all random cells" in said
    assert "random cell 1" not in said


def test_variants_of_different_data_sets_are_not_set_against_each_other(sweep: Path) -> None:
    trained(sweep / "found-large-narrow-xnas-0-seed-0", 0.1, seed=0)
    said = verdict(read_study(sweep))
    assert said.startswith("On small: narrow xnas has the highest mean test accuracy: 26.00 ")
    assert "points more than narrow random" in said
    assert "On large: Fewer than two variants have a result" in said
    assert "large xnas" not in said


def test_what_is_missing_is_named_and_never_counted(compare: Path, experiment: Path, sweep: Path) -> None:
    waiting = ("search, gaea, seed 1: not done yet", "cell of gaea, search seed 1, seed 1: not done yet")
    assert read_study(compare).missing == waiting
    failed = read_study(compare, failures=failures(search_gaea_1="the loss is nan"))
    assert failed.missing == ("search, gaea, seed 1: the loss is nan", waiting[1])
    assert format_study(failed).endswith("\n".join(failed.missing))
    assert read_study(experiment).missing == (
        "published xnas cell, seed 0: not done yet",
        "published xnas cell, seed 1: not done yet",
        "random cell 2, seed 2: not done yet",
        "published xnas cell, seed 2: not done yet",
    )
    reasons = failures(search_large_narrow_xnas_0="out of memory")
    assert read_study(sweep, failures=reasons).missing == (
        "search, large narrow xnas, seed 0: out of memory",
        "16 searches and trainings not done yet",  # of 24: 7 have ended
    )


def test_the_words_say_what_was_selected_on_what_and_how_often_it_was_tested(
    experiment: Path, sweep: Path
) -> None:
    results = read_study(experiment)
    for words in (
        "Searched by xnas with 2 seeds (0, 1) on the training images of cifar10.",
        "trained once for 5 epochs on all but 10 % of the training images",
        "the test images had no say in it",
        "from scratch for 20 epochs on the whole training set of cifar10 with 3 seeds (0, 1, 2)",
        "each trained network was tested once",
    ):
        assert words in protocol(results)
    text = format_study(results)
    scores = "500 held-out training images: search seed 0: 60.00 %, search seed 1: 70.00 %; search seed 1 was"
    assert scores in text
    assert "differ from each other by 6.36 points" in text
    everything = protocol(read_study(experiment, dataclasses.replace(EXPERIMENT, select="all")))
    assert "Every cell that was found counts; none is chosen." in everything
    assert "held" not in everything
    controls = dataclasses.replace(EXPERIMENT, search_seeds=())
    assert "Searched" not in protocol(read_study(experiment, controls))
    assert protocol(read_study(sweep)).startswith("4 variants, each searched with 2 seeds (0, 1). Every cell")
    nothing = dataclasses.replace(SWEEP, train_seeds=(), search_seeds=(3,))
    assert (
        protocol(read_study(sweep, nothing)) == "4 variants, each searched with seed 3. Nothing is trained."
    )


def test_a_report_names_the_folder_of_the_images_and_not_where_it_is(experiment: Path) -> None:
    for source, shown in (("cifar10", "cifar10"), ("/home/me/mine", ".../mine")):
        data = dataclasses.replace(CONFIG.data, source=source)
        config = dataclasses.replace(CONFIG, data=data)
        assert f"training images of {shown}." in protocol(read_study(experiment, EXPERIMENT, config))


PICTURES = {
    "compare": {"test-accuracy-1", "found-xnas-0-cell-normal", "found-gaea-0-cell-reduction"},
    "experiment": {"test-accuracy-1", "selection", "selected-xnas-cell-normal"},
    "sweep": {"test-accuracy-1"},
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_files_hold_the_same_numbers_and_the_same_bytes_every_time(
    name: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(name)
    results = read_study(folder)
    write_study(folder, results)
    files = [folder / file for file in ("report.html", "study.json", "study.csv")]
    first = [path.read_bytes() for path in files]
    page, values = files[0].read_text(), json.loads(first[1])
    table = list(csv.DictReader(io.StringIO(files[2].read_text())))
    for row, found in zip(table, values["rows"], strict=True):
        for key in ("title", "method", "test_accuracy", "spread", "worst", "n", "cells", "search_seconds"):
            assert row[key] == ("" if found[key] is None else str(found[key]))
    assert sum(len(cell["networks"]) for cell in values["cells"]) == len(results.records)
    assert values["missing"] == list(results.missing)
    for said in (line(results, 0)["test accuracy"], 'aria-label="Test accuracy', "<svg", results.missing[0]):
        assert said in page
    assert ("How the cell was selected" in page) == (name == "experiment")
    assert PICTURES[name] <= {path.stem for path in (folder / "pictures").glob("*.svg")}
    write_study(folder, read_study(folder))
    assert [path.read_bytes() for path in files] == first


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("selection.json", '{"chosen": {"xnas": 7}}', "selects the search with seed 7, which there is not"),
        ("selection.json", "{", "selection.json is damaged"),
        ("selected-xnas-seed-0/result.json", "[]", "result.json must be a JSON object"),
        ("study.toml", 'methods = ["../../elsewhere"]', "unknown method in methods"),
        (
            "study.toml",
            "search_seeds = [\n" + ",\n".join(map(str, range(1001))) + "]",
            "search_seeds may name at most 1,000",
        ),
        ("study.toml", 'search_seeds = ["0"]', "study.toml: wrong value type"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(experiment: Path, file: str, text: str, said: str) -> None:
    (experiment / file).write_text(text)
    with pytest.raises(ValueError) as refused:
        read_study(experiment)
    assert said in str(refused.value)
    assert file in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_another_run_has_left_is_refused(experiment: Path, compare: Path) -> None:
    selected = experiment / "selected-xnas-seed-0"
    (experiment / "selected-xnas-seed-1").rename(experiment / "aside")
    selected.rename(experiment / "selected-xnas-seed-1")
    with pytest.raises(ValueError, match="selected-xnas-seed-1 holds a training with seed 0; put it back"):
        read_study(experiment)
    (experiment / "selected-xnas-seed-1").rename(experiment.parent / "elsewhere")
    selected.symlink_to(experiment.parent / "elsewhere")  # out of the folder
    with pytest.raises(ValueError, match="selected-xnas-seed-0"):
        read_study(experiment)
    config: Any = dataclasses.replace(CONFIG, seed=5)
    assert isinstance(config, Config)
    (compare / "search-xnas-0" / "config.toml").write_text(config.to_toml())
    with pytest.raises(
        ValueError, match="search-xnas-0 holds a run of method 'xnas' with seed 5; put it back"
    ):
        read_study(compare)
