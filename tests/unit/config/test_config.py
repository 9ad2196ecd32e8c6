"""Settings: what a file says is what a run does, and a misspelt word is never ignored."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from xnas.config.diff import differences
from xnas.config.loading import parse_config, preset_names, read_config, read_preset
from xnas.config.schema import SEARCH_SECTIONS, Config, DataConfig, SearchConfig, SpaceConfig
from xnas.runs.folder import read_run_config


def test_a_file_written_from_settings_reads_back_as_equal_settings() -> None:
    config = parse_config(
        'seed = 3\ndevice = "cpu"\n[data]\nsource = "x"\nroot = "some/where"\nimage_size = 32\n'
        '[space]\nexperts = ["none", "sep_conv_3x3"]\n[search]\nstep_size = 1e-3\nzeta = 1\n'
        '[retrain]\nstem = "imagenet"\n',
        where="a test",
    )
    assert config.data.root == Path("some/where").absolute()
    assert config.search.zeta == 1.0
    assert parse_config(config.to_toml(), where="the file") == config


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_reads_and_writes(name: str) -> None:
    config = read_preset(name)
    assert parse_config(config.to_toml(), where=name) == config


def test_the_papers_preset_has_eight_experts_with_none_first() -> None:
    config = read_preset("paper-search-cifar10")
    assert len(config.space.experts) == 8
    assert config.space.experts[0] == "none"
    assert config.search.method == "paper"
    assert (config.search.batch_size, config.search.epochs, config.space.cells, config.space.channels) == (
        96,
        50,
        8,
        16,
    )


def test_what_a_file_leaves_out_is_as_in_its_base() -> None:
    base = read_preset("quick")
    config = parse_config("[search]\nepochs = 9\n", where="a test", base=base)
    assert config == dataclasses.replace(base, search=dataclasses.replace(base.search, epochs=9))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("epocs = 3", "bad.toml: unknown setting 'epocs'"),
        ("[serach]\nepochs = 3", "bad.toml: unknown setting 'serach'; did you mean 'search'?"),
        ("[search]\nepocs = 3", "bad.toml: in [search], unknown setting 'epocs'; did you mean 'epochs'?"),
        ("search = 3", "bad.toml: 'search' is a section; write [search] and its settings below it"),
        ("[search]\nepochs = 0", "bad.toml: search.epochs must be at least 1; got 0"),
        ('[search]\nepochs = "many"', 'bad.toml: wrong value type for field "search.epochs"'),
        ("[search]\nepochs = true", "bad.toml: search.epochs is not a switch; got true"),
        (
            "[search]\nwarmup_epochs = 50",
            "search.warmup_epochs must lie between 0 and search.epochs - 1 = 49; got 50",
        ),
        ("[search]\nzeta = 0", "search.zeta must lie in (0, 1]; got 0"),
        ("[search]\nbatch_size = 0", "search.batch_size must be at least 1; got 0"),
        ("[search]\nvalidation_share = 1.0", "search.validation_share must lie in [0, 1); got 1.0"),
        ("[search]\nreward_bound = 0.0", "search.reward_bound must be positive and finite; got 0.0"),
        ("[search]\nlearning_rate = -1.0", "search.learning_rate must be positive and finite; got -1.0"),
        ("[search]\nmomentum = 1.0", "search.momentum must lie in [0, 1); got 1.0"),
        ('[search]\nfeedback = "epoch"', "bad.toml: "),
        (
            "[space]\ncells = 2\nreductions = 3",
            "space.reductions = 3 do not fit into space.cells = 2; use fewer",
        ),
        (
            '[search]\nprecision = "bfloat61"',
            "bad.toml: unknown precision in search.precision 'bfloat61'; did you mean 'bfloat16'?",
        ),
        ("[retrain]\ncells = 0", "retrain.cells must be at least 1; got 0"),
        ("[retrain]\nepochs = 0", "retrain.epochs must be at least 1; got 0"),
        (
            "[retrain]\ncosine_power = 0.5",
            "retrain.cosine_power must lie between 1, the plain cosine, and 1e+09; got 0.5",
        ),
        ("[retrain]\ncosine_power = nan", "retrain.cosine_power must lie between 1, the plain cosine"),
        ("[retrain]\ncycles = 0", "retrain.cycles must lie between 1 and retrain.epochs = 600; got 0"),
        (
            "[retrain]\nepochs = 3\ncycles = 5",
            "retrain.cycles must lie between 1 and retrain.epochs = 3; got 5",
        ),
        ("[retrain]\ncycle_decay = 0.0", "retrain.cycle_decay must lie in (0, 1]; got 0.0"),
        (
            "[retrain]\nmomentum = 0.0\nnesterov = true",
            "retrain.nesterov needs momentum, and retrain.momentum is 0; give it one, or leave out nesterov",
        ),
        ("[retrain]\nnesterov = 1", 'bad.toml: wrong value type for field "retrain.nesterov"'),
        ("[retrain]\nlabel_smoothing = 1.0", "retrain.label_smoothing must lie in [0, 1); got 1.0"),
        ("[retrain]\ndrop_path = -0.1", "retrain.drop_path must lie in [0, 1); got -0.1"),
        (
            "[retrain]\nauxiliary_weight = inf",
            "retrain.auxiliary_weight must lie between 0 and 1e+09; got inf",
        ),
        (
            "[retrain]\nauxiliary_weight = 0.4\nbatch_size = 1",
            "of which its norms take statistics; retrain.batch_size is 1",
        ),
        (
            '[space]\nexperts = ["sep_conv_3x4"]',
            "unknown operation in space.experts of darts 'sep_conv_3x4'; did you mean",
        ),
        ("[space]\nnodes = 0", "space.nodes must be at least 1; got 0"),
        ('[space]\nstem = "cifarr"', "bad.toml: "),
        ("[data]\ntest_fraction = 2.0", "data.test_fraction must lie in (0, 1); got 2.0"),
        ("seed = -1", "seed must be at least 0; got -1"),
        ("[search", "bad.toml is not valid TOML"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_the_file_in_one_line(text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ValueError) as refused:
        read_config(path)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("crop", "before", "now", "said"),
    [
        ("pad", None, 2, []),
        ("resized", None, 2, ["data.workers was unset, is 2"]),
        ("resized", 0, None, ["data.workers was 0, is unset"]),
        ("resized", 0, 2, []),
        ("resized", None, None, []),
    ],
)
def test_images_in_memory_and_in_files_are_other_images_where_crops_are_resized(
    crop: Literal["pad", "resized"], before: int | None, now: int | None, said: list[str]
) -> None:
    begun, later = (Config(data=DataConfig(crop=crop, workers=workers)) for workers in (before, now))
    assert differences(begun, later, sections=SEARCH_SECTIONS) == said


def test_paths_to_one_folder_are_the_same_source_and_the_name_of_a_data_set_is_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pets", "dogs", "cifar10"):
        (tmp_path / name).mkdir()

    def said(source: str, other: str) -> list[str]:
        begun, later = (Config(data=DataConfig(source=path)) for path in (source, other))
        return differences(begun, later, sections=SEARCH_SECTIONS)

    assert said("pets", "./pets") == said(str(tmp_path / "pets"), "pets") == []
    (tmp_path / "link").symlink_to("pets")
    assert said("pets", "link") == []
    pets, dogs, cifar = (tmp_path / name for name in ("pets", "dogs", "cifar10"))
    for source, other, before, now in (
        ("pets", "dogs", pets, dogs),
        ("pets", "gone", pets, "gone"),
        ("cifar10", "./cifar10", "cifar10", cifar),
    ):
        assert said(source, other) == [f"data.source was {before}, is {now}"]


def test_settings_name_the_same_folders_wherever_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / "pets").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for source, place in (
        ("pets", "home"),
        ("./pets", "home"),
        ("../home/pets/", "elsewhere"),
        ("~/pets", "/"),
    ):
        monkeypatch.chdir(tmp_path / place)
        before = Config(data=DataConfig(source=source, root=Path(source)))
        monkeypatch.chdir(tmp_path / "elsewhere")
        again = parse_config(before.to_toml(), where="a test")
        assert again == before
        assert Path(again.data.source) == again.data.root == tmp_path / "home" / "pets"
    # A name that is no folder stays one, and so does what no home can be found for: whoever reads the images says it.
    for source in ("petz", "cifar10", "", "~nobody-of-that-name/pets"):
        assert DataConfig(source=source).source == source


def test_a_path_through_a_link_keeps_what_comes_after_it(tmp_path: Path) -> None:
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "far" / "pets").mkdir()
    (tmp_path / "link").symlink_to("far/inner")
    source = DataConfig(source=f"{tmp_path}/link/../pets").source
    assert Path(source).samefile(tmp_path / "far" / "pets")


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the settings .*none.toml: No such file"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"cannot read the settings .*binary.toml"):
        read_config(tmp_path / "binary.toml")
    with pytest.raises(ValueError, match=r"is not a run folder: it has no config.toml"):
        read_run_config(tmp_path)


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown preset 'quik'; did you mean 'quick'"):
        read_preset("quik")


def test_settings_are_read_without_importing_torch() -> None:
    code = "import sys, xnas.config.loading as c; c.read_preset('quick'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "number", [np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), torch.tensor(3, dtype=torch.int8)]
)
def test_a_program_may_give_numbers_of_numpy_and_torch(number: Any) -> None:
    config = Config(seed=number, threads=number, search=SearchConfig(epochs=number, learning_rate=number))
    plain = Config(seed=3, threads=3, search=SearchConfig(epochs=3, learning_rate=3.0))
    assert (config, config.to_toml()) == (plain, plain.to_toml())


@pytest.mark.parametrize(
    "number", [np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), np.longdouble(0.5)]
)
def test_numbers_that_are_not_whole_are_taken_where_such_are_wanted(number: Any) -> None:
    assert repr(SearchConfig(learning_rate=number).learning_rate) == "0.5"
    with pytest.raises(ValueError, match=r"search\.epochs must be a whole number; got "):
        SearchConfig(epochs=number)


def test_switches_texts_lists_and_paths_of_a_program_become_plain() -> None:
    config = Config(
        activation_checkpointing=np.bool_(True),  # type: ignore[arg-type]
        device=np.str_("cpu"),
        data=DataConfig(root="here"),  # type: ignore[arg-type]
        space=SpaceConfig(experts=["skip_connect", "max_pool_3x3"]),  # type: ignore[arg-type]
    )
    assert read_back(config) == config
    assert (config.activation_checkpointing, config.data.root) == (True, Path("here").absolute())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Config(seed=True), "seed must be a whole number; got True"),
        (lambda: Config(seed=None), "seed must be a whole number; got None"),  # type: ignore[arg-type]
        (lambda: Config(threads="2"), "threads must be a whole number or None; got '2'"),  # type: ignore[arg-type]
        (lambda: Config(activation_checkpointing=1), "activation_checkpointing must be True or False; got 1"),  # type: ignore[arg-type]
        (lambda: DataConfig(crop="padd"), "data.crop must be one of pad, resized; got 'padd'"),  # type: ignore[arg-type]
        (lambda: SpaceConfig(experts="none"), "space.experts must be a list of names; got 'none'"),  # type: ignore[arg-type]
        (lambda: SearchConfig(epochs=float("nan")), "search.epochs must be a whole number; got nan"),  # type: ignore[arg-type]
        (lambda: Config(data={"padding": 1}), "data must be a DataConfig; got {'padding': 1}"),  # type: ignore[arg-type]
    ],
)
def test_a_value_of_another_type_is_refused_where_a_program_gives_it(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def read_back(config: Config) -> Config:
    return parse_config(config.to_toml(), where="the test")


def test_the_memory_for_decoding_decides_nothing_unless_broken_images_are_left_out() -> None:
    def given(memory: float, broken: int) -> Config:
        return Config(data=DataConfig(decode_memory=memory, max_broken=broken))

    assert differences(given(2.0, 0), given(1.0, 0), sections=("data",)) == []
    assert differences(given(2.0, 1), given(1.0, 1), sections=("data",)) == [
        "data.decode_memory was 2.0, is 1.0"
    ]


@pytest.mark.parametrize("gib", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_memory_for_decoding_that_is_none_is_refused(gib: float) -> None:
    with pytest.raises(ValueError, match=r"data.decode_memory must lie between 0.001 and 1024 GiB"):
        DataConfig(decode_memory=gib)
