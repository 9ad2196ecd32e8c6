"""Starting several processes of one run, as a launcher would."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
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
