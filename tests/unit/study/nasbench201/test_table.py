import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats_bench
import pytest

from xnas.study.nasbench201 import table as table_file
from xnas.study.nasbench201.table import DATA_SETS, PUBLISHED_BEST, Accuracies, Nasbench201Table

from ....helpers.nasbench201_tables import (
    NAME,
    make_few,
    make_lines,
    make_results,
    make_rows,
    write_csv,
    write_nats_bench_file,
    write_nats_bench_folder,
)

ROWS = make_rows()
LINES = make_lines()
FIRST, SECOND, LAST = ROWS[0][3], ROWS[1][3], ROWS[-1][3]


def complaint(path: Path) -> str:
    """The one line that reading the table at `path` ends with."""
    with pytest.raises(ValueError) as caught:
        Nasbench201Table.read(path)
    (line,) = str(caught.value).splitlines()
    assert len(line) < 1000
    assert str(path) in line
    return line


def complaint_about(lines: list[str], folder: Path) -> str:
    return complaint(write_csv(folder / "table.csv", lines))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Nasbench201Table:
    return Nasbench201Table.read(write_csv(tmp_path_factory.mktemp("table") / "table.csv"))


def test_every_accuracy_is_the_one_of_its_line(table: Nasbench201Table) -> None:
    assert (table.form, table.source.name) == ("CSV", "table.csv")
    assert dict(table.accuracies) == {
        architecture: Accuracies(cifar10=a, cifar100=b, imagenet16_120=c) for a, b, c, architecture in ROWS
    }


def test_the_optima_are_the_best_of_each_data_set_and_as_published(table: Nasbench201Table) -> None:
    assert table.best == Accuracies(cifar10=94.3733, cifar100=73.5133, imagenet16_120=47.3111)
    assert Accuracies(cifar10=94.37, cifar100=73.51, imagenet16_120=47.31) == PUBLISHED_BEST
    assert list(DATA_SETS.values()) == ["CIFAR-10", "CIFAR-100", "ImageNet16-120"]


def test_the_rank_is_the_place_by_accuracy_on_cifar10(table: Nasbench201Table) -> None:
    descending = sorted(ROWS, reverse=True)
    assert table.rank(LAST) == 1
    for place in (0, 1, 99, len(ROWS) - 1):
        assert table.rank(descending[place][3]) == place + 1


def test_cells_that_are_equally_accurate_share_the_better_place(tmp_path: Path) -> None:
    lines = [line.replace("90.0,", "94.3733,") if FIRST in line else line for line in LINES]
    table = Nasbench201Table.read(write_csv(tmp_path / "table.csv", lines))
    assert table.rank(FIRST) == table.rank(LAST) == 1
    assert table.rank(sorted(ROWS)[-2][3]) == 3


def test_a_string_that_is_no_architecture_is_answered_with_its_neighbour(table: Nasbench201Table) -> None:
    near = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    far = "|conv_3x3~0|+|none~0|skip~1|+|avg_pool~0|Nor_Conv_1x1~1|none~1|"
    for look_up in (table.__getitem__, table.rank):
        with pytest.raises(ValueError, match=r"no architecture '\|conv_3x3~0") as caught:
            look_up(far)
        assert f"did you mean {near}?" in str(caught.value)


@pytest.mark.parametrize("text", ["", "none", "|none~0|" * 7, "x" * 100_000, "\x1b[2J\n\ud800"])
def test_a_string_without_six_operations_is_answered_with_the_form(
    table: Nasbench201Table, text: str
) -> None:
    with pytest.raises(ValueError, match=r"the form is \|op~0\|\+\|op~0\|op~1\|\+\|op~0") as caught:
        table[text]
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


def test_neither_the_order_of_lines_nor_that_of_columns_matters(
    tmp_path: Path, table: Nasbench201Table
) -> None:
    fields = [[*line.split(","), "more"] for line in LINES]
    head, *rest = [",".join(line[place] for place in (3, 4, 2, 0, 1)) for line in fields]
    random.Random(1).shuffle(rest)
    shuffled = Nasbench201Table.read(write_csv(tmp_path / "table.csv", [head, *rest]))
    assert shuffled.accuracies == table.accuracies


