"""Numbers and sizes of strangers: nothing is built, drawn or read because a file claims that there is much of it."""

import os
from pathlib import Path
from typing import Any

import pytest

from xnas.cli import main
from xnas.config.loading import parse_config, read_config
from xnas.data.sets.registry import load_data
from xnas.io.json import MOST_LINES
from xnas.report.figures.architecture import draw_genotype
from xnas.report.page import write_report
from xnas.runs.folder import RunRecord, read_run_config
from xnas.runs.history import read_history
from xnas.space.genotype import CellGenotype, Genotype

from ..helpers.resource_limits import watched
from ..helpers.run_builder import build_run, result, search_rows, write_json, write_rows

pytestmark = pytest.mark.usefixtures("by_hand")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[search]\nepochs = 1_000_000_000_000", "search.epochs must be at most 100000; got 1000000000000"),
        ("[retrain]\nepochs = 1_000_000_000_000", "retrain.epochs must be at most 100000"),
        ("[search]\nbatch_size = 1_000_000_000", "search.batch_size must be at most 1048576"),
        ("[space]\ncells = 1_000_000_000", "space.cells must be at most 200"),
        ("[space]\nchannels = 1_000_000_000", "space.channels must be at most 4096"),
        ("[space]\nnodes = 1_000_000", "space.nodes must be at most 32"),
        ("[space]\nnodes = 32\ncells = 200", "are more than a supernet takes, 20,000 operations"),
        (
            "[space]\ncells = 60\nreductions = 50",
            "doubled by each of space.reductions = 50, become more than 65,536",
        ),
        (
            "[space]\nexperts = [" + '"none",' * 100 + "]",
            "space.experts names 100 operations, but there are 10",
        ),
        ("[retrain]\nchannels = 1_000_000_000", "retrain.channels must be at most 4096"),
        ("[retrain]\nstem_channels = 1_000_000_000", "retrain.stem_channels must be at most 4096"),
        ("[retrain]\ncells = 1_000_000_000", "retrain.cells must be at most 200"),
        ("[data]\nimage_size = 1_000_000_000", "data.image_size must be at most 1024"),
        ("[data]\npadding = 1_000_000_000", "data.padding must be at most 4096"),
        ("[data]\ncutout = 1_000_000_000", "data.cutout must be at most 4096"),
        ("seed = 0x" + "f" * 1900, "seed must be at most 1000000000000000; got "),
        ("threads = 1_000_000_000", "threads must be at most 1024"),
        (
            "[search]\nreward_bound = 1e300",
            "search.reward_bound must lie between 1e-12 and 1e+09; got 1e+300",
        ),
        ("[search]\nweight_decay = inf", "search.weight_decay must lie between 0 and 1e+09; got inf"),
        ("[search]\nlearning_rate = 1e-320", "search.learning_rate must lie between 1e-12 and 1e+09"),
        ("seed = " + "9" * 1900, "seed must be at most 1000000000000000; got "),
        (
            ".".join("a" * 20_000) + " = 1",
            "is too long for settings: 40,003 characters, the longest line 40,003",
        ),
        ("a = " + "[" * 1900, "is not valid TOML: it is nested too deeply"),
        (f"{'x' * 1900} = 1", "unknown setting 'xxxxx"),
    ],
    ids=range(24),
)
def test_settings_have_bounds_that_their_errors_name(text: str, line: str) -> None:
    refusal = str(watched(lambda: parse_config(text, where="theirs")).refusal)
    assert line in refusal
    assert len(refusal) < 600


def test_the_largest_settings_that_are_taken_are_far_above_those_of_the_paper() -> None:
    parse_config(
        "[space]\nnodes = 7\ncells = 40\n[retrain]\ncells = 100\nchannels = 512\nepochs = 10_000\n",
        where="mine",
    )


@pytest.mark.parametrize(
    ("file", "num_bytes"),
    [
        ("config.toml", 10**9),
        ("genotype.json", 10**9),
        ("environment.json", 10**9),
        ("timing.json", 10**9),
        ("result.json", 10**9),
        ("metrics.jsonl", 3 * 10**9),
    ],
)
def test_a_file_of_gigabytes_is_refused_before_it_is_read(file: str, num_bytes: int, tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=0)
    os.truncate(run / file, num_bytes)  # the disk holds nothing of it
    refusal = str(watched(lambda: RunRecord.read(run)).refusal)
    assert str(run / file) in refusal
    assert "has more than" in refusal


def test_metrics_of_too_many_or_too_long_lines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n" * (MOST_LINES + 2))
    assert f"line {MOST_LINES + 1} is too much" in str(watched(lambda: read_history(tmp_path)).refusal)
    path.write_text('{"kind": "test"}\n' + " " * 5_000_000)
    assert "line 2 is too much" in str(watched(lambda: read_history(tmp_path)).refusal)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 10**18), ("epochs", 10**400), ("test_samples", 10**400), ("parameters", -1), ("seed", 2**63),
        ("test_accuracy", 1.5), ("test_accuracy", True), ("test_loss", 1e308), ("test_loss", 10**400),
        ("name", "x" * 300),        ("version", 10**30), ("multiply_adds", 1.5),
    ],
)  # fmt: skip
def test_a_report_is_not_larger_for_the_numbers_in_a_result(key: str, value: Any, tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=0)
    write_json(run / "result.json", result("found", 0.9) | {key: value})
    outcome = watched(lambda: write_report(run), most_seconds=20)
    assert (
        outcome.refusal is None or f"result.json: {key!r}" in outcome.refusal or "version" in outcome.refusal
    )
    assert (outcome.refusal is None) == (value == 10**18)


