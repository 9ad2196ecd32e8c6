"""The grid of a sweep: every variant with every one of the others, and mistakes named in the words of the file."""

import dataclasses
from pathlib import Path

import pytest

from xnas.study.sweep.settings import SweepSettings, begun_text, read_begun, read_sweep
from xnas.study.sweep.tasks import sweep_tasks

from ...sealed import seal

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


def read(tmp_path: Path, text: str) -> tuple[object, SweepSettings]:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    return read_sweep(path)


def test_every_variant_goes_with_every_one_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(GRID)
    config, settings = read_sweep(tmp_path / "grid.toml")
    assert config.data.split_seed == 0  # so that all seeds are tested on the same images
    tasks = {task.name: task for task in sweep_tasks(settings, config)}
    assert len(tasks) == settings.num_tasks == 2 * 1 * 2 * 2 * 2 * (1 + 2)
    search = tasks["search-cut-narrow-slow-darts-2nd-4"].config
    assert (search.seed, search.data.cutout, search.data.padding) == (4, 8, config.data.padding)
    assert (search.space.channels, search.search.learning_rate) == (8, 0.01)
    assert search.search.method == "darts-2nd"
    training = tasks["train-cut-narrow-slow-darts-2nd-4-seed-1"]
    assert training.after == ("search-cut-narrow-slow-darts-2nd-4",)
    assert training.config == dataclasses.replace(search, seed=1)
    assert training.config.retrain.epochs == 3
    names = list(tasks)
    assert all(names.index(task.after[0]) < names.index(name) for name, task in tasks.items() if task.after)
    # Seed by seed: what is broken off has all cells.
    assert {name for name in names if name.endswith("-3") or "-3-seed-" in name} == set(
        names[: len(names) // 2]
    )


def test_a_sweep_without_variants_is_one_cell(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text('[search]\nmethod = "gd"\n[sweep]\nsearch_seeds = [0]\n')
    config, settings = read_sweep(tmp_path / "grid.toml")
    assert [task.name for task in sweep_tasks(settings, config)] == ["search-gd-0", "train-gd-0-seed-0"]


def test_what_a_folder_keeps_is_read_back_the_same(tmp_path: Path) -> None:
    _, settings = read(tmp_path, GRID)
    assert read_begun(tmp_path) is None
    (tmp_path / "sweep.toml").write_text(begun_text(settings))
    seal(tmp_path)
    assert read_begun(tmp_path) == settings


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("[sweep]", "[other]", "unknown setting 'other'"),
        ('preset = "quick"', 'preset = "quik"', "did you mean 'quick'?"),
        ("search_seeds", "search_sedes", "in [sweep], unknown setting 'search_sedes'; did you mean 'search_seeds'?"),
        ("search_seeds = [3, 4]", "search_seeds = [3, 3]", "sweep.search_seeds must differ; got 3 3"),
        ("search_seeds = [3, 4]", "search_seeds = []", "sweep.search_seeds must name at least one; got none"),
        ("search_seeds = [3, 4]", "search_seeds = 3", "sweep.search_seeds must be a list, such as [3]; got 3"),
        ('"darts-2nd"', '"dart"', "unknown method in sweep.methods 'dart'; did you mean 'darts'?"),
        ("[sweep.data.plain]", "[sweep.date.plain]", "unknown setting 'date'; did you mean 'data'?"),
        ("padding = 0", "pading = 0", "[sweep.data.plain]: in [data], unknown setting 'pading'; did you mean"),
        ("padding = 0", 'padding = "no"', "sweep, plain narrow fast xnas"),
        ("padding = 0", "padding = -1", "data.padding must be at least 0; got -1"),
        ("[sweep.data.plain]", '[sweep.data."../x"]', "a name in sweep.data is letters, digits, '_' and '.'"),
        ("[sweep.data.plain]", "[sweep.data.a-b]", "got 'a-b'"),
        ("search = { learning_rate = 0.2 }", "serach = { learning_rate = 0.2 }", "did you mean 'search'?"),
        ("search = { learning_rate = 0.2 }", "search = 3", "'search' is a section"),
        ("search = { learning_rate = 0.2 }", 'search = { method = "gd" }', "leave out search.method"),
        ("search = { learning_rate = 0.2 }", "seed = 3", "seeds are those of sweep.search_seeds; leave out seed"),
        ("[sweep]", "[search]\nstep_size = 0.1\n[sweep]", "sweep.methods names several"),
        ("[3, 4]", str(list(range(450))).replace(" ", ""), "sweep asks for 10,800 searches and"),
        ("[sweep.space.narrow]\nchannels = 8", "[sweep.space]\nnarrow = 3", "sweep.space"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_in_one_line(tmp_path: Path, wrong: str, right: str, said: str) -> None:
    assert wrong in GRID
    with pytest.raises(ValueError) as caught:
        read(tmp_path, GRID.replace(wrong, right))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_a_grid_is_told_what_one_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no section \[sweep\]; give it one, such as search_seeds"):
        read(tmp_path, 'preset = "quick"')


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        ({"search_seeds": (0, 1, 2)}, True),
        ({"retrain_seeds": (0, 5)}, True),
        ({"methods": ("xnas", "gd", "gaea")}, True),
        ({"space": {"narrow": {"channels": 8}, "wide": {"channels": 32}}}, True),
        ({"search_seeds": (1, 2)}, False),
        ({"methods": ("xnas",)}, False),
        ({"space": {"narrow": {"channels": 4}}}, False),
        ({"space": {}}, False),
        ({"data": {"plain": {"padding": 0}}}, False),  # the folders would have other names
    ],
)
def test_a_grid_may_grow_and_what_was_begun_stays(
    more: dict[str, object], allowed: bool, tmp_path: Path
) -> None:
    before = SweepSettings(search_seeds=(0, 1), methods=("xnas", "gd"), space={"narrow": {"channels": 8}})
    after = dataclasses.replace(before, **more)  # type: ignore[arg-type]
    if allowed:
        after.check_continues(before, path=tmp_path)
    else:
        with pytest.raises(ValueError, match=rf"was begun with other settings: sweep.{next(iter(more))}"):
            after.check_continues(before, path=tmp_path)
