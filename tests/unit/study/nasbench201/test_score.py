"""A bench's numbers, words, pictures and page, from folders that are made up."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from xnas.study.nasbench201.json_form import bench_json
from xnas.study.nasbench201.oracle_curves import draw_oracle
from xnas.study.nasbench201.page import render, write_bench
from xnas.study.nasbench201.score import Bench, read_bench
from xnas.study.nasbench201.summary import format_bench
from xnas.study.nasbench201.table import Nasbench201Table

from ...report.run_builder import write
from .bench_builder import Leads, build_bench, write_job
from .nasbench201_maker import make_rows, write_csv

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
        bench = read_bench(build_bench(tmp_path / str(choose_none), SEARCHES, choose_none=choose_none), table)
        first, second = bench.of("xnas")
        assert {key: cell.text for key, cell in first.found.items()} == {True: MIXED_TEXT, False: BARRED_TEXT}
        cell = first.found[choose_none]
        found = (cell.accuracies.cifar10, cell.accuracies.cifar100, cell.accuracies.imagenet16_120)
        assert found == BY_CELL[MIXED_TEXT if choose_none else BARRED_TEXT]
        assert (cell.skips, cell.rank) == (2, table.rank(cell.text))
        entry = bench.entries[0]
        values = [BY_CELL[found.text][0] for found in (cell, second.found[choose_none])]
        summary = entry.by_none[choose_none]["cifar10"]
        assert (summary.n, summary.worst) == (2, min(values))
        assert summary.mean == pytest.approx(sum(values) / 2)
        assert summary.spread == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        assert (entry.skips, entry.seconds, entry.peak_memory_bytes) == (1.0, 75.0, 2**30)
        line = next(line for line in format_bench(bench).splitlines() if line.startswith("xnas "))
        assert line.split()[1:4] == [f"{summary.mean:.2f}", "±", f"{summary.spread:.2f}"]


def test_every_epoch_says_what_would_be_found_then_but_for_the_start(
    table: Nasbench201Table, tmp_path: Path
) -> None:
    run, _, drawn, _ = read_bench(build_bench(tmp_path / "mine", SEARCHES), table).runs
    cells = [{key: cell.text for key, cell in moment.cells.items()} for moment in run.moments]
    assert cells == [
        {},
        {True: text_of(CONV), False: text_of(CONV)},
        {True: MIXED_TEXT, False: BARRED_TEXT},
    ]
    assert [(moment.epoch, moment.step) for moment in run.moments] == [(0, 0), (1, 390), (2, 780)]
    assert [moment.skip for moment in run.moments] == [pytest.approx(share) for share in (0.2, 0, 1 / 3)]
    assert run.moments[0].entropy == 1 > run.moments[1].entropy > run.moments[2].entropy
    assert {moment.alive for moment in run.moments} == {1.0}
    (moment,) = drawn.moments
    assert moment.cells[True].text == MIXED_TEXT  # nothing is learned: it is there from the start


def test_a_search_that_has_not_ended_has_a_course_and_no_result(
    table: Nasbench201Table, tmp_path: Path
) -> None:
    folder = build_bench(tmp_path / "mine", SEARCHES, ended=False)
    bench = read_bench(folder, table, failures={"xnas-1": "the loss is nan"})
    assert [entry.n for entry in bench.entries] == [0, 0]
    assert bench.missing[:2] == ("xnas, seed 0: not done yet", "xnas, seed 1: the loss is nan")
    assert bench.runs[0].moments[-1].cells[True].text == MIXED_TEXT
    values = json.loads(bench_json(bench))
    assert (values["runs"][0]["ended"], values["runs"][0]["none_barred"]) == (False, None)


def test_the_protocol_is_said_with_the_data_that_was_really_searched(
    table: Nasbench201Table, tmp_path: Path
) -> None:
    def said(name: str, source: str) -> str:
        return format_bench(read_bench(build_bench(tmp_path / name, SEARCHES, source=source), table))

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
    page = write_bench(folder, table)
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
    first = [path.read_bytes() for path in (page, folder / "bench.json", *pictures)]
    write_bench(folder, table)
    assert [path.read_bytes() for path in (page, folder / "bench.json", *pictures)] == first
    text = page.read_text()
    assert text.index("highest mean accuracy on CIFAR-10") < text.index("<h2>Results</h2>")
    assert text.replace("<wbr>", "").count(text_of(SKIP)) == 1
    assert "/tables" not in text
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
    lines = (folder / "xnas-0" / "metrics.jsonl").read_text().splitlines(keepends=True)
    write(folder / "xnas-0" / "metrics.jsonl", "".join(lines[:-1]))


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
            rename_in("xnas-0/metrics.jsonl", '"skip_connect"', '"skip"'),
            "xnas-0: unknown operation 'skip'",
        ),
        (rename_in("xnas-0/metrics.jsonl", '"cell"', '"normal"'), "does not tell of the group 'cell'"),
        (rename_in("xnas-0/metrics.jsonl", '"2→3"], ', "], "), "metrics.jsonl, line 1"),
        (rename_in("xnas-0/metrics.jsonl", "true", "false"), "epoch 0 has no experts left"),
        (rename_in("xnas-0/config.toml", '"xnas"', '"gaea"'), "holds a run of method 'gaea' with seed 0"),
        (
            rename_in("config.toml", "choose_none = false", "choose_none = 0"),
            "space.choose_none must be true",
        ),
        (rename_in("job.json", '"methods"', '"optimisers"'), "is not the folder of a bench"),
        (lambda folder: (folder / "config.toml").unlink(), "config.toml"),
        (lambda folder: write_job(folder, methods=["xnas"], seeds=[0, 0]), "must each differ"),
        (
            lambda folder: write_job(folder, methods=["xnas"], seeds=list(range(1001))),
            "at most 1,000 runs",
        ),
    ],
)
def test_a_folder_that_is_damaged_or_a_strangers_is_refused_in_one_line(
    damage: Any, said: str, table: Nasbench201Table, tmp_path: Path
) -> None:
    folder = build_bench(tmp_path / "mine", SEARCHES)
    damage(folder)
    with pytest.raises(ValueError) as caught:
        write_bench(folder, table)
    (line,) = str(caught.value).splitlines()
    assert said in line
    assert re.search(str(folder), line)
    assert not (folder / "bench.json").exists()


def test_a_stranger_s_names_stay_text(table: Nasbench201Table, tmp_path: Path) -> None:
    bench = read_bench(build_bench(tmp_path / "mine", SEARCHES, source="<script>\u202e"), table)
    page = render(bench, {}, "x = '<script>'")
    assert "<script>" not in page
    assert "\u202e" not in page


def test_an_empty_bench_says_so(table: Nasbench201Table, tmp_path: Path) -> None:
    folder = build_bench(tmp_path / "mine", SEARCHES)
    write_job(folder, methods=["gaea"], seeds=[0])
    bench: Bench = read_bench(folder, table)
    assert bench.runs == ()
    assert "nothing to compare yet" in format_bench(bench)
    assert "Cells found" not in write_bench(folder, table).read_text()
