"""Starting several processes of one run, as a launcher would.

    python -m tests.distributed.launcher FOLDER WORLD MODULE WORDS...

imports what takes seconds once, forks processes that each run the module, and leaves in the folder what these printed
and their exit codes.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]


def environment(world: int, rank: int, port: int) -> dict[str, str]:
    """What torchrun would say to a process."""
    words = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    return {
        **os.environ,
        **{name: str(value) for name, value in words.items()},
        "MASTER_ADDR": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(world: int, *words: str) -> list[subprocess.Popen[str]]:
    """`world` processes of a module, by rank."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, "-m", *words],
            env=environment(world, rank, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def finish(
    processes: Sequence[subprocess.Popen[str]], *, seconds: float
) -> list[subprocess.CompletedProcess[str]]:
    """Wait for all; kills those that take longer, and raises TimeoutExpired."""
    try:
        done = []
        for process in processes:
            out, err = process.communicate(timeout=seconds)
            done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
        return done
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


def spawn(world: int, *words: str, seconds: float = 120) -> list[subprocess.CompletedProcess[str]]:
    """Run `world` processes of a module to their end, forked from one. Raises TimeoutExpired."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.distributed.launcher", name, str(world), *words],
            env=environment(1, 0, 0),
            start_new_session=True,  # a group, so that nobody is left behind
        )
        try:
            assert server.wait(timeout=seconds) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
        codes = json.loads((folder / "codes").read_text())
        return [
            subprocess.CompletedProcess(
                words, code, (folder / f"{rank}.1").read_text(), (folder / f"{rank}.2").read_text()
            )
            for rank, code in enumerate(codes)
        ]


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


def _main(folder: str, world: str, *words: str) -> None:
    for name in ("xnas.cli.run", "xnas.train.context", "xnas.train.serve", "xnas.report.page"):
        importlib.import_module(name)
    importlib.import_module("torch.nn.parallel.distributed")
    port, children = free_port(), []
    for rank in range(int(world)):
        pid = os.fork()
        if pid == 0:
            os.environ.update(environment(int(world), rank, port))
            for number in (1, 2):
                os.dup2(os.open(f"{folder}/{rank}.{number}", os.O_WRONLY | os.O_CREAT), number)
            code = _run(words)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    Path(folder, "codes").write_text(json.dumps(codes))


if __name__ == "__main__":
    _main(*sys.argv[1:])
