"""Small commands of every kind, and what each leaves if nothing happens to it."""

import shutil
import time
from pathlib import Path

from .fork_server import Forks
from .outcomes import outcome

SETTINGS = """
device = "cpu"
threads = 1
[data]
padding = 1
[space]
nodes = 1
channels = 2
cells = 3
[search]
epochs = 3
batch_size = 10
zeta = 0.2
[retrain]
channels = 2
cells = 3
epochs = 3
batch_size = 20
"""
COMMANDS = {
    "run": ("run", "--controls", "1", "--checkpoint.steps", "1"),
    "search": ("search", "--checkpoint.steps", "2"),
    "retrain": ("retrain", "--genotype", "darts_v1", "--checkpoint.steps", "1"),
    "files": ("run", "--checkpoint.steps", "1", "--data.workers", "1"),
}


class Rehearsal:
    """A command, and what it leaves if nothing happens."""

    def __init__(self, name: str, place: Path, images: Path, forks: Forks) -> None:
        (place / "small.toml").write_text(SETTINGS)
        self.forks, self.runs = forks, place / "runs"
        where = ("--config", str(place / "small.toml"), "--data", str(images), "--runs", str(self.runs))
        self.words = (*COMMANDS[name], *where, "--name", name)
        self.run = self.runs / name
        started = time.monotonic()
        self.go()
        self.seconds = time.monotonic() - started
        self.whole = outcome(self.run)
        self.start_anew()

    def go(self) -> None:
        fork = self.forks.start(*self.words)
        assert fork.wait() == 0, fork.said()[-2000:]

    def start_anew(self) -> None:
        shutil.rmtree(self.run)
