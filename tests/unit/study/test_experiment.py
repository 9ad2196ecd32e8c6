"""The settings of an experiment, its tasks, and the choice among cells."""

import dataclasses
import json
from pathlib import Path

import pytest

from xnas import Config, published_genotype
from xnas.config.schema import DataConfig
from xnas.study.experiment.settings import (
    ExperimentSettings,
    SearchImages,
    begun_text,
    read_begun,
    read_experiment,
)
from xnas.study.experiment.tasks import chosen_seed, experiment_tasks, genotype_of, plan_of

from ...conftest import TINY
from ...sealed import seal

EXAMPLES = Path(__file__).parents[3] / "examples"


def settings(**values: object) -> ExperimentSettings:
    start = {"search_seeds": (0, 1), "retrain_seeds": (5, 6), "search_images": SearchImages(padding=1)}
    return ExperimentSettings(**{**start, **values})  # type: ignore[arg-type]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_is_a_preset_its_changes_and_the_experiment(tmp_path: Path) -> None:
    text = 'preset = "quick"\nseed = 4\n[retrain]\nepochs = 20\n[data]\ncutout = 3\n[experiment]\nheld_out = 0.2\n'
    config, found = read_experiment(write(tmp_path / "mine.toml", text))
    assert (config.retrain.epochs, config.retrain.channels, config.search.epochs) == (20, 16, 6)
    assert config.data.split_seed == 4  # one test set for all seeds
    assert found.selection == dataclasses.replace(config.retrain, epochs=5)
    assert found.search_images.cutout == 3
    assert found.held_out == 0.2
    more = f"{text}[experiment.selection]\nchannels = 4\n[experiment.search_images]\ncutout = 0\n"
    _, found = read_experiment(write(tmp_path / "mine.toml", more))
    assert (found.selection.channels, found.selection.epochs) == (4, 5)
    assert found.search_images.cutout == 0


@pytest.mark.usefixtures("by_hand")
def test_the_settings_are_read_again_as_they_were_written(tmp_path: Path) -> None:
    _, found = read_experiment(EXAMPLES / "experiment.toml")
    write(tmp_path / "experiment.toml", begun_text(found))
    assert read_begun(tmp_path) == found
    assert read_begun(tmp_path / "nowhere") is None


def test_a_report_names_the_folder_of_the_images_and_not_where_it_is() -> None:
    for source, shown in (("cifar10", "cifar10"), ("/home/me/mine", ".../mine"), ("mine/", ".../mine")):
        config = Config(data=DataConfig(source=source))
        assert plan_of(settings(), config).data == shown


