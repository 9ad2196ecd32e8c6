"""Runs of the command line in processes of their own, that start in milliseconds.

A server imports everything once and forks a process for each command; nobody but the test decides how that ends.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = """
import importlib, json, os, sys
import torch
import matplotlib.figure
from xnas.cli import COMMANDS, STUDIES, main
for command in COMMANDS.keys() - STUDIES | {"study"}:
    importlib.import_module(f"xnas.cli.{command}")
import xnas.train.context, xnas.train.retrain, xnas.train.search, xnas.report.page
torch.set_num_threads(1)
if len(sys.argv) > 1:
    sys.path.insert(0, sys.argv[1])
    from tests.helpers.blank_pictures import draw_blank
    draw_blank()
for line in sys.stdin:
    request = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for number in (1, 2):
            os.dup2(os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        exec(request["before"]) if request["before"] else None
        try:
            code = main(request["words"])
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        os._exit(code)
    print(pid, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

ROOT = Path(__file__).parents[2]

LONGEST = 120
"""Seconds that any of the small commands may take on a busy machine."""


class Fork:
    """A process that carries out a command; it leads a process group of its own."""

    def __init__(self, forks: "Forks", pid: int) -> None:
        self.server, self.pid, self.said = forks.server, pid, forks.said

    def wait(self) -> int:
        """Its exit code; minus the number of the signal that ended it. One that hangs fails the test."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write("\n")
        self.server.stdin.flush()
        ready, _, _ = select.select([self.server.stdout], [], [], LONGEST)
        assert ready, f"a command has not ended in {LONGEST} s: {self.said()[-2000:]}"
        return int(self.server.stdout.readline())


class Forks:
    """Starts processes, one at a time."""

    def __init__(self, server: subprocess.Popen[str], output: Path) -> None:
        self.server, self.output = server, output

    def said(self) -> str:
        """What all of them have printed."""
        return self.output.read_text() if self.output.exists() else ""

    def start(self, *words: str, before: str = "") -> Fork:
        """A process that carries out the command, after the statements in `before`."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        request = {"words": words, "output": str(self.output), "before": before}
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return Fork(self, int(self.server.stdout.readline()))


def nobody_is_left(group: int) -> bool:
    """Whether a process group has ended, within seconds."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@contextmanager
def forking(output: Path, *, blank: bool) -> Iterator[Forks]:
    """A server; what the processes print goes into the file `output`. With `blank` no pictures are drawn."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, *([str(ROOT)] if blank else [])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        yield Forks(server, output)
    finally:
        server.kill()
        server.communicate()
