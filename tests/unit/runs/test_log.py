"""metrics.jsonl holds whole rows, in their order, none missing and none twice."""

import os
from pathlib import Path

import pytest

from xnas.io.errors import CannotWrite
from xnas.runs.log import MetricsLog

from ...helpers.sealed_runs import seal


def test_rows_are_appended_one_to_a_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"kind": "a", "edge": "0→2"})
    log.append({"kind": "b"})
    assert log.path.read_text() == '{"kind": "a", "edge": "0→2"}\n{"kind": "b"}\n'
    assert log.kinds() == {"a", "b"}


def test_a_row_that_a_crash_has_torn_is_taken_away_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).append({"kind": "a"})
    with path.open("ab") as file:
        file.write(b'{"kind": "to')
    assert MetricsLog(path).kinds() == {"a"}
    MetricsLog(path).append({"kind": "b"})
    assert path.read_text() == '{"kind": "a"}\n{"kind": "b"}\n'


def test_rows_that_the_disk_does_not_take_wait_and_come_whole_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"kind": "a"})
    write = os.write

    def full(handle: int, content: bytes) -> int:
        write(handle, bytes(content)[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for kind in ("b", "c"):
        with pytest.raises(
            CannotWrite, match=r"cannot write .*metrics.jsonl: No space left on device; make room"
        ):
            log.append({"kind": kind})
    monkeypatch.setattr(os, "write", write)
    log.append({"kind": "d"})
    assert log.path.read_text() == "".join(f'{{"kind": "{kind}"}}\n' for kind in "abcd")


def test_a_run_that_goes_back_drops_the_rows_that_it_will_write_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"kind": "a"})
    length, sha256 = log.flush(), log.sha256
    log.append({"kind": "b"})
    later = MetricsLog(log.path)
    later.cut(length, sha256=sha256)
    later.append({"kind": "c"})
    assert log.path.read_text() == '{"kind": "a"}\n{"kind": "c"}\n'
    with pytest.raises(
        ValueError, match=r"metrics.jsonl has 28 bytes where the checkpoint knows of 100; restore"
    ):
        later.cut(100, sha256=sha256)


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("[]\n")
    seal(tmp_path)
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1 must be a JSON object"):
        MetricsLog(path).kinds()
