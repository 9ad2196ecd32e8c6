"""Starting several processes of one run, as a launcher would.

    python -m tests.distributed.launcher WORLD MODULE WORDS...

imports a module once, which takes seconds of torch, and forks processes that each run its `main`.
"""

import importlib
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

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
    """Run `world` processes of a module to their end."""
    return finish(start(world, *words), seconds=seconds)


def fork(world: int, module: str, *words: str, seconds: float = 120) -> None:
    """Run a module's `main` by `world` forked processes. Fails if one of them does, or takes longer."""
    words = (sys.executable, "-m", "tests.distributed.launcher", str(world), module, *words)
    # In a group of their own, so that none is left behind.
    server = subprocess.Popen(words, env=environment(1, 0, 0), start_new_session=True)
    try:
        assert server.wait(timeout=seconds) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def _carry_out(main: Callable[..., None], words: Sequence[str]) -> int:
    try:
        main(*words)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _main(world: str, module: str, *words: str) -> None:
    main: Callable[..., None] = importlib.import_module(module).main
    importlib.import_module("torch.nn.parallel.distributed")
    port, children = free_port(), []
    for rank in range(int(world)):
        pid = os.fork()
        if pid == 0:
            os.environ.update(environment(int(world), rank, port))
            code = _carry_out(main, words)
            sys.stderr.flush()
            os._exit(code)
        children.append(pid)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))


if __name__ == "__main__":
    _main(*sys.argv[1:])
