"""The specification of a study: its grid, its limits, what may be added to it, and how it is kept."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from xnas import Config, StudySpec
from xnas.cli.study import read_study_file
from xnas.study.spec import SearchImages, Variant, read_spec
from xnas.study.tasks import tasks

from ...conftest import TINY
from ...helpers.sealed_runs import seal

EXAMPLES = Path(__file__).parents[3] / "examples"
BASES = {
    "experiment": StudySpec(train_seeds=(0, 1, 2), select="best"),
    "sweep": StudySpec(train_seeds=(0,)),
}
GRID = """
preset = "quick"
[sweep]
search_seeds = [3, 4]
retrain_seeds = [0, 1]
methods = ["xnas", "darts-2nd"]
[sweep.data.plain]
padding = 0
[sweep.data.cut]
cutout = 8
[sweep.space.narrow]
channels = 8
[sweep.settings.fast]
search = { learning_rate = 0.2 }
[sweep.settings.slow]
search.learning_rate = 0.01
retrain.epochs = 3
"""


def read(folder: Path, text: str, *, section: str) -> tuple[Config, StudySpec]:
    (folder / "file.toml").write_text(text)
    return read_study_file(folder / "file.toml", section=section, base=BASES[section])


def test_a_file_is_a_preset_its_changes_and_the_experiment(tmp_path: Path) -> None:
    text = 'preset = "quick"\nseed = 4\n[retrain]\nepochs = 20\n[data]\ncutout = 3\n[experiment]\nheld_out = 0.2\n'
    config, spec = read(tmp_path, text, section="experiment")
    assert (config.retrain.epochs, config.retrain.channels, config.search.epochs) == (20, 16, 6)
    assert config.data.split_seed == 4  # one test set for all seeds
    assert spec.selection_config(config).retrain == dataclasses.replace(config.retrain, epochs=5)
    assert spec.search_config(config).data.cutout == 3
    assert spec.held_out == 0.2
    more = f"{text}[experiment.selection]\nchannels = 4\n[experiment.search_images]\ncutout = 0\n"
    config, spec = read(tmp_path, more, section="experiment")
    judging = spec.selection_config(config)
    assert (judging.retrain.channels, judging.retrain.epochs, judging.data.held_out) == (4, 5, 0.2)
    assert (spec.search_config(config).data.cutout, config.data.cutout) == (0, 3)


def test_the_tiny_settings_of_the_tests_are_those_of_a_file(tmp_path: Path, tiny: Config) -> None:
    config, _ = read(tmp_path, f"{TINY}[experiment]\n", section="experiment")
    assert dataclasses.replace(config, data=tiny.data) == tiny


def test_a_specification_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    _, grid = read(tmp_path, GRID, section="sweep")
    _, experiment = read_study_file(
        EXAMPLES / "experiment.toml", section="experiment", base=BASES["experiment"]
    )
    bench = StudySpec(methods=("xnas",), score="nasbench201", table="/tables/nats_bench.csv")
    for number, spec in enumerate((StudySpec(), grid, experiment, bench)):
        (folder := tmp_path / str(number)).mkdir()
        (folder / "study.toml").write_text(spec.to_toml())
        seal(folder)
        assert read_spec(folder) == spec
    with pytest.raises(ValueError, match=r"has no study\.toml, so it cannot be continued"):
        read_spec(tmp_path)


def test_variants_are_every_combination_and_differ_in_what_they_say(tmp_path: Path) -> None:
    config, spec = read(tmp_path, GRID, section="sweep")
    variants = spec.variants(config)
    assert len(variants) == 8
    assert variants[0] == Variant(data="plain", space="narrow", settings="fast", method="xnas")
    made = spec.config_of(variants[-1], config)
    assert (made.data.cutout, made.data.padding, made.space.channels) == (8, config.data.padding, 8)
    assert (made.search.learning_rate, made.search.method, made.retrain.epochs) == (0.01, "darts-2nd", 3)
    assert StudySpec().variants(config) == (Variant(method="xnas"),)


EXPERIMENT_MISTAKES = [
    ("[experiment]\nsearch_seed = [0]\n", "unknown setting 'search_seed'; did you mean 'search_seeds'?"),
    ("[experimnt]\n", "has no section [experiment]"),
    ("[experiment]\n[serch]\n", "unknown setting 'serch'; did you mean 'search'?"),
    ("[experiment.selection]\nepoch = 1\n", "in [selection], unknown setting 'epoch'"),
    ("experiment = 3\n", "'experiment' is a section"),
    ('preset = "quik"\n[experiment]\n', "unknown preset 'quik'; did you mean 'quick'?"),
    ("[experiment]\nsearch_seeds = [0, 0]\n", "search_seeds must differ; got 0 0"),
    ("[experiment]\nretrain_seeds = []\n", "[experiment]: retrain_seeds must name at least one"),
    ("[experiment]\nsearch_seeds = []\n", "search_seeds names none and there is nothing else to train"),
    ("[experiment]\nsearch_seeds = [-1]\n", "search_seeds must be at least 0; got -1"),
    ("[experiment]\nsearch_seeds = 3\n", "search_seeds must be a list, such as [3]; got 3"),
    ('[experiment]\nselect = "first"\n', "select"),
    ("[experiment]\nheld_out = 1.0\n", "held_out must lie in (0, 1); got 1.0"),
    ("[experiment]\nheld_out = true\n", "held_out is not a switch"),
    ("[experiment]\nrandom_cells = -1\n", "random_cells must be at least 0; got -1"),
    ('[experiment]\npublished_cells = ["xnass"]\n', "published_cells 'xnass'; did you mean 'xnas'?"),
    ("[experiment]\nrandom_cells = 1001\n", "random_cells must be at most 1000"),
    ("[experiment]\nrandom_cells = 1\n[experiment.space.a]\ncells = 3\n", "leave them out, or the variants"),
    ('[experiment]\nscore = "nasbench201"\n', "leave out retrain_seeds and controls"),
    ("[experiment.search_images]\npadding = -1\n", "data.padding must be at least 0; got -1"),
    ("[experiment]\n[data]\nheld_out = 0.1\n", "data.held_out cannot be set where select is best"),
    ("[experiment\n", "is not valid TOML"),
]  # fmt: skip
SWEEP_MISTAKES = [
    ("[sweep]", "[other]", "unknown setting 'other'"),
    ("search_seeds", "search_sedes", "unknown setting 'search_sedes'; did you mean 'search_seeds'?"),
    ("search_seeds = [3, 4]", "search_seeds = []", "search_seeds names none and there is nothing else to train"),
    ('"darts-2nd"', '"dart"', "unknown method in methods 'dart'; did you mean 'darts'?"),
    ("[sweep.data.plain]", "[sweep.date.plain]", "unknown setting 'date'; did you mean 'data'?"),
    ("padding = 0", "pading = 0", "[data.plain]: in [data], unknown setting 'pading'; did you mean"),
    ("padding = 0", 'padding = "no"', "plain narrow fast xnas"),
    ("padding = 0", "padding = -1", "data.padding must be at least 0; got -1"),
    ("[sweep.data.plain]", '[sweep.data."../x"]', "a name in data is letters, digits, '_' and '.'"),
    ("[sweep.data.plain]", "[sweep.data.a-b]", "got 'a-b'"),
    ("search = { learning_rate = 0.2 }", "serach = { learning_rate = 0.2 }", "did you mean 'search'?"),
    ("search = { learning_rate = 0.2 }", "search = 3", "'search' is a section"),
    ("search = { learning_rate = 0.2 }", 'search = { method = "gd" }', "leave out search.method"),
    ("search = { learning_rate = 0.2 }", "seed = 3", "seeds are those of search_seeds; leave out seed"),
    ("[sweep]", "[search]\nstep_size = 0.1\n[sweep]", "methods names several"),
    ("[3, 4]", str(list(range(450))).replace(" ", ""), "the study asks for 10,800 searches and"),
    ("[sweep.space.narrow]\nchannels = 8", "[sweep.space]\nnarrow = 3", "space"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "text", "said"),
    [
        *(("experiment", text, said) for text, said in EXPERIMENT_MISTAKES),
        *(("sweep", GRID.replace(wrong, right), said) for wrong, right, said in SWEEP_MISTAKES),
        ("sweep", 'preset = "quick"', "has no section [sweep]; give it one, such as search_seeds"),
    ],
)
def test_a_mistake_is_named_in_one_line_with_the_words_of_the_file(
    tmp_path: Path, section: str, text: str, said: str
) -> None:
    with pytest.raises(ValueError) as caught:
        read(tmp_path, text, section=section)
    assert said in str(caught.value)
    assert str(tmp_path / "file.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


BEST = {"search_seeds": (0, 1), "train_seeds": (5, 6), "select": "best"}
NARROW = {
    "search_seeds": (0, 1),
    "train_seeds": (0,),
    "methods": ("xnas", "gd"),
    "space": {"narrow": {"channels": 8}},
}


@pytest.mark.parametrize(
    ("before", "change", "said"),
    [
        (BEST, {"train_seeds": (5, 6, 7)}, None),
        (BEST, {"random_controls": 3}, None),
        (BEST, {"published_controls": ("xnas",)}, None),
        (BEST | {"select": "all"}, {"search_seeds": (0, 1, 2)}, None),
        (BEST, {"train_seeds": (5,)}, "train_seeds was (5, 6), is (5,)"),
        (BEST, {"search_seeds": (0, 1, 2)}, "search_seeds was"),
        (BEST, {"select": "all"}, "select was 'best', is 'all'"),
        (BEST, {"held_out": 0.3}, "held_out was 0.1, is 0.3"),
        (BEST, {"search_images": SearchImages(padding=1)}, "search_images differs"),
        (NARROW, {"search_seeds": (0, 1, 2)}, None),
        (NARROW, {"train_seeds": (0, 5)}, None),
        (NARROW, {"methods": ("xnas", "gd", "gaea")}, None),
        (NARROW, {"space": {"narrow": {"channels": 8}, "wide": {"channels": 32}}}, None),
        (NARROW, {"search_seeds": (1, 2)}, "search_seeds was"),
        (NARROW, {"methods": ("xnas",)}, "methods was ('xnas', 'gd'), is ('xnas',)"),
        (NARROW, {"space": {"narrow": {"channels": 4}}}, "space differs"),
        (NARROW, {"space": {}}, "space was ['narrow'], is []"),
        (
            NARROW,
            {"data": {"plain": {"padding": 0}}},
            "data was [], is ['plain']",
        ),  # folders would have other names
        ({"methods": ("xnas",)}, {"train_seeds": ()}, "train_seeds was 'search', is ()"),
    ],
)
def test_seeds_controls_and_variants_can_be_added_and_nothing_else_changed(
    before: dict[str, Any], change: dict[str, Any], said: str | None, tmp_path: Path
) -> None:
    old, new = StudySpec(**before), StudySpec(**before | change)
    if said is None:
        new.extends(old, path=tmp_path)
    else:
        with pytest.raises(ValueError) as caught:
            new.extends(old, path=tmp_path)
        assert f"{tmp_path} was started with different settings: {said}" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"methods": ("xnas", "random"), "random_controls": 2},
        {"methods": ("xnas",), "space": {"a": {"nodes": 2}}, "train_seeds": (0, 1)},
        {"train_seeds": (0, 1), "select": "best", "published_controls": ("xnas",)},
        {"search_seeds": (), "train_seeds": (3,), "published_controls": ("xnas",)},
        {"methods": ("xnas",), "train_seeds": ()},
    ],
)
def test_the_number_of_tasks_is_known_beforehand(values: dict[str, Any], tiny: Config) -> None:
    spec = StudySpec(**values)
    assert len(tasks(spec, tiny)) == spec.num_tasks
