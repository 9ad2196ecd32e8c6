"""Starting the ranks of a run, as a launcher would: forked from one process that has imported what takes seconds.

    python -m tests.helpers.rank_launcher

reads requests from its input, one in a line, and forks their ranks.
"""

import atexit
import functools
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).parents[2]


def environment(world: int, rank: int, port: int) -> dict[str, str]:
    """What torchrun would say to a rank."""
    words = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    return {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in words.items()}}


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@functools.cache
def _server() -> "subprocess.Popen[str]":
    server = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        },
        stdin=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)
    return server


@dataclass(frozen=True)
class Ranks:
    """Processes that were started together."""

    folder: Path
    """Where the exit codes come, and what each prints."""
    pids: list[int]

    def send_signal(self, rank: int, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pids[rank], number)

    def ended(self) -> bool:
        return (self.folder / "codes").exists()

    def finish(self, *, seconds: float = 120) -> "list[subprocess.CompletedProcess[str]]":
        """Wait for all; kills those that take longer, and raises TimeoutError."""
        try:
            wait_until(self.ended, seconds=seconds)
        except TimeoutError:
            for rank in range(len(self.pids)):
                self.send_signal(rank, signal.SIGKILL)
            raise
        codes = json.loads((self.folder / "codes").read_text())
        return [
            subprocess.CompletedProcess(
                (), code, *((self.folder / f"{rank}.{number}").read_text() for number in (1, 2))
            )
            for rank, code in enumerate(codes)
        ]


def wait_until(condition: Callable[[], object], *, seconds: float) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def start(world: int, *words: str, **more: str) -> Ranks:
    """`world` ranks of a module and its words, with `more` in the environment."""
    folder = Path(mkdtemp(prefix="ranks-"))
    server = _server()
    assert server.stdin is not None
    server.stdin.write(json.dumps([str(folder), world, words, more]) + "\n")
    server.stdin.flush()
    wait_until((folder / "pids").exists, seconds=60)
    return Ranks(folder, json.loads((folder / "pids").read_text()))


def spawn(world: int, *words: str, **more: str) -> "list[subprocess.CompletedProcess[str]]":
    """Run `world` ranks to their end."""
    return start(world, *words, **more).finish()


def _run(words: Sequence[str]) -> int:
    sys.argv = list(words)
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _launch(folder: str, world: int, words: Sequence[str], more: dict[str, str]) -> None:
    port, pids = free_port(), []
    for rank in range(world):
        pid = os.fork()
        if pid == 0:
            os.environ.update(environment(world, rank, port) | more)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number in (1, 2):
                os.dup2(os.open(f"{folder}/{rank}.{number}", os.O_WRONLY | os.O_CREAT), number)
            code = _run(words)
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
        pids.append(pid)
    _write(f"{folder}/pids", pids)
    _write(f"{folder}/codes", [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])


def _write(path: str, values: list[int]) -> None:
    Path(f"{path}.part").write_text(json.dumps(values))
    os.rename(f"{path}.part", path)


def _serve() -> None:
    for name in ("xnas.cli.run", "xnas.cli.evaluate", "xnas.train.context", "xnas.train.pipeline"):
        importlib.import_module(name)
    for name in (
        "xnas.train.retrain",
        "xnas.train.search",
        "torch.nn.parallel.distributed",
        "xnas.report.page",
    ):
        importlib.import_module(name)
    from xnas.train.memory import take_memory_early

    take_memory_early()  # torch's compiler, which takes long to import
    for line in sys.stdin:
        if os.fork() == 0:
            os.setsid()
            _launch(*json.loads(line))
            os._exit(0)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


if __name__ == "__main__":
    _serve()
