"""What the live panel shows of a search."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from xnas.report.terminal import LiveDisplay
from xnas.runs.callbacks import PhaseInfo
from xnas.runs.history import read_history

from ...helpers.run_builder import search_rows, write_rows


def panel(rows: list[dict[str, Any]], folder: Path) -> str:
    """The panel after the last of the rows, of a search that was begun with the first epoch's multiply-adds."""
    write_rows(folder, rows)
    history = read_history(folder)
    output = io.StringIO()
    display = LiveDisplay(Console(file=output, force_terminal=True, width=80, highlight=False))
    display.start(
        PhaseInfo(
            name="search",
            epochs=2,
            steps_per_epoch=52,
            groups=history.groups,
            multiply_adds=history.search[0].multiply_adds,
        )
    )
    display.epoch_done(history.search[-1])
    display.finish()
    with display.console.capture() as captured:
        display.console.print(display._panel())
    return captured.get()


def words(line: str) -> list[str]:
    return line.replace("\x1b[0m", "").split()


@pytest.mark.usefixtures("by_hand")
def test_the_panel_tells_of_entropy_leaders_regret_and_cost(tmp_path: Path) -> None:
    rows = search_rows(epochs=2)
    for name in ("normal", "reduction"):
        group = rows[-1]["groups"][name]
        group |= {
            "alive": [[True] * 7] * 14,
            "u": [[1 / 7] * 7] * 14,
            "log_v": [[0.0] * 2 + [1.0] + [0.0] * 4] * 14,
        }
        group["ledger"] |= {
            "regret": [3.14] * 14,
            "bound": [12.4] * 14,
            "clip_rate": [0.021] * 14,
            "reward_size": [0.05] * 14,
        }
    rows[-1]["multiply_adds"] = rows[2]["multiply_adds"] * 64 // 100
    lines = panel(rows, tmp_path).splitlines()
    (normal,) = [line for line in lines if "3.14 / 12.4" in line and "normal" in line]
    assert words(normal) == [
        "normal",
        "1.00",
        "100%",
        "0%",
        "0%",
        "0%",
        "3.14",
        "/",
        "12.4",
        "2.1%",
        "0.05",
    ]
    assert any("multiply-adds still computed: 64%" in line for line in lines)


@pytest.mark.usefixtures("by_hand")
def test_of_rivals_and_of_old_runs_it_tells_what_there_is(tmp_path: Path) -> None:
    rows = search_rows(epochs=2, ledger=False)
    for row in rows[:2]:
        row |= {"method": "gd", "reward_bound": None, "zeta": None}
    said = panel(rows, tmp_path)
    assert "entropy" in said
    assert "pool" in said
    for word in ("decided", "regret", "clipped", "multiply-adds"):
        assert word not in said
