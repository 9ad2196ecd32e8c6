"""A study's tasks: in order, none before those that it needs; and the selection among cells."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from xnas import Config, StudySpec, published_genotype
from xnas.cli.study import read_study_file
from xnas.study.spec import Variant
from xnas.study.tasks import genotype_of, select, tasks

from ...helpers.sealed_runs import seal
from .test_spec import BASES, EXAMPLES, GRID, read


def spec(**values: Any) -> StudySpec:
    return StudySpec(**{"search_seeds": (0, 1), "train_seeds": (5, 6), "select": "best", **values})


def test_the_papers_protocol_is_one_search_and_five_trainings() -> None:
    config, found = read_study_file(
        EXAMPLES / "paper_experiment.toml", section="experiment", base=BASES["experiment"]
    )
    made = tasks(found, config)
    assert [task.name for task in made] == [
        "search-paper-0",
        *(f"{cell}-seed-{seed}" for seed in range(5) for cell in ("found-paper-0", "xnas")),
    ]
    assert (config.retrain.epochs, config.retrain.cycles, config.retrain.channels) == (1500, 5, 36)
    assert (made[0].config.data.policy, made[1].config.data.policy) == ("none", "cifar10")
    assert made[0].config.search.method == "paper"


def test_the_selected_cell_is_trained_with_every_seed_beside_the_controls(tiny: Config) -> None:
    made = {
        task.name: task for task in tasks(spec(random_controls=1, published_controls=("darts_v2",)), tiny)
    }
    assert list(made) == [
        "search-xnas-0", "search-xnas-1", "select-xnas-0", "select-xnas-1",
        "selected-xnas-seed-5", "random-1-seed-5", "darts_v2-seed-5",
        "selected-xnas-seed-6", "random-1-seed-6", "darts_v2-seed-6",
    ]  # fmt: skip
    assert made["select-xnas-1"].after == ("search-xnas-1",)
    assert made["selected-xnas-seed-6"].after == ("select-xnas-0", "select-xnas-1")
    assert made["darts_v2-seed-5"].after == ()
    assert made["darts_v2-seed-5"].genotype == published_genotype("darts_v2")
    assert made["search-xnas-1"].config == dataclasses.replace(tiny, seed=1)
    assert made["selected-xnas-seed-6"].config == dataclasses.replace(tiny, seed=6)


def test_only_the_selection_holds_training_images_out(tiny: Config) -> None:
    made = tasks(spec(held_out=0.3), tiny)
    assert {task.name for task in made if task.config.data.held_out > 0} == {"select-xnas-0", "select-xnas-1"}
    assert all(task.config.data.held_out == 0.3 for task in made if task.kind == "select")


def test_all_found_cells_are_trained_where_none_is_selected(tiny: Config) -> None:
    made = {task.name: task for task in tasks(spec(select="all"), tiny)}
    assert list(made) == [
        "search-xnas-0", "found-xnas-0-seed-5", "found-xnas-0-seed-6",
        "search-xnas-1", "found-xnas-1-seed-5", "found-xnas-1-seed-6",
    ]  # fmt: skip
    assert made["found-xnas-1-seed-5"].after == ("search-xnas-1",)
    one = [task.name for task in tasks(spec(search_seeds=(3,)), tiny)]  # leaves nothing to select
    assert one == ["search-xnas-3", "found-xnas-3-seed-5", "found-xnas-3-seed-6"]


def test_a_comparison_trains_with_the_seed_of_the_search_and_a_bench_trains_nothing(tiny: Config) -> None:
    methods = ("xnas", "gd")
    compared = tasks(StudySpec(methods=methods, search_seeds=(0, 4)), tiny)
    assert [task.name for task in compared] == [
        "search-xnas-0", "search-gd-0", "found-xnas-0-seed-0", "found-gd-0-seed-0",
        "search-xnas-4", "search-gd-4", "found-xnas-4-seed-4", "found-gd-4-seed-4",
    ]  # fmt: skip
    for task in compared[1::2]:  # those of gd differ in method and seed alone
        search = dataclasses.replace(tiny.search, method="gd")
        assert task.config == dataclasses.replace(tiny, search=search, seed=task.config.seed)
    looked_up = tasks(StudySpec(methods=methods, search_seeds=(0, 4), train_seeds=()), tiny)
    assert [task.name for task in looked_up] == [
        "search-xnas-0",
        "search-gd-0",
        "search-xnas-4",
        "search-gd-4",
    ]


def test_every_variant_is_searched_and_trained_seed_by_seed(tmp_path: Path) -> None:
    config, grid = read(tmp_path, GRID, section="sweep")
    made = {task.name: task for task in tasks(grid, config)}
    assert len(made) == 8 * 2 * 3
    search = made["search-cut-narrow-slow-darts-2nd-4"].config
    assert (search.seed, search.data.cutout, search.space.channels) == (4, 8, 8)
    training = made["found-cut-narrow-slow-darts-2nd-4-seed-1"]
    assert training.after == ("search-cut-narrow-slow-darts-2nd-4",)
    assert training.config == dataclasses.replace(search, seed=1)
    names = list(made)
    assert all(names.index(task.after[0]) < names.index(name) for name, task in made.items() if task.after)
    # What is interrupted has all variants.
    assert {name for name in names if name.endswith("-3") or "-3-seed-" in name} == set(
        names[: len(names) // 2]
    )


def judged(folder: Path, seed: int, *, accuracy: float, loss: float) -> None:
    (folder / f"select-xnas-{seed}").mkdir(parents=True)
    result = {
        "format": "xnas-result", "version": 1, "name": "found", "test_accuracy": accuracy, "test_loss": loss,
        "test_samples": 60, "parameters": 1, "multiply_adds": 1, "epochs": 1, "seed": 0,
    }  # fmt: skip
    (folder / f"select-xnas-{seed}" / "result.json").write_text(json.dumps(result))
    seal(folder / f"select-xnas-{seed}")


def test_the_most_accurate_cell_is_selected_then_the_one_of_smaller_loss_and_that_stays_so(
    tmp_path: Path,
) -> None:
    made, variant = spec(search_seeds=(4, 5, 6, 7)), Variant(method="xnas")
    judged(tmp_path, 4, accuracy=0.5, loss=0.1)
    judged(tmp_path, 5, accuracy=0.8, loss=0.9)
    judged(tmp_path, 6, accuracy=0.8, loss=0.7)  # 7 has failed
    assert select(variant, made, folder=tmp_path) == 6
    assert json.loads((tmp_path / "selection.json").read_text())["chosen"] == {"xnas": 6}
    judged(tmp_path, 7, accuracy=0.9, loss=0.1)
    assert select(variant, made, folder=tmp_path) == 6


def test_a_training_takes_the_cell_of_its_search(tiny: Config, tmp_path: Path) -> None:
    (tmp_path / "search-xnas-1").mkdir()
    (tmp_path / "search-xnas-1" / "genotype.json").write_text(published_genotype("darts_v1").to_json())
    seal(tmp_path / "search-xnas-1")
    for made, name in ((spec(select="all"), "found-xnas-1-seed-5"), (spec(), "selected-xnas-seed-5")):
        judged(tmp_path / made.select, 1, accuracy=0.5, loss=0.1)
        (tmp_path / "selection.json").write_text('{"chosen": {"xnas": 1}}')
        seal(tmp_path)
        task = next(task for task in tasks(made, tiny) if task.name == name)
        assert genotype_of(task, made, tiny, folder=tmp_path) == published_genotype("darts_v1")


def test_a_damaged_selection_is_named(tmp_path: Path) -> None:
    for text, said in (('{"chosen": {"xnas": 7}}', "with seed 7, which there is not"), ("{", "is damaged")):
        (tmp_path / "selection.json").write_text(text)
        seal(tmp_path)
        with pytest.raises(ValueError, match=f"selection.json.*{said}"):
            select(Variant(method="xnas"), spec(), folder=tmp_path)
