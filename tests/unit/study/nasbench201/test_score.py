"""A bench's numbers, words, pictures and page, from folders that are made up."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from xnas.study.figures import CURVES, gather
from xnas.study.nasbench201.oracle_curves import draw_oracle
from xnas.study.nasbench201.table import Nasbench201Table
from xnas.study.page import render_study, write_study
from xnas.study.results import StudyResults, read_study
from xnas.study.scheduler import Failure
from xnas.study.summary import format_study

from ....helpers.bench_builder import Leads, build_bench, write_spec
from ....helpers.nasbench201_tables import make_rows, write_csv
from ....helpers.run_builder import write

pytestmark = pytest.mark.usefixtures("by_hand")

SKIP: Leads = ("skip_connect",) * 6
CONV: Leads = ("nor_conv_3x3",) * 6
POOL: Leads = ("avg_pool_3x3",) * 6
MIXED: Leads = ("none", "nor_conv_1x1", "skip_connect", "nor_conv_3x3", "skip_connect", "none")
MIXED_TEXT = "|none~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_3x3~0|skip_connect~1|none~2|"
BARRED_TEXT = MIXED_TEXT.replace("none", "nor_conv_3x3")
SEARCHES = {
    ("xnas", 0): [CONV, MIXED],
    ("xnas", 1): [POOL, CONV],
    ("random", 0): [MIXED],
    ("random", 1): [POOL],
}
BY_CELL = {row[3]: row[:3] for row in make_rows()}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Nasbench201Table:
    return Nasbench201Table.read(write_csv(tmp_path_factory.mktemp("table") / "table.csv"))


def text_of(leads: Leads) -> str:
    a, b, c, d, e, f = leads
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def test_both_derivations_are_looked_up_and_the_setting_says_which_is_the_result(
    table: Nasbench201Table, tmp_path: Path
) -> None:
    for choose_none in (False, True):
        folder = build_bench(tmp_path / str(choose_none), SEARCHES, choose_none=choose_none)
        results = read_study(folder, table=table)
        first, second = (search.score for search in results.searches[:2])
        assert first is not None
        assert second is not None
        assert {key: cell.text for key, cell in first.cells.items()} == {True: MIXED_TEXT, False: BARRED_TEXT}
        cell = first.cells[choose_none]
        assert first.found == cell
        found = (cell.accuracies.cifar10, cell.accuracies.cifar100, cell.accuracies.imagenet16_120)
        assert found == BY_CELL[MIXED_TEXT if choose_none else BARRED_TEXT]
        assert (cell.skips, cell.rank) == (2, table.rank(cell.text))
        row = results.summaries[0]
        values = [BY_CELL[found.text][0] / 100 for found in (cell, second.cells[choose_none])]
        assert row.accuracy is not None
        assert (row.n, row.accuracy.lowest) == (2, min(values))
        assert row.accuracy.mean == pytest.approx(sum(values) / 2)
        assert row.accuracy.spread == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        means = [row.numbers[name].mean for name in ("skips", "search_seconds", "peak_memory_bytes")]
        assert means == [1.0, 75.0, 2**30]
        line = next(line for line in format_study(results).splitlines() if line.startswith("xnas "))
        assert line.split()[1:4] == [
            f"{100 * row.accuracy.mean:.2f}",
            "±",
            f"{100 * row.accuracy.spread:.2f}",
        ]


def test_every_epoch_says_what_would_be_found_then_but_for_the_start(
    table: Nasbench201Table, tmp_path: Path
) -> None:
    search, _, drawn, _ = read_study(build_bench(tmp_path / "mine", SEARCHES), table=table).searches
    assert search.score is not None
    assert drawn.score is not None
    cells = {
        epoch: {key: cell.text for key, cell in both.items()} for epoch, both in search.score.epochs.items()
    }
    assert cells == {
        0: {},
        1: {True: text_of(CONV), False: text_of(CONV)},
        2: {True: MIXED_TEXT, False: BARRED_TEXT},
    }
    ((_, both),) = drawn.score.epochs.items()
    assert both[True].text == MIXED_TEXT  # nothing is learned: it is there from the start


def test_the_curves_are_those_of_every_epoch(table: Nasbench201Table, tmp_path: Path) -> None:
    results = read_study(build_bench(tmp_path / "mine", {("xnas", 0): [CONV, MIXED]}), table=table)
    lines = {name: gather(results, values) for name, _, values, _ in CURVES}
    assert lines["skip"] == {"xnas": [(0, [pytest.approx(0.2)]), (1, [0]), (2, [pytest.approx(1 / 3)])]}
    (first,), (second,), (third,) = (values for _, values in lines["entropy"]["xnas"])
    assert first == 1 > second > third
    assert {value for _, values in lines["survivors"]["xnas"] for value in values} == {1.0}


def test_a_search_that_has_not_ended_has_epochs_and_no_result(
    table: Nasbench201Table, tmp_path: Path
) -> None:
    folder = build_bench(tmp_path / "mine", SEARCHES, ended=False)
    failure = Failure(reason="the loss is nan", error=None, permanent=True)
    results = read_study(folder, table=table, failures={"search-xnas-1": failure})
    assert [row.n for row in results.summaries] == [0, 0]
    assert results.missing[:2] == (
        "search, xnas, seed 1: the loss is nan",
        "search, xnas, seed 0: not done yet",
    )
    (score, *_) = (search.score for search in results.searches)
    assert score is not None
    assert score.epochs[2][True].text == MIXED_TEXT
    first = json.loads(results.to_json())["searches"][0]
    assert (first["ended"], first["none_barred"]) == (False, None)


def test_the_protocol_is_said_with_the_data_that_was_really_searched(
    table: Nasbench201Table, tmp_path: Path
) -> None:
    def said(name: str, source: str) -> str:
        folder = build_bench(tmp_path / name, SEARCHES, source=source)
        return format_study(read_study(folder, table=table))

    plain = said("a", "cifar10")
    assert plain.startswith("Searched on training images of CIFAR-10, one search for each method and seed")
    assert "is another" not in plain
    assert "CIFAR-10 (94.37)" in plain
    other = said("b", "/home/me/my images")
    assert "Searched on training images of .../my images" in other
    assert "The benchmark's protocol is to search on CIFAR-10; .../my images is another." in other
    assert "/home" not in other
    namesake = said("c", "/home/me/cifar10")
    assert "Searched on training images of .../cifar10" in namesake
    assert "the benchmark's protocol" in namesake.lower()


def test_the_page_and_the_numbers_are_a_function_of_folder_and_table(
    table: Nasbench201Table, tmp_path: Path
) -> None:
    collapse = {("darts", 0): [CONV, SKIP, SKIP], ("xnas", 0): [CONV, MIXED, CONV], ("random", 0): [POOL]}
    folder = build_bench(tmp_path / "mine", collapse)
    write_study(folder, read_study(folder, table=table))
    page = folder / "report.html"
    pictures = sorted((folder / "pictures").iterdir())
    assert [path.name for path in pictures if path.suffix == ".svg"] == [
        f"{name}.svg"
        for name in (
            "entropy",
            "oracle-cifar10",
            "oracle-cifar100",
            "oracle-imagenet16-120",
            "skip",
            "survivors",
        )
    ]
    first = [path.read_bytes() for path in (page, folder / "study.json", *pictures)]
    write_study(folder, read_study(folder, table=table))
    assert [path.read_bytes() for path in (page, folder / "study.json", *pictures)] == first
    text = page.read_text()
    assert text.index("highest mean accuracy on CIFAR-10") < text.index("<h2>Results</h2>")
    assert text.replace("<wbr>", "").count(text_of(SKIP)) == 1
    assert "/tables" not in (folder / "study.json").read_text()
    assert "darts, seed 0" in text


def test_cells_of_an_optimizer_without_epochs_stand_at_the_end_of_the_curves() -> None:
    lines = {"xnas": [(1.0, [93.0, 94.0]), (2.0, [94.2, 94.37])], "darts": [(1.0, [93.0]), (2.0, [54.3])]}
    colours = {"xnas": "#2a6fc9", "darts": "#d4622a", "random": "#15916f"}
    (axes,) = draw_oracle("title", lines, {"random": [90.0, 92.0]}, colours, optimum=94.37).axes
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert ticks[0] == "94.37"
    assert {"94", "90", "80"} <= set(ticks)
    bottom, top = axes.get_ylim()
    places = axes.get_yticks()
    assert bottom < min(places) < max(places) < top
    assert (places[ticks.index("94")] - places[ticks.index("90")]) > 0.3 * (top - bottom)
    marks = [line for line in axes.lines if line.get_marker() == "D"]
    assert [list(line.get_xdata()) for line in marks] == [[2.0]]
    assert {text.get_text() for text in axes.texts} == {"xnas\n94.28", "darts\n54.30", "random\n91.00"}


def test_the_spread_of_a_search_with_one_epoch_of_rewards_is_drawn_too() -> None:
    lines = {"xnas": [(3.0, [90.0, 94.0])]}
    (axes,) = draw_oracle("title", lines, {}, {"xnas": "#2a6fc9"}, optimum=94.37).axes
    bars = [line for line in axes.lines if list(line.get_xdata()) == [3.0, 3.0]]
    assert len(bars) == 1
    low, high = bars[0].get_ydata()
    assert axes.get_ylim()[0] < low < high < axes.get_ylim()[1]


def cut_course(folder: Path) -> None:
    lines = (folder / "search-xnas-0" / "metrics.jsonl").read_text().splitlines(keepends=True)
    write(folder / "search-xnas-0" / "metrics.jsonl", "".join(lines[:-1]))


def rename_in(name: str, old: str, new: str) -> Any:
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        write(folder / name, text.replace(old, new))

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_course, "genotype.json has |"),
        (
            rename_in("search-xnas-0/metrics.jsonl", '"skip_connect"', '"skip"'),
            "xnas-0: unknown operation 'skip'",
        ),
        (rename_in("search-xnas-0/metrics.jsonl", '"cell"', '"normal"'), "does not tell of the group 'cell'"),
        (rename_in("search-xnas-0/metrics.jsonl", '"2→3"], ', "], "), "metrics.jsonl, line 1"),
        (rename_in("search-xnas-0/metrics.jsonl", "true", "false"), "epoch 0 has no experts left"),
        (
            rename_in("search-xnas-0/config.toml", '"xnas"', '"gaea"'),
            "holds a run of method 'gaea' with seed 0",
        ),
        (rename_in("config.toml", "choose_none = false", "choose_none = 0"), "choose_none"),
        (rename_in("search-xnas-0/config.toml", "choose_none = false", "choose_none = 0"), "must be true"),
        (rename_in("study.toml", "methods", "optimisers"), "unknown setting 'optimisers'"),
        (lambda folder: (folder / "study.toml").unlink(), "has no study.toml"),
        (lambda folder: (folder / "config.toml").unlink(), "config.toml"),
    ],
)
def test_a_folder_that_is_damaged_or_a_strangers_is_refused_in_one_line(
    damage: Any, said: str, table: Nasbench201Table, tmp_path: Path
) -> None:
    folder = build_bench(tmp_path / "mine", SEARCHES)
    damage(folder)
    with pytest.raises(ValueError) as caught:
        read_study(folder, table=table)
    (line,) = str(caught.value).splitlines()
    assert said in line
    assert re.search(str(folder), line)


def test_a_stranger_s_names_stay_text(table: Nasbench201Table, tmp_path: Path) -> None:
    results = read_study(build_bench(tmp_path / "mine", SEARCHES, source="my <script>"), table=table)
    page = render_study(results, {}, {"a": "x = '<script>\u202e'"})
    assert "<script>" not in page
    assert "\u202e" not in page


def test_an_empty_bench_says_so(table: Nasbench201Table, tmp_path: Path) -> None:
    folder = build_bench(tmp_path / "mine", SEARCHES)
    write_spec(folder, methods=["gaea"], seeds=[0])
    results: StudyResults = read_study(folder, table=table)
    assert results.searches == ()
    assert "nothing to compare yet" in format_study(results)
    assert "Cells found" not in render_study(results, {}, {})
