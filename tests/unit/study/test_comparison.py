"""A comparison's numbers: means over all seeds, the worst beside them, and what is missing."""

import json
from pathlib import Path

import pytest

from xnas.study.comparison.page import write_comparison
from xnas.study.comparison.results import cells_of, format_comparison, read_comparison, verdict


def make_run(folder: Path, *, accuracy: float | None, seconds: float = 10.0) -> None:
    folder.mkdir(parents=True)
    (folder / "timing.json").write_text(
        json.dumps({"search": {"seconds": seconds, "step": 4, "peak_memory_bytes": 2**30}})
    )
    if accuracy is not None:
        result = {
            "format": "xnas-result", "version": 1, "name": "found", "test_accuracy": accuracy, "test_loss": 1.0,
            "test_samples": 100, "parameters": 1000, "multiply_adds": 2000, "epochs": 1, "seed": 0,
        }  # fmt: skip
        (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    make_run(folder / "xnas-0", accuracy=0.80)
    make_run(folder / "xnas-1", accuracy=0.90, seconds=30.0)
    make_run(folder / "gaea-0", accuracy=0.70)
    make_run(folder / "gaea-1", accuracy=None)
    write_job(folder, methods=["xnas", "gaea"], seeds=[0, 1])
    return folder


def write_job(folder: Path, **values: object) -> None:
    (folder / "job.json").write_text(
        json.dumps({"verb": "compare", "controls": 0, "network": "found", **values})
    )


def test_an_entry_is_the_mean_over_all_its_seeds_with_spread_and_worst(folder: Path) -> None:
    first, second = read_comparison(folder).entries
    assert (first.n, first.worst) == (2, 0.80)
    assert first.accuracy == pytest.approx(0.85)
    assert first.spread == pytest.approx(0.1 / 2**0.5)
    assert first.search_seconds == pytest.approx(20)
    assert cells_of(first) == (
        "xnas", "85.00 ± 7.07 %", "80.00 %", "2", "1.00 k", "2.00 k", "", "20 s", "1.00 GiB",
    )  # fmt: skip
    assert (second.n, second.accuracy, second.spread, second.worst) == (1, 0.70, None, 0.70)


def test_what_is_missing_is_named_and_never_counted(folder: Path) -> None:
    assert read_comparison(folder).missing == ("gaea, seed 1: not done yet",)
    failed = read_comparison(folder, failures={"gaea-1": "the loss is nan"})
    assert failed.missing == ("gaea, seed 1: the loss is nan",)
    assert format_comparison(failed).endswith("gaea, seed 1: the loss is nan")


def test_the_verdict_gives_each_difference_with_its_standard_error(folder: Path) -> None:
    assert "xnas has the highest mean test accuracy: 15.00 points more than gaea" in verdict(
        read_comparison(folder)
    )
    make_run(folder / "darts-0", accuracy=0.60)
    make_run(folder / "darts-1", accuracy=0.64)
    write_job(folder, methods=["xnas", "darts"], seeds=[0, 1])
    # sqrt(0.0707^2 / 2 + 0.0283^2 / 2) = 0.0539
    assert "23.00 ± 5.39 points more than darts" in verdict(read_comparison(folder))


def test_one_result_alone_is_no_comparison(folder: Path) -> None:
    write_job(folder, methods=["xnas"], seeds=[0])
    assert verdict(read_comparison(folder)).startswith("Fewer than two methods have a result")


def test_the_same_folder_gives_the_same_bytes(folder: Path) -> None:
    page = write_comparison(folder)
    first = [page.read_bytes(), (folder / "comparison.json").read_bytes()]
    assert [write_comparison(folder).read_bytes(), (folder / "comparison.json").read_bytes()] == first
    assert json.loads(first[1])["entries"][0]["n"] == 2


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "is not the folder of a comparison"),
        ({"methods": ["xnas"], "seeds": ["0"]}, "'seeds' must be a list of whole numbers"),
        ({"methods": "xnas", "seeds": [0]}, "'methods' must be a list of strings"),
        ({"methods": ["xnas"], "seeds": [0, 0]}, "must each differ"),
        ({"methods": ["../../elsewhere"], "seeds": [0]}, "outside of"),
        ({"methods": [f"o{i}" for i in range(50)], "seeds": list(range(50))}, "at most 1,000 runs"),
    ],
)
def test_a_strangers_folder_is_read_or_refused_in_one_line(
    folder: Path, values: dict[str, object], line: str
) -> None:
    write_job(folder, **values)
    with pytest.raises(ValueError) as refused:
        read_comparison(folder)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