@pytest.mark.parametrize(
    "rewritten",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("|\n", '|"\n').replace(",|", ',"|'),
    ],
    ids=["byte order mark", "Windows", "old Mac", "empty lines", "no last line end", "quotes"],
)
def test_what_other_programs_write_is_read(
    tmp_path: Path, table: Nasbench201Table, rewritten: Callable[[str], str]
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(rewritten("\n".join(LINES) + "\n").encode())
    assert Nasbench201Table.read(path).accuracies == table.accuracies


def test_a_missing_table_is_answered_with_where_to_get_it(tmp_path: Path) -> None:
    for name in ("table.csv", NAME, "absent/table.csv"):
        line = complaint(tmp_path / name)
        assert "there is no table of NAS-Bench-201" in line
        assert "nats_bench.csv of github.com/v-tao/nats-bench-landscape" in line
        assert "NATS-tss-v1_0-3ffb9-simple of github.com/D-X-Y/NATS-Bench" in line


def test_a_missing_architecture_is_named(tmp_path: Path) -> None:
    line = complaint_about([line for line in LINES if SECOND not in line], tmp_path)
    assert "has 15,624 of the 15,625 architectures" in line
    assert f"{SECOND} is missing" in line


def test_an_architecture_on_two_lines_is_named_with_both(tmp_path: Path) -> None:
    assert f"line 15627: {FIRST} is on line 2 too" in complaint_about([*LINES, LINES[1]], tmp_path)


def test_an_unknown_architecture_is_named_with_its_line_and_its_neighbour(tmp_path: Path) -> None:
    lines = [*LINES[:3], LINES[3].replace("none", "zero"), *LINES[4:]]
    line = complaint_about(lines, tmp_path)
    assert "line 4: NAS-Bench-201 has no architecture '" in line
    assert "did you mean |" in line


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-0.01", "100.01", "1e999"])
def test_an_accuracy_out_of_range_is_named_with_its_line(tmp_path: Path, value: str) -> None:
    lines = [*LINES[:5], f"{value},50,40,{ROWS[4][3]}", *LINES[6:]]
    line = complaint_about(lines, tmp_path)
    assert "line 6: the accuracy on CIFAR-10 must be in per cent, in [0, 100]; got " in line


@pytest.mark.parametrize("value", ["", "high", "9_4", "٩٤", "0x5e", "94%", "94\x00", "9" * 100_000 + "?"])
def test_what_is_no_number_is_named_with_its_line_and_column(tmp_path: Path, value: str) -> None:
    lines = [*LINES[:5], f"90,{value},40,{ROWS[4][3]}", *LINES[6:]]
    line = complaint_about(lines, tmp_path)
    assert "line 6: CIFAR100TestAccuracy200Epochs must be a number; got '" in line


@pytest.mark.parametrize(
    ("scale", "found"), [(0.01, "0.94 %, published is 94.37 %"), (0.999, "94.28 %, published is 94.37 %")]
)
def test_other_optima_than_the_published_ones_are_refused(tmp_path: Path, scale: float, found: str) -> None:
    lines = [LINES[0], *(f"{scale * a},{b},{c},{architecture}" for a, b, c, architecture in ROWS)]
    assert f"the best accuracy on CIFAR-10 is {found}" in complaint_about(lines, tmp_path)


def test_an_optimum_may_differ_beyond_its_second_decimal_alone(tmp_path: Path) -> None:
    def put(best: str) -> Path:
        return write_csv(tmp_path / "table.csv", [line.replace("47.3111", best) for line in LINES])

    assert Nasbench201Table.read(put("47.3149")).best.imagenet16_120 == 47.3149
    assert "best accuracy on ImageNet16-120 is 47.32 %, published is 47.31 %" in complaint(put("47.3151"))


def test_a_table_made_in_memory_is_checked_as_well(table: Nasbench201Table) -> None:
    accuracies = dict(table.accuracies)
    del accuracies[SECOND]
    with pytest.raises(ValueError, match="15,624 of the 15,625"):
        Nasbench201Table(accuracies=accuracies, source=Path("memory"), form="CSV")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "CIFAR10TestAccuracy200Epochs is there 0 times"),
        (LINES[1], "CIFAR10TestAccuracy200Epochs is there 0 times"),
        (LINES[0].replace(",", ";"), "CIFAR10TestAccuracy200Epochs is there 0 times"),
        (LINES[0].replace("CIFAR100", "CIFAR10"), "CIFAR10TestAccuracy200Epochs is there 2 times"),
        (LINES[0].replace("String", ""), "ArchitectureString is there 0 times"),
        ("a," * 100_000, "CIFAR10TestAccuracy200Epochs is there 0 times"),
    ],
    ids=["empty", "a row", "semicolons", "twice", "renamed", "wide"],
)
def test_a_first_line_that_does_not_name_the_columns_is_refused(
    tmp_path: Path, header: str, said: str
) -> None:
    assert f"line 1: the column {said}" in complaint_about([header, *LINES[1:]], tmp_path)