def test_a_number_that_is_no_float_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    for number in ("1e999", "-1e999", "NaN", "Infinity", "9" * 400, "9" * 5000):
        (tmp_path / "timing.json").write_text(f'{{"search": {{"seconds": {number}}}}}')
        assert "timing.json" in str(watched(lambda: RunRecord.read(tmp_path)).refusal)
        (tmp_path / "timing.json").unlink()
        row = f'{{"kind": "retrain_epoch", "epoch": 1, "train_loss": {number}, "train_accuracy": 0.5}}\n'
        (tmp_path / "metrics.jsonl").write_text(row)
        assert "metrics.jsonl, line 1" in str(watched(lambda: read_history(tmp_path)).refusal)
        (tmp_path / "metrics.jsonl").unlink()


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text('{"device": "a", "device": "b"}')
    assert "the key 'device' is given twice" in str(watched(lambda: RunRecord.read(tmp_path)).refusal)


def test_a_group_that_changes_on_the_way_is_refused(tmp_path: Path) -> None:
    rows = search_rows(epochs=1)
    write_rows(tmp_path, [*rows, rows[0] | {"edges": ["one"]}])
    assert "is not as it was in a line before" in str(watched(lambda: read_history(tmp_path)).refusal)


def test_a_run_of_thousands_of_edges_has_a_report_of_the_first(tmp_path: Path) -> None:
    names = [f"group{number}" for number in range(30)]
    edges, experts = 300, 20
    weights = {
        "feedbacks": 1,
        "u": [[1 / experts] * experts] * edges,
        "log_v": [[0.0] * experts] * edges,
        "alive": [[True] * experts] * edges,
    }
    group = search_rows(epochs=0)[0]
    write_rows(
        tmp_path,
        [
            *(
                group
                | {"name": name, "edges": list(map(str, range(edges))), "experts": list(map(str, range(experts)))}
                for name in names
            ),
            *(
                {
                    "kind": "search_epoch", "epoch": epoch, "step": epoch, "parameters": 1,
                    "groups": dict.fromkeys(names, weights),
                }
                for epoch in range(2)
            ),
        ],
    )  # fmt: skip
    assert watched(lambda: write_report(tmp_path), most_seconds=40).refusal is None
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the first 100 of 300 edges" in page
    assert "Not drawn, as there would be too many curves: group1, group2," in page


def test_the_cells_of_the_largest_genotype_are_drawn(tmp_path: Path) -> None:
    edges = [
        ("sep_conv_3x3", source) for node in range(2, 34) for source in (node - 1, (node * 7) % (node - 1))
    ]
    cell = CellGenotype(edges=edges, concat=tuple(range(2, 34)))  # type: ignore[arg-type]
    genotype = Genotype(normal=cell, reduction=cell, space="nasnet")
    assert watched(lambda: draw_genotype(genotype, tmp_path / "cells.svg"), most_seconds=20).refusal is None


def test_the_cost_of_the_largest_network_is_counted_without_building_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = build_run(tmp_path / "run", search_epochs=0, retrain_epochs=0)
    (run / "config.toml").write_text("[retrain]\nchannels = 4096\ncells = 100\nreductions = 4\n")
    assert watched(lambda: main(["show", str(run), "--cost"]), most_seconds=20).refusal is None
    assert "100 cells, 4096 channels" in capsys.readouterr().out


def test_images_are_not_enlarged_beyond_memory() -> None:
    with pytest.raises(ValueError, match=r"12,000 images of 4096 x 4096 pixels take 187.5 GiB of memory"):
        load_data("fashion-mnist-small", image_size=4096)


@pytest.mark.parametrize(
    "source", ["~nobody-has-this-name/images", "x/" * 3000, "x" * 5000, "\0", "\ud800/x"]
)
def test_a_source_of_images_that_no_path_can_be_is_refused(source: str) -> None:
    assert watched(lambda: load_data(source)).refusal


def test_the_settings_of_a_file_go_through_the_same_bounds(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[space]\ncells = 1_000_000_000\n")
    for read in (lambda: read_config(tmp_path / "config.toml"), lambda: read_run_config(tmp_path)):
        assert "config.toml: space.cells must be at most 200" in str(watched(read).refusal)


def test_command_line_flags_go_through_the_same_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["--retrain.cells", "1000000000"],
        ["--image-shape", "3", "99999", "99999"],
        ["--classes", "9" * 30],
    ):
        assert main(["show", "--genotype", "xnas", "--cost", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