def test_the_papers_protocol_is_one_search_and_five_trainings() -> None:
    config, found = read_experiment(EXAMPLES / "paper_experiment.toml")
    tasks = experiment_tasks(found, config)
    assert [task.name for task in tasks] == [
        "search-0",
        *(f"{cell}-seed-{seed}" for seed in range(5) for cell in ("found-0", "xnas")),
    ]
    assert (config.retrain.epochs, config.retrain.cycles, config.retrain.channels) == (1500, 5, 36)
    assert (tasks[0].config.data.policy, tasks[1].config.data.policy) == ("none", "cifar10")
    assert tasks[0].config.search.method == "paper"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[experiment]\nsearch_seed = [0]\n", "unknown setting 'search_seed'; did you mean 'search_seeds'?"),
        ("[experimnt]\n", "has no section [experiment]"),
        ("[experiment]\n[serch]\n", "unknown setting 'serch'; did you mean 'search'?"),
        ("[experiment.selection]\nepoch = 1\n", "in [experiment.selection], unknown setting 'epoch'"),
        ("experiment = 3\n", "'experiment' is a section"),
        ('preset = "quik"\n[experiment]\n', "unknown preset 'quik'; did you mean 'quick'?"),
        ("[experiment]\nsearch_seeds = [0, 0]\n", "experiment.search_seeds must differ; got 0 0"),
        ("[experiment]\nretrain_seeds = []\n", "experiment.retrain_seeds must name at least one"),
        ("[experiment]\nsearch_seeds = []\n", "experiment.search_seeds names none and there are no other cells"),
        ("[experiment]\nsearch_seeds = [-1]\n", "experiment.search_seeds must be at least 0; got -1"),
        ("[experiment]\nsearch_seeds = 3\n", "experiment.toml: "),
        ('[experiment]\nselect = "first"\n', "select"),
        ("[experiment]\nheld_out = 1.0\n", "experiment.held_out must lie in (0, 1); got 1.0"),
        ("[experiment]\nheld_out = true\n", "experiment.held_out is not a switch"),
        ("[experiment]\nrandom_cells = -1\n", "experiment.random_cells must be at least 0; got -1"),
        ('[experiment]\npublished_cells = ["xnass"]\n', "did you mean 'xnas'?"),
        ("[experiment]\nrandom_cells = 500\n", "keep their product below 1,000"),
        ("[experiment.search_images]\npadding = -1\n", "data.padding must be at least 0; got -1"),
        ("[experiment]\n[data]\nheld_out = 0.1\n", "data.held_out has no place in an experiment"),
        ("[experiment\n", "is not valid TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "experiment.toml", text)
    with pytest.raises(ValueError) as error:
        read_experiment(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_chosen_cell_is_trained_with_every_seed_beside_the_controls(tiny: Config) -> None:
    made = settings(random_cells=1, published_cells=("darts_v2",))
    tasks = {task.name: task for task in experiment_tasks(made, tiny)}
    assert list(tasks) == [
        "search-0", "search-1", "select-0", "select-1",
        "selected-seed-5", "random-1-seed-5", "darts_v2-seed-5",
        "selected-seed-6", "random-1-seed-6", "darts_v2-seed-6",
    ]  # fmt: skip
    assert tasks["select-1"].after == ("search-1",)
    assert tasks["selected-seed-6"].after == ("select-0", "select-1")
    assert tasks["darts_v2-seed-5"].after == ()
    assert tasks["darts_v2-seed-5"].genotype == published_genotype("darts_v2")
    assert tasks["search-1"].config == dataclasses.replace(tiny, seed=1)
    assert tasks["selected-seed-6"].config == dataclasses.replace(tiny, seed=6)


def test_only_the_choice_holds_training_images_out(tiny: Config) -> None:
    tasks = experiment_tasks(settings(held_out=0.3), tiny)
    assert {task.name for task in tasks if task.config.data.held_out > 0} == {"select-0", "select-1"}
    assert all(task.config.data.held_out == 0.3 for task in tasks if task.kind == "select")


def test_all_found_cells_are_trained_where_none_is_chosen(tiny: Config) -> None:
    tasks = {task.name: task for task in experiment_tasks(settings(select="all"), tiny)}
    assert list(tasks) == [
        "search-0", "search-1", "found-0-seed-5", "found-1-seed-5", "found-0-seed-6", "found-1-seed-6",
    ]  # fmt: skip
    assert tasks["found-1-seed-5"].after == ("search-1",)


def test_one_search_leaves_nothing_to_choose(tiny: Config) -> None:
    names = [task.name for task in experiment_tasks(settings(search_seeds=(3,)), tiny)]
    assert names == ["search-3", "found-3-seed-5", "found-3-seed-6"]


def judged(folder: Path, seed: int, *, accuracy: float, loss: float) -> None:
    (folder / f"select-{seed}").mkdir(parents=True)
    result = {
        "format": "xnas-result", "version": 1, "name": "found", "test_accuracy": accuracy, "test_loss": loss,
        "test_samples": 60, "parameters": 1, "multiply_adds": 1, "epochs": 1, "seed": 0,
    }  # fmt: skip
    (folder / f"select-{seed}" / "result.json").write_text(json.dumps(result))
    seal(folder / f"select-{seed}")


def test_the_most_accurate_cell_is_chosen_then_the_one_of_smaller_loss_and_that_stays_so(
    tiny: Config, tmp_path: Path
) -> None:
    plan = plan_of(settings(search_seeds=(4, 5, 6, 7)), tiny)
    judged(tmp_path, 4, accuracy=0.5, loss=0.1)
    judged(tmp_path, 5, accuracy=0.8, loss=0.9)
    judged(tmp_path, 6, accuracy=0.8, loss=0.7)  # 7 has failed
    assert chosen_seed(plan, folder=tmp_path) == 6
    values = json.loads((tmp_path / "selection.json").read_text())
    assert values["held_out_accuracy"] == {"4": 0.5, "5": 0.8, "6": 0.8}
    judged(tmp_path, 7, accuracy=0.9, loss=0.1)
    assert chosen_seed(plan, folder=tmp_path) == 6


def test_a_training_takes_the_cell_of_its_search(tiny: Config, tmp_path: Path) -> None:
    made = settings(select="all")
    (tmp_path / "search-1").mkdir()
    (tmp_path / "search-1" / "genotype.json").write_text(published_genotype("darts_v1").to_json())
    seal(tmp_path / "search-1")
    task = next(task for task in experiment_tasks(made, tiny) if task.name == "found-1-seed-5")
    assert genotype_of(task, plan_of(made, tiny), folder=tmp_path) == published_genotype("darts_v1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"retrain_seeds": (5, 6, 7)}, None),
        ({"random_cells": 3}, None),
        ({"published_cells": ("xnas",)}, None),
        ({"retrain_seeds": (5,)}, r"experiment.retrain_seeds was \(5, 6\), is \(5,\)"),
        ({"search_seeds": (0, 1, 2)}, "experiment.search_seeds was"),
        ({"select": "all"}, "experiment.select was 'best', is 'all'"),
        ({"held_out": 0.3}, "experiment.held_out was 0.1, is 0.3"),
    ],
)
def test_trainings_can_be_added_and_nothing_else_changed(change: dict[str, object], said: str | None) -> None:
    before, now = settings(), settings(**change)
    if said is None:
        now.check_continues(before, path=Path("mine"))
    else:
        with pytest.raises(ValueError, match=said):
            now.check_continues(before, path=Path("mine"))


def test_searches_can_be_added_where_none_is_chosen() -> None:
    before = settings(select="all")
    settings(select="all", search_seeds=(0, 1, 2)).check_continues(before, path=Path("mine"))


def test_the_tiny_settings_of_the_tests_are_those_of_a_file(tmp_path: Path, tiny: Config) -> None:
    config, _ = read_experiment(write(tmp_path / "a.toml", f"{TINY}[experiment]\n"))
    assert dataclasses.replace(config, data=tiny.data) == tiny
