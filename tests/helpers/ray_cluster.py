"""A Ray cluster of several nodes on one machine, and a driver that works on it in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

STORE = 80_000_000
"""Bytes of each node's object store; nothing of size goes through it."""


class Simulated:
    """Nodes with a CPU each, which can be lost; their head has none, so that it has nothing to do."""

    def __init__(self, cluster: Any, nodes: int) -> None:
        self.cluster, self.nodes = cluster, []
        for _ in range(nodes):
            self.add()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=STORE))

    def remove(self, place: int) -> None:
        """As a machine that loses its power."""
        self.cluster.remove_node(self.nodes.pop(place), allow_graceful=False)

    def workers(self) -> list[int]:
        """Processes that do a task now."""
        listed = subprocess.run(
            ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
        ).stdout
        mine = {node.all_processes["raylet"][0].process.pid for node in self.nodes}
        found = [line.split(maxsplit=2) for line in listed.splitlines()[1:]]
        return [
            int(pid)
            for pid, parent, args in found
            if args.startswith("ray::run_remote_task") and int(parent) in mine
        ]


@contextmanager
def simulated_cluster(nodes: int) -> Iterator[Simulated]:
    """A cluster of so many nodes, and a head."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs Ray: pip install 'xnas[ray]'")
    cluster = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE},
    )
    try:
        yield Simulated(cluster, nodes)
    finally:
        cluster.shutdown()


def begin(words: list[str], *, log: Path) -> "subprocess.Popen[bytes]":
    """`xnas` with these words, in a process of its own that writes into `log`."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "xnas", *words], stdout=out, stderr=subprocess.STDOUT
        )


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may be gone by now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
