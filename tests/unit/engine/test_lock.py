"""One process at a time works in a run folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xnas.engine.lock import LOCK, locked

HOLD = (
    "import sys, pathlib\nfrom xnas.engine.lock import locked\n"
    "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
)


def test_a_second_process_is_refused_at_once_and_told_who_works_there(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(
            ValueError, match=rf"is in use by process {holder.pid} on .*; wait for its end, stop it"
        ),
        locked(tmp_path),
    ):
        pass
    holder.kill()
    holder.communicate()
    assert f"process {holder.pid}" in (tmp_path / LOCK).read_text()
    with locked(tmp_path):  # a dead process holds nothing, whatever its file says
        assert f"process {os.getpid()}" in (tmp_path / LOCK).read_text()
    assert (tmp_path / LOCK).read_text() == ""


def test_a_second_run_of_the_same_process_is_refused_and_takes_nothing_away(tmp_path: Path) -> None:
    with locked(tmp_path):
        for _ in range(2):
            with pytest.raises(ValueError, match="in use by this process already"), locked(tmp_path):
                pass
        other = subprocess.run(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert f"in use by process {os.getpid()}" in other.stderr


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(OSError), locked(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "kept"
