"""xnas theory: what it prints and leaves behind, the paper's step sizes, and places that take nothing."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from xnas.cli import main
from xnas.theory import demonstrations
from xnas.theory.demonstration import Numbers
from xnas.theory.wipeout import WipeoutGames, play_wipeout


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two demonstrations instead of five, and small ones."""

    def play(seeds: int) -> Numbers:
        return play_wipeout(seeds, games=WipeoutGames(rounds=60, zetas=(1.0, 0.03)))

    small = dataclasses.replace(demonstrations.DEMONSTRATIONS["wipeout"], play=play)
    fixed = dataclasses.replace(small, name="fixed", title="Fixed", seeds=None)
    monkeypatch.setattr(demonstrations, "DEMONSTRATIONS", {"wipeout": small, "fixed": fixed})


@pytest.mark.usefixtures("quick")
def test_a_demonstration_prints_its_table_and_writes_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "folder"
    assert main(["theory", "wipeout", "--out", str(out), "--seeds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "wipeout: n = 3"
    assert any(line.startswith("0.03 ") for line in lines)
    assert lines[-1] == f"written: {out}/wipeout.svg, {out}/wipeout.png, {out}/wipeout.json"
    assert sorted(path.name for path in out.iterdir()) == ["wipeout.json", "wipeout.png", "wipeout.svg"]


@pytest.mark.usefixtures("quick")
def test_all_goes_on_one_page_and_the_same_seeds_give_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("a", "b"):
        assert main(["theory", "all", "--out", str(tmp_path / folder), "--seeds", "2"]) == 0
    printed = capsys.readouterr().out
    assert "fixed: nothing is drawn by chance" in printed
    assert f"page: {tmp_path}/a/index.html" in printed
    files = sorted((tmp_path / "a").iterdir())
    assert len(files) == 7
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("replicas", "horizon", "eta"), [("6", "7,500,000", "0.000745"), ("2", "2,500,000", "0.00129")]
)
def test_the_papers_step_sizes_come_out(
    replicas: str, horizon: str, eta: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"theory step-size --validation-samples 25000 --epochs 50 --experts 8 --replicas {replicas}"
    assert main(words.split()) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == f"T = {horizon} feedbacks: 25,000 samples x 50 epochs x {replicas} replicas"
    assert second.startswith(f"eta* = {eta}, for N = 8 and L = 1; regret at most ")
    assert third.endswith("50% of T")


def test_another_step_size_is_compared_and_zeta_says_how_early_an_expert_can_go(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = "theory step-size --validation-samples 100 --epochs 10 --experts 8 --replicas 1 --zeta 0.25"
    assert main([*words.split(), "--reward-bound", "2", "--step-size", "0.0645"]) == 0
    best, other, zeta = capsys.readouterr().out.splitlines()[1:]
    assert best == (
        "eta* = 0.0322, for N = 8 and L = 2; regret at most 129, if an update follows every feedback"
    )
    # 0.0645 * 1000 * 4 / 2 + ln 8 / 0.0645 = 129 + 32.2
    assert other == "eta = 0.0645, 2 times eta*; regret at most 161.2, 1.25 times as much"
    assert zeta == "zeta = 0.25: no expert can be wiped out before feedback 201, 20% of T"


def test_the_papers_two_values_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["theory", "step-size", "--help"])
    assert end.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("25,000", "7.5e-4", "1.3e-3", "7,500,000", "2,500,000", "50 epochs"):
        assert words in printed


def test_the_verb_is_known_without_torch() -> None:
    code = (
        "import sys\nfrom xnas.cli import theory\n"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_out_that_is_no_folder_ends_in_one_line_before_any_work(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["theory", "all", "--out", str(tmp_path / place)]) == 2
    printed = capsys.readouterr()
    assert printed.err == (
        f"xnas: --out {tmp_path / place} is not a folder, or lies in a file; choose another place\n"
    )
    assert printed.out == ""


def test_a_disk_that_takes_no_folder_ends_with_code_4(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xnas.io.atomic.mkdir_fsync", refuse)
    assert main(["theory", "all", "--out", str(tmp_path / "new")]) == 4
    assert capsys.readouterr().err == (
        f"xnas: cannot make {tmp_path / 'new'}: No space left on device; choose another place\n"
    )
