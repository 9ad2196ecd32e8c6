"""How several processes end together: signals, kills, processes that go astray, and mistakes in the input."""

import random
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.distributed.launcher import finish, spawn, start
from xnas.cli import main
from xnas.runs.folder import GENOTYPE, RunFolder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noise, one of them with a dark square."""
    folder, generator = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for part, count in (("train", 64), ("test", 17)):
        for name in ("dark", "light"):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                pixels[2:6, 2:6] //= 3 if name == "dark" else 1
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


def search_words(photographs: Path, runs: Path, *, epochs: int = 2, more: tuple[str, ...] = ()) -> list[str]:
    """A search of eight rounds an epoch, saved after every second."""
    return [
        *("search", "--preset", "quick", "--data", str(photographs), "--runs", str(runs), "--name", "mine"),
        *("--data.padding", "1", "--space.nodes", "1", "--space.cells", "3", "--space.channels", "4"),
        *("--search.epochs", str(epochs), "--search.warmup-epochs", "1", "--search.batch-size", "8"),
        *("--threads", "1", "--checkpoint.steps", "2", "--distributed.timeout", "30"),
        *more,
    ]


@pytest.mark.parametrize("reached", [(1,), (0, 1)], ids=["one", "all"])
def test_a_signal_ends_all_at_the_same_round_with_a_checkpoint(
    reached: tuple[int, ...], photographs: Path, tmp_path: Path
) -> None:
    words = search_words(photographs, tmp_path, epochs=500)
    processes = start(2, "xnas", *words)
    when_it_has_gone_on(tmp_path / "mine", processes, beyond=3)
    for rank in reached:
        processes[rank].send_signal(signal.SIGTERM)
    done = finish(processes, seconds=60)
    assert [process.returncode for process in done] == [143, 143], done
    assert "stopped by SIGTERM" in done[0].stderr
    assert "go on with: xnas resume" in done[0].stdout
    assert (done[1].stdout, done[1].stderr) == ("", "")
    assert RunFolder(tmp_path / "mine").checkpoints("search").found()[0].name >= "search-0000000004"


def test_a_killed_process_is_named_and_the_others_end(photographs: Path, tmp_path: Path) -> None:
    processes = start(
        3, "xnas", *search_words(photographs, tmp_path, epochs=500, more=("--search.batch-size", "6"))
    )
    when_it_has_gone_on(tmp_path / "mine", processes, beyond=3)
    processes[1].kill()
    done = finish(processes, seconds=60)
    assert [process.returncode for process in done] == [5, -signal.SIGKILL, 5], done
    assert "rank 1 of 3 does not answer" in done[0].stderr
    assert re.search(r"last good checkpoint: .*search-\d+", done[0].stderr)
    assert "xnas:" not in done[2].stderr


def test_where_the_leading_process_is_killed_the_next_says_so(photographs: Path, tmp_path: Path) -> None:
    processes = start(2, "xnas", *search_words(photographs, tmp_path, epochs=500))
    when_it_has_gone_on(tmp_path / "mine", processes, beyond=3)
    processes[0].kill()
    done = finish(processes, seconds=60)
    assert [process.returncode for process in done] == [-signal.SIGKILL, 5], done


def test_a_process_whose_rewards_were_tampered_with_is_found_within_the_epoch(
    photographs: Path, tmp_path: Path
) -> None:
    done = spawn(2, "tests.distributed.tampered", *search_words(photographs, tmp_path))
    assert [process.returncode for process in done] == [2, 2], done
    assert "differ between the 2 processes: rank 1 went another way" in done[0].stderr
    assert RunFolder(tmp_path / "mine").checkpoints("search").found()[0].name <= "search-0000000010"


def test_the_whole_job_is_done_by_two_and_its_network_tested_whole(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", *search_words(photographs, tmp_path)[1:]]
    sizes = (
        "--retrain.cells",
        "3",
        "--retrain.channels",
        "4",
        "--retrain.epochs",
        "2",
        "--retrain.batch-size",
        "8",
    )
    recipe = ("--retrain.auxiliary-weight", "0.4", "--retrain.drop-path", "0.2", "--data.cutout", "2")
    done = spawn(2, "xnas", *words, *sizes, *recipe)
    assert [process.returncode for process in done] == [0, 0], done
    assert (done[1].stdout, done[1].stderr) == ("", "")
    result = RunFolder(tmp_path / "mine").result()
    assert result["test_samples"] == 34
    assert main(["evaluate", str(tmp_path / "mine")]) == 0
    alone = capsys.readouterr().out.splitlines()[-1]
    together = spawn(3, "xnas", "evaluate", str(tmp_path / "mine"))[0].stdout.splitlines()[-1]
    assert together == alone
    assert f"loss {result['test_loss']:.4f}, on 34 images" in alone


def test_a_mistake_ends_all_in_one_line_of_the_leading_process(photographs: Path, tmp_path: Path) -> None:
    done = spawn(2, "xnas", *search_words(photographs, tmp_path, more=("--search.batch-size", "9")))
    assert [process.returncode for process in done] == [2, 2], done
    said = "search.batch_size 9 does not divide over 2 processes; use a multiple of 2, such as 10"
    assert done[0].stderr == f"xnas: {said}\n"
    assert done[1].stderr == ""
    assert not (tmp_path / "mine").exists()


@pytest.mark.long
def test_a_run_that_is_stopped_and_killed_twenty_times_ends_all_the_same(
    photographs: Path, tmp_path: Path
) -> None:
    draw = random.Random(0)
    words = search_words(photographs, tmp_path, epochs=40, more=("--search.batch-size", "12"))
    rounds = [0]
    for time_around in range(20):
        world = draw.choice([2, 3, 4])
        processes = start(world, "xnas", *words)
        when_it_has_gone_on(tmp_path / "mine", processes, beyond=rounds[-1] + draw.randrange(3))
        victim, fatal = processes[draw.randrange(world)], draw.random() < 0.5
        if fatal:
            victim.kill()
        else:
            victim.send_signal(signal.SIGTERM)
        began = time.monotonic()
        done = finish(processes, seconds=60)
        print(
            f"{time_around}: {world} processes, {'killed' if fatal else 'stopped'} {time.monotonic() - began:.1f} s"
        )
        codes = {process.returncode for process in done if process.args is not victim.args or not fatal}
        assert codes <= ({5, -signal.SIGKILL} if fatal else {143}), done
        rounds.append(newest_step(tmp_path / "mine"))
    assert rounds == sorted(rounds)
    assert [process.returncode for process in spawn(2, "xnas", *words)] == [0, 0]
    assert RunFolder(tmp_path / "mine").has(GENOTYPE)


def newest_step(run: Path) -> int:
    """Of its checkpoints; -1 without one."""
    found = [int(path.name.rpartition("-")[2]) for path in run.glob("checkpoints/search-*")]
    return max(found, default=-1)


def when_it_has_gone_on(run: Path, processes: list[subprocess.Popen[str]], *, beyond: int) -> None:
    """Wait until a search has saved a later round."""
    deadline = time.monotonic() + 100
    while newest_step(run) <= beyond:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
