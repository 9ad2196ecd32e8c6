"""xnas compare: several methods and seeds, side by side, and nothing done twice."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from xnas import RunFolder
from xnas.cli import main, members
from xnas.config.loading import read_config
from xnas.io.errors import Interrupted, NonFinite, OutOfMemory
from xnas.train import pipeline
from xnas.train.context import RunRequest

from .breaking_off import signal_in_step


@pytest.fixture
def words(tiny_toml: Path, image_folder: Path, tmp_path: Path) -> list[str]:
    place = ["--runs", str(tmp_path / "runs"), "--name", "mine", "--threads", "1", "--device", "cpu"]
    return ["compare", "--config", str(tiny_toml), "--data", str(image_folder), *place]


PAIR = ["--methods", "xnas", "gd", "--seeds", "0", "1"]


@pytest.mark.usefixtures("blank_runs")
def test_every_optimizer_runs_with_every_seed_and_the_table_counts_them(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *PAIR]) == 0
    folder = tmp_path / "runs" / "mine"
    values = json.loads((folder / "comparison.json").read_text())
    assert [(run["method"], run["seed"]) for run in values["runs"]] == [
        ("xnas", 0), ("xnas", 1), ("gd", 0), ("gd", 1),
    ]  # fmt: skip
    results = [RunFolder(folder / f"xnas-{seed}").result()["test_accuracy"] for seed in (0, 1)]
    entry = values["entries"][0]
    assert (entry["method"], entry["n"], entry["worst"]) == ("xnas", 2, min(results))
    assert entry["accuracy"] == pytest.approx(sum(results) / 2)
    assert values["missing"] == []
    assert "has the highest mean" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    assert "xnas, seed 0: normal cell" in page
    assert "gd, seed 0: reduction cell" in page
    rows = [(folder / f"{name}-0" / "config.toml").read_text() for name in ("xnas", "gd")]
    assert rows[0].replace('"xnas"', '"gd"') == rows[1]


@pytest.mark.usefixtures("blank_pictures")
def test_a_comparison_that_was_broken_off_goes_on_with_what_is_missing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = 0
    whole = tmp_path / "runs" / "mine"
    done: list[str] = []
    carry_out = pipeline.run_job

    def broken_off(request: RunRequest) -> int:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise Interrupted(15)
        done.append(str(request.place.name))
        return carry_out(request)

    monkeypatch.setattr(pipeline, "run_job", broken_off)
    assert main([*words, *PAIR]) == 128 + 15
    assert done == ["xnas-0", "gd-0"]
    first = (whole / "xnas-0" / "result.json").read_bytes()
    assert [entry["n"] for entry in json.loads((whole / "comparison.json").read_text())["entries"]] == [1, 1]
    capsys.readouterr()
    assert main(["resume", str(whole)]) == 0
    assert done == ["xnas-0", "gd-0", "xnas-1", "gd-1"]
    assert (whole / "xnas-0" / "result.json").read_bytes() == first
    assert main([*words, *PAIR]) == 0  # has ended
    assert len(done) == 4
    assert main([*words, "--methods", "xnas", "gd", "--seeds", "0", "1", "2"]) == 0  # seeds can be added
    assert done[4:] == ["xnas-2", "gd-2"]
    capsys.readouterr()
    assert main([*words, "--methods", "xnas", "--seeds", "0", "1", "2"]) == 2
    assert "its methods was ('xnas', 'gd'), is ('xnas',)" in capsys.readouterr().err
    assert main([*words, "--methods", "xnas", "gd", "--seeds", "0", "1", "2", "--search.epochs", "1"]) == 2
    assert "search.epochs was 2, is 1" in capsys.readouterr().err


@pytest.mark.usefixtures("blank_pictures")
def test_a_signal_in_the_middle_of_a_search_ends_the_comparison_and_it_goes_on_to_the_same_numbers(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--methods", "xnas", "gaea", "--seeds", "0", "--checkpoint.steps", "1"]
    assert main([word.replace("mine", "whole") for word in words] + pair) == 0
    signal_in_step(6, patch=monkeypatch)  # the second of the second search
    assert main([*words, *pair]) == 128 + signal.SIGTERM
    again = tmp_path / "runs" / "mine"
    assert f"go on with: xnas resume {again}\n" in capsys.readouterr().out
    assert not (again / "gaea-0" / "genotype.json").exists()
    assert main(["resume", str(again)]) == 0
    assert numbers(again) == numbers(tmp_path / "runs" / "whole")


def numbers(folder: Path) -> dict[str, Any]:
    """Of comparison.json, without time and memory."""
    values: dict[str, Any] = json.loads((folder / "comparison.json").read_text())
    for item in (*values["runs"], *values["entries"]):
        for name in ("seconds", "peak_memory_bytes", "search_seconds"):
            item.pop(name, None)
    return values


def test_memory_that_was_too_small_for_one_run_ends_a_comparison_with_3_whatever_stops_others(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = iter([OutOfMemory("out of memory"), *[NonFinite("the loss is nan") for _ in range(3)]])

    def stopped(request: RunRequest) -> int:
        raise next(stops)

    monkeypatch.setattr(pipeline, "run_job", stopped)
    assert main([*words, *PAIR]) == 3


@pytest.mark.usefixtures("blank_pictures")
def test_a_run_that_fails_is_named_and_the_others_go_on(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out = pipeline.run_job

    def fails(request: RunRequest) -> int:
        if request.place.name == "gd-1":
            raise NonFinite("the loss is nan at step 1")
        return carry_out(request)

    monkeypatch.setattr(pipeline, "run_job", fails)
    assert main([*words, *PAIR]) == 2
    values = json.loads((tmp_path / "runs" / "mine" / "comparison.json").read_text())
    assert [entry["n"] for entry in values["entries"]] == [2, 1]
    assert values["entries"][1]["spread"] is None
    assert values["missing"] == ["gd, seed 1: the loss is nan at step 1"]
    assert "gd, seed 1: the loss is nan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (["--methods", "xnas", "dart"], "unknown method 'dart'"),
        (["--methods", "gd", "gd"], "methods must differ; got gd gd"),
        (["--seeds", "1", "1"], "seeds must differ; got 1 1"),
        (["--seeds", "-1"], "seeds must be at least 0; got -1"),
        (["--seeds", "x"], "--seeds: Could not find valid parse for arguments: ['x']\n"),
        (["--seed", "3"], "leave out --search.method, --search.step-size and --seed"),
        (["--search.method", "gd"], "each at its own rate"),
        (["--search.step-size", "0.1"], "each at its own rate"),
        (["--seeds", *map(str, range(400))], "at most 1,000 runs; got 4 methods with 400 seeds"),
        (["--data", "nowhere"], "nowhere"),
        (["--device", "nonsense"], "nonsense"),
        (["--search.batch-size", "1000"], "search.batch_size 1000 is larger than"),
        (["--retrain.batch-size", "1000"], "retrain.batch_size 1000 is larger than"),
    ],
)
def test_a_mistake_ends_in_one_line(
    words: list[str], wrong: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *wrong]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_the_runs_of_a_comparison_differ_in_optimizer_and_seed_alone(tiny_toml: Path) -> None:
    config = read_config(tiny_toml)
    member = members.member_config(config, method="gd", seed=4)
    assert (member.seed, member.search.method) == (4, "gd")
    assert members.member_config(member, method="xnas", seed=0) == config
