"""How several ranks end together: signals, kills, ranks that go astray, and mistakes in the input."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.rank_launcher import ROOT, Ranks, spawn, start, wait_until
from xnas.cli import main
from xnas.runs.folder import GENOTYPE, RunFolder

RANK = "tests.distributed.rank"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noise, one of them with a dark square."""
    folder, generator = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 9)):
        for name in ("dark", "light"):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                pixels[2:6, 2:6] //= 3 if name == "dark" else 1
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


def settings(photographs: Path, runs: Path, *, epochs: int = 2) -> list[str]:
    """A search of four steps an epoch, saved after every second, and a training of six."""
    return [
        *("--preset", "quick", "--data", str(photographs), "--runs", str(runs), "--name", "mine"),
        *("--data.padding", "1", "--space.nodes", "1", "--space.cells", "3", "--space.channels", "4"),
        *("--search.epochs", str(epochs), "--search.warmup-epochs", "1", "--search.batch-size", "6"),
        *("--retrain.cells", "3", "--retrain.channels", "4", "--retrain.epochs", "2"),
        *("--retrain.batch-size", "8", "--retrain.auxiliary-weight", "0.4", "--retrain.drop-path", "0.2"),
        *("--data.cutout", "2", "--threads", "1", "--checkpoint.steps", "2", "--distributed.timeout", "30"),
    ]


@pytest.mark.parametrize("reached", [(1,), (0, 1)], ids=["one", "all"])
def test_a_signal_ends_all_at_the_same_step_with_a_checkpoint(
    reached: tuple[int, ...], photographs: Path, tmp_path: Path
) -> None:
    ranks = start(2, "xnas", "search", *settings(photographs, tmp_path, epochs=500))
    when_it_has_saved(tmp_path / "mine", ranks, beyond=3)
    for rank in reached:
        ranks.send_signal(rank, signal.SIGTERM)
    done = ranks.finish(seconds=60)
    assert [process.returncode for process in done] == [143, 143], done
    assert done[0].stderr == "xnas: stopped by SIGTERM\n"
    assert "resume with: xnas resume" in done[0].stdout
    assert (done[1].stdout, done[1].stderr) == ("", "")
    assert RunFolder(tmp_path / "mine").checkpoints("search").found()[0].name >= "search-0000000004"


def test_a_killed_rank_is_named_and_the_others_end(photographs: Path, tmp_path: Path) -> None:
    ranks = start(3, "xnas", "search", *settings(photographs, tmp_path, epochs=500))
    when_it_has_saved(tmp_path / "mine", ranks, beyond=3)
    ranks.send_signal(1, signal.SIGKILL)
    done = ranks.finish(seconds=60)
    assert [process.returncode for process in done] == [5, -signal.SIGKILL, 5], done
    assert "rank 1 of 3 does not answer" in done[0].stderr
    assert re.search(r"last good checkpoint: .*search-\d+", done[0].stderr)
    assert "xnas:" not in done[2].stderr


def test_where_rank_0_is_killed_the_next_says_so(photographs: Path, tmp_path: Path) -> None:
    ranks = start(2, "xnas", "search", *settings(photographs, tmp_path, epochs=500))
    when_it_has_saved(tmp_path / "mine", ranks, beyond=3)
    ranks.send_signal(0, signal.SIGKILL)
    done = ranks.finish(seconds=60)
    assert [process.returncode for process in done] == [-signal.SIGKILL, 5], done
    assert "xnas: the process where all 2 ranks met is gone" in done[1].stderr


def test_a_stopped_rank_is_named_once_the_timeout_is_over(photographs: Path, tmp_path: Path) -> None:
    words = [*settings(photographs, tmp_path, epochs=500), "--distributed.timeout", "1"]
    ranks = start(2, "xnas", "search", *words)
    when_it_has_saved(tmp_path / "mine", ranks, beyond=3)
    ranks.send_signal(1, signal.SIGSTOP)
    wait_until(lambda: "rank 1 of 2 does not answer" in (ranks.folder / "0.2").read_text(), seconds=60)
    ranks.send_signal(1, signal.SIGCONT)  # it finds the others gone
    assert [process.returncode for process in ranks.finish(seconds=60)] == [5, 5]


@pytest.mark.parametrize(
    ("odd", "code", "said"),
    [
        ("other_rewards", 2, "differ between the 2 processes: rank 1 went another way"),
        ("other_images", 2, "the images of rank 1 differ from those of rank 0"),
        ("no_images", 2, "rank 1 of 2 ended: there are no images on this machine"),
        ("stopped_compiling", 143, "stopped by SIGTERM"),
    ],
)
def test_what_goes_wrong_on_one_rank_ends_all_with_its_reason_and_exit_code(
    odd: str, code: int, said: str, photographs: Path, tmp_path: Path
) -> None:
    done = spawn(2, RANK, "search", *settings(photographs, tmp_path), ODD=odd)
    assert [process.returncode for process in done] == [code, code], done
    assert done[0].stderr.startswith("xnas: ")
    assert said in done[0].stderr
    assert (done[1].stdout, done[1].stderr) == ("", "")
    run = RunFolder(tmp_path / "mine")
    assert not run.has(GENOTYPE)
    if odd == "other_rewards":
        assert run.checkpoints("search").found()[0].name <= "search-0000000006"


