"""xnas bench: what searches find, looked up in a table; nothing is done twice, and nothing that failed is hidden."""

import json
import shutil
import signal
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from xnas.cli import main
from xnas.io.errors import NonFinite
from xnas.runs.finished_files import RunFiles
from xnas.space.architecture import architecture_text, read_genotype
from xnas.study.nasbench201 import page as bench_page
from xnas.train import context as session
from xnas.train import pipeline
from xnas.train.context import RunRequest

from ...sealed import seal
from ..study.nasbench201.nasbench201_maker import make_rows, write_csv
from .breaking_off import signal_in_step

SETTINGS = """
[data]
padding = 1
[space]
kind = "nasbench201"
nodes = 3
experts = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
channels = 2
cells = 3
stem = "strided"
[search]
epochs = 1
batch_size = 10
feedback = "batch"
[retrain]
cells = 3
"""
PAIR = ["--methods", "xnas", "random", "--seeds", "0", "1"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("table") / "table.csv")


@pytest.fixture
def words(image_folder: Path, table: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "small.toml").write_text(SETTINGS)
    place = ["--runs", str(tmp_path / "runs"), "--name", "mine", "--threads", "1", "--device", "cpu"]
    settings = ["--config", str(tmp_path / "small.toml"), "--data", str(image_folder)]
    return ["bench", "nasbench201", "--table", str(table), *settings, *place]


@pytest.fixture
def _no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and pictures are tested elsewhere, and drawing them takes most of the time."""

    def page(folder: Path) -> Path:
        RunFiles(folder).write({"report.html": b""})
        return folder / "report.html"

    monkeypatch.setattr(session, "write_report", page)
    monkeypatch.setattr(bench_page, "inline_pictures", lambda pictures: ({}, {}))


@pytest.mark.usefixtures("_no_reports")
def test_every_cell_is_looked_up_and_every_search_counts(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *PAIR]) == 0
    folder = tmp_path / "runs" / "mine"
    text = (folder / "bench.json").read_text()
    assert str(tmp_path) not in text
    values = json.loads(text)
    by_cell = {row[3]: row for row in make_rows()}
    assert [(run["method"], run["seed"]) for run in values["runs"]] == [
        ("xnas", 0), ("xnas", 1), ("random", 0), ("random", 1),
    ]  # fmt: skip
    for run in values["runs"]:
        cell = architecture_text(read_genotype(folder / run["folder"] / "genotype.json"))
        found = run["none_barred"]
        assert found["cell"] == cell
        assert "none" not in cell
        assert (found["cifar10"], found["cifar100"], found["imagenet16_120"]) == by_cell[cell][:3]
        assert found["skips"] == cell.count("skip_connect")
        assert run["epochs"][-1]["none_barred"] == found
        assert run["epochs"][-1]["none_allowed"] == run["none_allowed"]
    xnas, drawn = values["runs"][0]["epochs"], values["runs"][2]["epochs"]
    assert [(row["epoch"], row["none_allowed"] is None) for row in xnas] == [(0, True), (1, False)]
    assert [(row["epoch"], row["none_allowed"] is None) for row in drawn] == [(0, False)]
    entry = values["entries"][1]["none_barred"]["cifar10"]
    accuracies = [run["none_barred"]["cifar10"] for run in values["runs"][2:]]
    assert (entry["n"], entry["worst"]) == (2, min(accuracies))
    assert entry["mean"] == pytest.approx(statistics.mean(accuracies))
    assert entry["spread"] == pytest.approx(statistics.stdev(accuracies))
    assert values["missing"] == []
    out = capsys.readouterr().out
    assert "Searched on training images of .../images, one search for each" in out
    assert "looked up in table.csv" in out
    assert f"{entry['mean']:.2f} ± {entry['spread']:.2f}" in out
    assert not list(folder.glob("*/result.json"))  # nothing was retrained


@pytest.mark.usefixtures("_no_reports")
def test_a_bench_that_is_stopped_goes_on_to_the_same_numbers_and_takes_more_seeds(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--methods", "xnas", "gaea", "--seeds", "0", "--checkpoint.steps", "1"]
    assert main([word.replace("mine", "whole") for word in words] + pair) == 0
    rounds = signal_in_step(5, patch=monkeypatch)  # the second of the second search
    assert main([*words, *pair]) == 128 + signal.SIGTERM
    again = tmp_path / "runs" / "mine"
    assert f"go on with: xnas resume {again}\n" in capsys.readouterr().out
    assert not (again / "gaea-0" / "genotype.json").exists()
    assert main(["resume", str(again)]) == 0
    assert len(rounds) == 6  # three of each search, none done twice
    assert numbers(again) == numbers(tmp_path / "runs" / "whole")
    begun = begun_searches(monkeypatch)
    assert main([*words, *pair]) == 0  # has ended
    assert main([*words, "--methods", "xnas", "gaea", "--seeds", "0", "1"]) == 0
    assert begun == ["xnas-1", "gaea-1"]
    assert [run["seed"] for run in numbers(again)["runs"]] == [0, 1, 0, 1]
    capsys.readouterr()
    assert main([*words, *pair, "--search.epochs", "2"]) == 2
    assert "seeds was (0, 1), is (0,)" in capsys.readouterr().err


def begun_searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders of searches, as they begin from now on."""
    begun: list[str] = []
    carry_out = pipeline.run_search

    def noted(request: RunRequest) -> int:
        begun.append(str(request.place.name))
        return carry_out(request)

    monkeypatch.setattr(pipeline, "run_search", noted)
    return begun


