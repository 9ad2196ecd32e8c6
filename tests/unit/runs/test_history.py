import json
from pathlib import Path

import pytest

from xnas.runs.history import read_history, to_row

from ...helpers.run_builder import build_run, search_rows, write, write_rows

pytestmark = pytest.mark.usefixtures("by_hand")


def test_the_history_of_a_run_is_read(tmp_path: Path) -> None:
    history = read_history(build_run(tmp_path / "run"))
    assert list(history.groups) == ["normal", "reduction"]
    assert history.groups["normal"].replicas == 6
    assert [row.epoch for row in history.search] == [0, 1, 2, 3, 4, 5]
    assert history.search[0].train_loss is None
    assert len(history.retrain) == 10
    assert history.wipeouts


def test_a_row_is_written_as_it_is_read(tmp_path: Path) -> None:
    rows = search_rows(epochs=1)
    write_rows(tmp_path, rows)
    history = read_history(tmp_path)
    values = (*history.groups.values(), *history.search, *history.wipeouts)
    again = json.loads(json.dumps([to_row(value) for value in values], default=list))
    assert [row for row in again if row["kind"] != "search_epoch"] == [
        row for row in rows if row["kind"] != "search_epoch"
    ]
    for one, other in zip(
        [row for row in again if row["kind"] == "search_epoch"],
        [row for row in rows if row["kind"] == "search_epoch"],
        strict=True,
    ):
        assert {key: value for key, value in one.items() if value is not None} == {
            key: value for key, value in other.items() if value is not None
        }


def test_a_folder_without_metrics_has_an_empty_history(tmp_path: Path) -> None:
    assert read_history(tmp_path).search == ()


@pytest.mark.parametrize("torn", [b'{"kind": "retrain_epo', '{"kind": "é'.encode()[:-1], b"{", b'"'])
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn: bytes) -> None:
    folder = build_run(tmp_path / "run")
    whole = read_history(folder)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    assert read_history(folder) == whole


@pytest.mark.parametrize("damage", ['{"kind": ', "[1]", '{"kind": "retrain_epoch", "epoch": NaN}', "\ufffd"])
def test_a_damaged_line_before_the_last_names_file_and_line(tmp_path: Path, damage: str) -> None:
    folder = build_run(tmp_path / "run")
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[2] = damage
    write(path, "\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 3"):
        read_history(folder)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            {"groups": {"normal": {"feedbacks": 0, "u": [[1.0]], "log_v": [], "alive": []}}},
            "'u' must be 14 lists",
        ),
        ({"groups": {"other": {}}}, "'other' has no row"),
        ({"epoch": -1}, "'epoch' must be a whole number"),
        ({"train_loss": "low"}, "'train_loss' must be a finite number"),
        ({"multiply_adds": -1}, "'multiply_adds' must be a whole number"),
    ],
)
def test_a_row_that_does_not_fit_names_its_line_and_key(
    tmp_path: Path, change: dict[str, object], word: str
) -> None:
    rows = search_rows(epochs=0)
    rows[-1] |= change
    write_rows(tmp_path, rows)
    with pytest.raises(ValueError, match=rf"line 3.*{word}"):
        read_history(tmp_path)


def test_rows_of_an_unknown_kind_are_passed_over_and_an_epoch_done_again_counts_once(tmp_path: Path) -> None:
    rows = search_rows(epochs=1)
    again = json.loads(json.dumps(rows[-1])) | {"train_loss": 9.0}
    write_rows(tmp_path, [{"kind": "of tomorrow"}, *rows, again])
    history = read_history(tmp_path)
    assert [row.epoch for row in history.search] == [0, 1]
    assert history.search[1].train_loss == 9.0


def test_warm_up_epochs_have_no_validation(tmp_path: Path) -> None:
    history = read_history(build_run(tmp_path / "run", warmup_epochs=2))
    assert [row.val_loss is None for row in history.search] == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"regret": [0.0] * 13}, "'regret' must be a list of 14 finite numbers"),
        ({"regret": [True] * 14}, "'regret' must be a list of 14 finite numbers"),
        ({"bound": 1.0}, "'bound' must be a list of 14 finite numbers"),
        ({"clip_rate": [1.5] * 14}, r"'clip_rate' must be a list of 14 numbers in \[0, 1\]"),
        ({"reward_size": [-1.0] * 14}, "'reward_size' must be a list of 14 finite numbers, none negative"),
    ],
)
def test_a_ledger_that_does_not_fit_names_its_line_and_key(
    tmp_path: Path, change: dict[str, object], word: str
) -> None:
    rows = search_rows(epochs=0)
    rows[-1]["groups"]["normal"]["ledger"] |= change
    write_rows(tmp_path, rows)
    with pytest.raises(ValueError, match=rf"line 3.*'ledger': {word}"):
        read_history(tmp_path)


def test_a_ledger_is_read_and_may_be_missing_as_may_multiply_adds(tmp_path: Path) -> None:
    rows = search_rows(epochs=1)
    write_rows(tmp_path, rows)
    history = read_history(tmp_path)
    ledger = history.search[1].groups["normal"].ledger
    assert ledger is not None
    assert list(ledger.regret_E) == rows[-1]["groups"]["normal"]["ledger"]["regret"]
    assert history.search[0].multiply_adds == 1_000_000 + 40_000 * 2 * 14 * 7
    assert history.groups["normal"].method == "xnas"

    rows[0] |= {"method": "gd", "reward_bound": None, "zeta": None}
    del rows[-1]["multiply_adds"], rows[-1]["groups"]["normal"]["ledger"]
    rows[-1]["groups"]["reduction"]["ledger"] = None
    write_rows(tmp_path, rows)
    history = read_history(tmp_path)
    assert (history.groups["normal"].method, history.groups["normal"].reward_bound) == ("gd", None)
    assert history.search[1].multiply_adds is None
    assert [weights.ledger for weights in history.search[1].groups.values()] == [None, None]