def test_two_ranks_do_the_job_alike_and_rank_0_alone_touches_the_folder(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = spawn(2, RANK, "run", *settings(photographs, tmp_path), RUNS=str(tmp_path), ODD="no_kernels")
    assert [process.returncode for process in done] == [0, 0], done
    assert (done[1].stdout, done[1].stderr) == ("", "")
    assert 'rank 1 computes with other kernels: "none, torch\'s own operations"' in done[0].stdout
    result = RunFolder(tmp_path / "mine").result()
    assert result["test_samples"] == 18
    assert main(["evaluate", str(tmp_path / "mine")]) == 0
    alone = capsys.readouterr().out.splitlines()[-1]
    together = spawn(3, RANK, "evaluate", str(tmp_path / "mine"), RUNS=str(tmp_path))
    assert together[0].stdout.splitlines()[-1] == alone
    assert f"loss {result['test_loss']:.4f}, on 18 images" in alone
    again = ["retrain", str(tmp_path / "mine"), "--overwrite"]
    assert [p.returncode for p in spawn(2, RANK, *again, RUNS=str(tmp_path))] == [0, 0]
    assert RunFolder(tmp_path / "mine").result() == result


def test_a_comparison_is_made_by_two_ranks_and_a_task_that_fails_on_one_is_named(
    photographs: Path, tmp_path: Path
) -> None:
    words = ["compare", *settings(photographs, tmp_path), "--methods", "xnas", "random", "--seeds", "0"]
    done = spawn(2, RANK, *words, RUNS=str(tmp_path), ODD="no_numbers")
    assert [process.returncode for process in done] == [2, 2], done
    assert "failed: the loss is nan at step 1 of search epoch 1" in done[0].stdout
    assert (done[1].stdout, done[1].stderr) == ("", "")
    trained = tmp_path / "mine" / "found-random-0-seed-0"
    assert RunFolder(trained).result()["test_samples"] == 18  # the others go on


def test_a_mistake_ends_all_in_one_line_of_rank_0(photographs: Path, tmp_path: Path) -> None:
    words = [*settings(photographs, tmp_path), "--search.batch-size", "9"]
    done = spawn(2, "xnas", "search", *words)
    assert [process.returncode for process in done] == [2, 2], done
    said = "search.batch_size 9 does not divide over 2 processes; use a multiple of 2, such as 10"
    assert done[0].stderr == f"xnas: {said}\n"
    assert done[1].stderr == ""
    assert not (tmp_path / "mine").exists()


@pytest.mark.long
def test_under_torchrun_a_run_of_which_a_rank_is_killed_goes_on_by_itself(
    photographs: Path, tmp_path: Path
) -> None:
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    done = subprocess.run(
        [sys.executable, "-m", *torchrun, "-m", RANK, "search", *settings(photographs, tmp_path)],
        env={**os.environ, "ODD": "dies_once", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert re.search(r"search: (going on|resuming) from .*search-0000000002", done.stdout)
    assert RunFolder(tmp_path / "mine").has(GENOTYPE)


@pytest.mark.long
def test_a_run_that_is_stopped_and_killed_twenty_times_ends_all_the_same(
    photographs: Path, tmp_path: Path
) -> None:
    draw = random.Random(0)
    words = ["search", *settings(photographs, tmp_path, epochs=80), "--search.batch-size", "12"]
    steps = [0]
    for time_around in range(20):
        world = draw.choice([2, 3, 4])
        ranks = start(world, "xnas", *words)
        when_it_has_saved(tmp_path / "mine", ranks, beyond=steps[-1] + draw.randrange(3))
        victim, fatal = draw.randrange(world), draw.random() < 0.5
        ranks.send_signal(victim, signal.SIGKILL if fatal else signal.SIGTERM)
        began = time.monotonic()
        codes = [process.returncode for process in ranks.finish(seconds=60)]
        print(
            f"{time_around}: {world} ranks, {'killed' if fatal else 'stopped'} {time.monotonic() - began:.1f} s"
        )
        expected = [5] * world if fatal else [143] * world
        if fatal:
            expected[victim] = -signal.SIGKILL
        assert codes == expected
        steps.append(newest_step(tmp_path / "mine"))
    assert steps == sorted(steps)
    assert [process.returncode for process in spawn(2, "xnas", *words)] == [0, 0]
    assert RunFolder(tmp_path / "mine").has(GENOTYPE)


def newest_step(run: Path) -> int:
    """Of its checkpoints; -1 without one."""
    found = [int(path.name.rpartition("-")[2]) for path in run.glob("checkpoints/search-*")]
    return max(found, default=-1)


def when_it_has_saved(run: Path, ranks: Ranks, *, beyond: int) -> None:
    """Wait until a search has saved a later step."""
    wait_until(lambda: ranks.ended() or newest_step(run) > beyond, seconds=100)
    assert not ranks.ended(), ranks.finish()