def numbers(folder: Path) -> Mapping[str, Any]:
    """Of bench.json, without time and memory."""
    values: dict[str, Any] = json.loads((folder / "bench.json").read_text())
    for item in (*values["runs"], *values["entries"]):
        del item["seconds"], item["peak_memory_bytes"]
    return values


@pytest.mark.usefixtures("_no_reports")
def test_a_search_that_fails_is_named_and_the_others_go_on(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out = pipeline.run_search

    def fails(request: RunRequest) -> int:
        if request.place.name == "xnas-0":
            raise NonFinite("the loss is nan at step 1")
        return carry_out(request)

    monkeypatch.setattr(pipeline, "run_search", fails)
    assert main([*words, "--methods", "xnas", "random", "--seeds", "0"]) == 2
    values = numbers(tmp_path / "runs" / "mine")
    assert [entry["n"] for entry in values["entries"]] == [0, 1]
    assert values["missing"] == ["xnas, seed 0: the loss is nan at step 1"]


@pytest.mark.usefixtures("_no_reports")
def test_a_table_that_has_moved_or_must_be_trusted_is_asked_for_again(
    words: list[str], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = ["--methods", "random", "--seeds", "0"]
    own = shutil.copy(table, tmp_path / "mine.csv")
    assert main([str(own) if word == str(table) else word for word in words] + random) == 0
    own.rename(tmp_path / "moved.csv")
    folder = tmp_path / "runs" / "mine"
    again = (
        f"give the command that began it again: xnas bench nasbench201 --table FILE --runs {folder.parent}"
    )
    capsys.readouterr()
    assert main(["resume", str(folder)]) == 2
    err = capsys.readouterr().err
    assert f"there is no table of NAS-Bench-201 at {own}" in err
    assert again in err
    job = json.loads((folder / "job.json").read_text())
    # A stranger's folder may name any file: one that would be unpickled is not opened.
    for place in (str(tmp_path / "NATS-tss-evil"), ""):
        (folder / "job.json").write_text(json.dumps({**job, "table": place}))
        seal(folder)
        assert main(["resume", str(folder)]) == 2
        assert f"the table of {folder} must be given again: {again}" in capsys.readouterr().err
    (folder / "job.json").write_text(json.dumps({**job, "table": "a\x1b[2J"}))
    seal(folder)
    assert main(["resume", str(folder)]) == 2
    assert "'table' must be plain text of at most 1000 characters; got 'a\\x1b[2J'" in capsys.readouterr().err
    (folder / "job.json").write_text(json.dumps(job))
    seal(folder)
    assert main([*words, *random]) == 0
    assert json.loads((folder / "job.json").read_text())["table"] == str(table)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (["--table", "none.csv"], "there is no table of NAS-Bench-201 at none.csv; get nats_bench.csv"),
        (["--preset", "quick", "--config", "EMPTY"], "space.kind is nasbench201; got darts"),
        (["--space.experts", "none"], "space.experts must hold an operation beside none; got none"),
        (["--data", "nowhere"], "nowhere"),
        (["--data", "cifar10", "--root", "nowhere"], "there is no data_batch_1.bin in "),
        (["--methods", "xnas", "dart"], "unknown method 'dart'"),
        (
            ["--seed", "3"],
            "seeds those of --seeds; leave out --search.method, --search.step-size and --seed\n",
        ),
        (["--methods", "xnas", "gd", "--search.step-size", "1"], "unless it is the only one"),
        (["--data.padding", "16"], "data.padding 16 can push images of"),
        (["--search.batch-size", "1000"], "search.batch_size 1000 is larger than"),
    ],
)
def test_a_mistake_ends_in_one_line(
    words: list[str], wrong: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.toml").touch()
    assert main([*words, *(word.replace("EMPTY", str(tmp_path / "empty.toml")) for word in wrong)]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("_no_reports")
def test_a_rate_of_its_own_is_taken_by_the_only_optimizer(words: list[str], tmp_path: Path) -> None:
    assert main([*words, "--methods", "gd", "--seeds", "0", "--search.step-size", "0.5"]) == 0
    lines = (tmp_path / "runs" / "mine" / "gd-0" / "metrics.jsonl").read_text().splitlines()
    groups = [row for row in map(json.loads, lines) if row["kind"] == "group"]
    assert [row["step_size"] for row in groups] == [0.5]