def test_a_torn_line_is_named(tmp_path: Path) -> None:
    assert (
        "line 9: it has 1 fields, and the first line 4; restore the file, or get nats_bench.csv"
        in complaint_about([*LINES[:8], LINES[8][:7]], tmp_path)
    )


def test_a_number_after_a_quoted_one_is_not_joined_to_it(tmp_path: Path) -> None:
    lines = [*LINES[:5], f'"9"0,50,40,{ROWS[4][3]}', *LINES[6:]]
    assert "line 6: ',' expected after '\"'" in complaint_about(lines, tmp_path)


def test_a_quote_that_does_not_end_is_refused(tmp_path: Path) -> None:
    line = complaint_about([*LINES[:8], '"' + LINES[8], *LINES[9:]], tmp_path)
    assert "field larger than field limit" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: the column"),
        (b"\x00" * 5000, "line 1: the column"),
        ("\n".join(LINES).encode("utf-16"), "it is not UTF-8 at byte 0"),
        ("\n".join(LINES).encode("utf-16-le"), "line 1: the column"),
        (LINES[0].encode() + b"\n\xff", f"it is not UTF-8 at byte {len(LINES[0]) + 1}"),
        (b" " * 10_000_001, "it has more than 10,000,000 bytes"),
    ],
    ids=["empty", "zeros", "UTF-16", "UTF-16 without a mark", "Latin-1", "huge"],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    assert said in complaint(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "NAS-Bench-201-v1_1-096897.pth",
            b"\x80\x02",
            "its older form, a pickle of torch for nas_201_api",
        ),
        ("NAS-Bench-201-v1_0-e61699.pth", b"PK\x03\x04", "its older form"),
        ("NAS-Bench-201-v1_1-096897", None, "its older form"),
        (
            "NATS-sss-v1_0-50262.pickle.pbz2",
            b"BZh9",
            "of the other search space of NATS-Bench, that of sizes",
        ),
        ("renamed.pth", b"PK\x03\x04", "is a zip archive, as torch and spreadsheets write, and no table"),
        ("renamed.pth", b"\x80\x02", "is a pickle, as torch writes, and no table"),
        ("table.csv.gz", b"\x1f\x8b\x08", "is packed by gzip, and no table"),
        ("table.csv.bz2", b"BZh9", "is packed by bzip2, and no table"),
        ("table.json", b'\xef\xbb\xbf {"a": 1}', "is JSON, and no table"),
        ("table.csv", b"\n<!DOCTYPE html>", "is a page of HTML, and no table"),
    ],
    ids=range(10),
)
def test_another_form_is_named_whatever_its_size_with_those_that_are_read(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
        os.truncate(path, 5_000_000_000)  # takes no room
    line = complaint(path)
    assert said in line
    assert (
        "give nats_bench.csv of github.com/v-tao/nats-bench-landscape, or with the package nats_bench NATS-"
        in line
    )


def test_a_cut_off_table_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = ("\n".join(LINES) + "\n").encode()
    path = tmp_path / "table.csv"
    draw = random.Random(2)
    for length in [len(whole) - 2, *(draw.randrange(len(whole) - 2) for _ in range(10))]:
        path.write_bytes(whole[:length])
        complaint(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("table.csv", f"{NAME}.pickle.pbz2"):
        os.mkfifo(tmp_path / name)
        assert "is no regular file" in complaint(tmp_path / name)


def test_a_folder_of_another_name_is_refused(tmp_path: Path) -> None:
    assert "is a folder, and no table of NAS-Bench-201" in complaint(tmp_path)


def test_the_table_is_read_without_torch(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "table.csv")
    script = (
        "import sys; from pathlib import Path; from xnas.study.nasbench201.table import Nasbench201Table\n"
        "Nasbench201Table.read(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def test_the_benchmark_in_one_file_is_read_by_its_package(tmp_path: Path) -> None:
    path = write_nats_bench_file(tmp_path)
    table = Nasbench201Table.read(path)
    assert (table.form, table.source) == ("NATS-Bench", path)
    assert len(table.accuracies) == 15_625
    expected = [
        ROWS[0][:3],
        ROWS[1][:3],
        ROWS[-1][:3],
        (60.0, 40.0, 20.0),
    ]
    for architecture, numbers in zip((FIRST, SECOND, LAST, ROWS[77][3]), expected, strict=True):
        found = table[architecture]
        assert (found.cifar10, found.cifar100, found.imagenet16_120) == pytest.approx(numbers)


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """A space of three architectures, so that a folder of the benchmark is small, and their results."""
    results = make_few()
    monkeypatch.setattr(table_file, "_every_architecture", lambda: frozenset(results))
    return results


def test_a_folder_of_the_benchmark_gives_means_over_seeds_on_the_test_images_after_200_epochs(
    tmp_path: Path, three: dict[str, dict[str, Any]]
) -> None:
    table = Nasbench201Table.read(write_nats_bench_folder(tmp_path, three))
    for row in (ROWS[0], ROWS[1], ROWS[-1]):
        found = table[row[3]]
        assert (found.cifar10, found.cifar100, found.imagenet16_120) == pytest.approx(row[:3])


def test_the_folder_may_be_given_from_inside(
    tmp_path: Path, three: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_nats_bench_folder(tmp_path, three))
    assert Nasbench201Table.read(Path()).form == "NATS-Bench"


def test_no_more_than_one_architecture_of_a_folder_is_kept(
    tmp_path: Path, three: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    def create(*arguments: Any, **settings: Any) -> Any:
        kept.append(api := nats_bench.NATStopology(arguments[0], settings["fast_mode"], settings["verbose"]))
        return api

    monkeypatch.setattr(nats_bench, "create", create)
    Nasbench201Table.read(write_nats_bench_folder(tmp_path, three))
    assert len(kept[0].evaluated_indexes) == 3
    assert not kept[0].arch2infos_dict


def test_a_folder_that_lacks_architectures_is_refused_before_they_are_read(
    tmp_path: Path, three: dict[str, dict[str, Any]]
) -> None:
    path = write_nats_bench_folder(tmp_path, {FIRST: three[FIRST], LAST: {}})
    assert f"has 2 of the 3 architectures of NAS-Bench-201; {SECOND} is missing" in complaint(path)


def test_a_folder_that_lacks_a_file_is_refused(tmp_path: Path, three: dict[str, dict[str, Any]]) -> None:
    path = write_nats_bench_folder(tmp_path, three)
    (path / "000001.pickle.pbz2").unlink()
    assert "nats_bench cannot read architecture 1 (" in complaint(path)
    (path / "meta.pickle.pbz2").unlink()
    assert "nats_bench cannot read the benchmark (FileNotFoundError: " in complaint(path)


@pytest.mark.parametrize("name", ["meta", "000000"])
def test_a_damaged_file_of_the_benchmark_is_refused(
    tmp_path: Path, three: dict[str, dict[str, Any]], name: str
) -> None:
    path = write_nats_bench_folder(tmp_path, three)
    file = path / f"{name}.pickle.pbz2"
    whole = file.read_bytes()
    for content in (b"", b"\x00", whole[: len(whole) // 2], b"BZh9" + bytes(50)):
        file.write_bytes(content)
        assert "get NATS-tss-v1_0-3ffb9-simple of github.com/D-X-Y/NATS-Bench again" in complaint(path)


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"12": make_results(94.37, 50, 40)["12"]},
        {"200": {}},
        {"200": make_results(94.37, 50, 40)["12"] | {"dataset_seed": {}}},
        make_results(float("nan"), 50, 40),
        make_results(94.37, 120, 40),
    ],
    ids=["empty", "12 epochs", "no results", "no seeds", "NaN", "above 100"],
)
def test_results_that_lack_the_test_accuracy_are_refused_with_their_number(
    tmp_path: Path, three: dict[str, dict[str, Any]], damaged: dict[str, Any]
) -> None:
    path = write_nats_bench_folder(tmp_path, three | {SECOND: damaged})
    assert "nats_bench cannot read architecture 1 (" in complaint(path)


def test_other_optima_in_the_benchmark_are_refused_too(
    tmp_path: Path, three: dict[str, dict[str, Any]]
) -> None:
    path = write_nats_bench_folder(tmp_path, three | {LAST: make_results(93.0, 72.0, 46.0)})
    assert "the best accuracy on CIFAR-10 is 93.00 %, published is 94.37 %" in complaint(path)


def test_memory_that_runs_out_is_not_taken_for_a_damaged_table(
    tmp_path: Path, three: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*arguments: Any, **settings: Any) -> Any:
        raise MemoryError

    path = write_nats_bench_folder(tmp_path, three)
    monkeypatch.setattr(nats_bench, "create", create)
    with pytest.raises(MemoryError):
        Nasbench201Table.read(path)


def test_a_packed_folder_must_be_unpacked(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}-simple.tar"
    path.write_bytes(bytes(1024))
    assert "unpack it (tar xf)" in complaint(path)


def test_without_the_package_the_command_that_installs_it_is_named(
    tmp_path: Path, three: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_nats_bench_folder(tmp_path, three)
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    assert "pip install 'xnas[nasbench201]'" in complaint(path)
