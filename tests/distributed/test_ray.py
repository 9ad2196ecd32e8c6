"""Many runs on a Ray cluster: none lost, none done twice, whatever is lost on the way."""

import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..helpers.ray_cluster import Simulated, begin, kill, simulated_cluster
from ..helpers.smallest_run import SMALLEST

pytestmark = pytest.mark.filterwarnings("default")  # Ray warns of itself
PATIENCE = 300.0
"""Seconds until a test gives up."""
HANDFUL = """
[sweep]
search_seeds = [0, 1, 2]
methods = ["xnas", "gd"]
"""


@pytest.fixture
def file(tmp_path: Path, image_folder: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(SMALLEST.replace("[data]", f'[data]\nsource = "{image_folder}"') + HANDFUL)
    return path


def words(file: Path, cluster: Simulated) -> list[str]:
    return ["sweep", str(file), "--runs", str(file.parent / "runs"), "--address", cluster.address]


def wait_until(
    condition: Callable[[], Any], *, log: Path, process: "subprocess.Popen[bytes] | None" = None
) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, log.read_text()
        assert process is None or process.poll() is None, log.read_text()
        time.sleep(0.05)


def ends(process: "subprocess.Popen[bytes]", *, log: Path) -> int:
    try:
        return process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(log.read_text())


def rows(run: Path) -> Counter[tuple[str, int | None]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return Counter(
        (row["kind"], row.get("epoch")) for row in map(json.loads, lines) if row["kind"] != "wipeout"
    )


def check_whole(folder: Path, *, searches: int, trainings: int, epochs: int) -> None:
    """Every run has ended, and every one of its epochs is there once."""
    assert len(list(folder.glob("search-*/genotype.json"))) == searches
    assert len(list(folder.glob("found-*/result.json"))) == trainings
    for run in (*folder.glob("search-*"), *folder.glob("found-*")):
        found = rows(run)
        kind = "search_epoch" if run.name.startswith("search") else "retrain_epoch"
        assert found[(kind, epochs)] == 1, run
        assert {key: count for key, count in found.items() if count > 1 and key[0] != "group"} == {}, run
    values = json.loads((folder / "study.json").read_text())
    assert values["missing"] == []
    assert sum(row["n"] for row in values["rows"]) == trainings


def test_runs_survive_the_loss_of_a_node(file: Path, tmp_path: Path) -> None:
    # Every worker that starts costs four seconds, and every run one or two: so few nodes and runs show the same.
    file.write_text(file.read_text().replace('["xnas", "gd"]', '["xnas"]').replace("[0, 1, 2]", "[0, 1]"))
    folder, log = tmp_path / "runs" / "grid", tmp_path / "log"
    with simulated_cluster(2) as cluster:
        driver = begin(words(file, cluster), log=log)
        wait_until(lambda: len(list(folder.glob("search-*/checkpoints"))) >= 2, log=log, process=driver)
        cluster.remove(0)
        assert ends(driver, log=log) == 0, log.read_text()
        said = log.read_text()
        assert "cluster: 3 nodes, 2 CPUs, 0 GPUs; a task takes 1 CPU" in said
        assert "lost with its worker (NodeDiedError" in said
        check_whole(folder, searches=2, trainings=2, epochs=2)


@pytest.mark.long
def test_two_hundred_runs_survive_nodes_workers_and_drivers_that_are_killed_at_random(
    file: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    file.write_text(
        file.read_text()
        .replace("[0, 1, 2]", str(list(range(20))))
        .replace('["xnas", "gd"]', '["xnas", "gd", "darts", "gaea", "momentum"]')
    )
    folder, log, seen = tmp_path / "runs" / "grid", tmp_path / "log", Seen(tmp_path / "runs" / "grid")
    chance, killed = random.Random(0), Counter[str]()
    with simulated_cluster(3) as cluster:
        driver = begin(words(file, cluster), log=log)
        until = time.monotonic() + 3600
        while driver.poll() is None or driver.returncode != 0:
            assert time.monotonic() < until, log.read_text()[-5000:]
            seen.look()
            if driver.poll() is not None:
                # By a signal, or by itself only as after one.
                assert driver.returncode in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM), (
                    log.read_text()[-5000:]
                )
                driver = begin(words(file, cluster), log=log)
            for _ in range(chance.randint(50, 300)):
                time.sleep(0.1)
                seen.look()
            victim = chance.choice(["node", "node", "worker", "worker", "worker", "driver", "driver, asked"])
            if victim == "node":
                cluster.remove(chance.randrange(3))
                cluster.add()
            elif victim == "worker":
                if not (workers := cluster.workers()):
                    continue
                kill(chance.choice(workers))
            else:
                kill(driver.pid, signal.SIGTERM if "asked" in victim else signal.SIGKILL)
                driver.wait(timeout=PATIENCE)
                victim += " to stop" * ("asked" in victim)
            killed[victim] += 1
        seen.look()
        assert seen.again == []
        assert len(seen.ended) == 200
        check_whole(folder, searches=100, trainings=100, epochs=2)
        again = begin(words(file, cluster), log=log)
        assert ends(again, log=log) == 0
        seen.look()
        assert seen.again == []
    record_property("figures", f"killed: {dict(killed)}; 200 runs ended once, n = 1 sweep")


class Seen:
    """Looks at what has ended, again and again: a file that is written anew has another number on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ended: dict[Path, int] = {}
        self.again: list[Path] = []

    def look(self) -> None:
        for path in (*self.folder.glob("search-*/genotype.json"), *self.folder.glob("found-*/result.json")):
            number = path.stat().st_mtime_ns
            if self.ended.setdefault(path, number) != number:
                self.again.append(path)


@pytest.mark.long
@pytest.mark.parametrize("where", ["here", "on a cluster"])
def test_a_sweep_takes_little_more_time_than_its_runs(
    where: str, file: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    text = file.read_text().replace("epochs = 2", "epochs = 400").replace("steps = 1", "minutes = 1")
    file.write_text(text.replace("[0, 1, 2]", "[0]"))
    log, folder = tmp_path / "log", tmp_path / "runs" / "grid"
    if where == "here":
        driver = begin(["sweep", str(file), "--runs", str(tmp_path / "runs"), "--threads", "1"], log=log)
        assert ends(driver, log=log) == 0, log.read_text()
    else:
        with simulated_cluster(1) as cluster:
            driver = begin(words(file, cluster), log=log)
            assert ends(driver, log=log) == 0, log.read_text()
    # A run from its first file to its last; what is before the first of all, such as importing torch, is not counted.
    runs = [*folder.glob("search-*"), *folder.glob("found-*")]
    spans = [((run / "job.json").stat().st_mtime, (run / "report.html").stat().st_mtime) for run in runs]
    total = (folder / "report.html").stat().st_mtime - min(begun for begun, _ in spans)
    spent = sum(ended - begun for begun, ended in spans)
    figures = f"{where}: {total / spent - 1:+.1%} over {len(runs)} runs of {spent / len(runs):.0f} s, n = 1"
    record_property("figures", figures)
    assert total < 1.05 * spent, figures
