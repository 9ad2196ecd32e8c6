"""The rendezvous: the ranks meet at the store of rank 0, or of torchrun's agent, at MASTER_ADDR and MASTER_PORT.

A rank that waits tells at once for whom, where and how long. torch's C++ parts wait without regard for Ctrl-C and for
ever where another service answers, so a child process tries them first.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from xnas.io.errors import RankLost
from xnas.train.launch import Launch, agent_has_the_store, rendezvous_address

MEETING_SECONDS = 600
"""So long the ranks wait for each other."""
NAME_SECONDS = 60
"""So long a host may have no address: the names of new machines take a while to be known."""
FOREIGN_SECONDS = 20
"""So long what answers there may be something else than the store: it may be going down, and the store come up."""
QUIET_SECONDS = 1.0
"""Ranks that start together have met within so long; one that waits longer tells."""
TRY_SECONDS = 5.0
"""For one attempt to reach the store."""
PAUSE_SECONDS = 0.1


def find_store(launch: Launch) -> TCPStore:
    """Return the store of all ranks. Raises ValueError where there can be none, RankLost where none comes."""
    host, port = rendezvous_address()
    waiting = Waiting(launch)
    if launch.rank == 0 and not agent_has_the_store():
        _wait_for_address(host, waiting)
        try:
            return _store("localhost", port, serves=True)
        except RuntimeError as error:
            said = "it is in use" if "EADDRINUSE" in str(error) else " ".join(str(error).split())[:200]
            raise ValueError(
                f"rank 0 of {launch.size} cannot listen at MASTER_PORT = {port}: {said}; choose another port"
            ) from error
    foreign_since: float | None = None
    while True:
        _wait_for_address(host, waiting)
        if not _answers(host, port):
            foreign_since = None
            waiting.go_on("the process of rank 0", "nobody answers there yet")
        elif _is_store(host, port):
            return _store(host, port, serves=False)
        else:
            foreign_since = foreign_since or time.monotonic()
            if time.monotonic() > foreign_since + FOREIGN_SECONDS:
                raise ValueError(
                    f"rank {launch.rank} of {launch.size}: what answers at {host}:{port} is no process of this run; "
                    "choose another MASTER_PORT, or correct MASTER_ADDR"
                )
            waiting.go_on("the process of rank 0", "what answers there is something else")


def wait_for(launch: Launch, ranks: Collection[int], *, is_here: Callable[[int], bool]) -> None:
    """Wait until these ranks have come. Raises RankLost, naming those that have not, after MEETING_SECONDS."""
    waiting, left = Waiting(launch), list(ranks)
    while left := [rank for rank in left if not is_here(rank)]:
        named = ", ".join(map(str, left[:8])) + (f" and {len(left) - 8} more" if len(left) > 8 else "")
        waiting.go_on(f"rank{'s' * (len(left) > 1)} {named}", "not there yet")


class Waiting:
    """The waiting of a rank: it tells once for what, and ends after MEETING_SECONDS."""

    def __init__(self, launch: Launch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.launch, self.clock, self.since, self.said = launch, clock, clock(), False

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.since

    def go_on(self, whom: str, why: str) -> None:
        """Wait a moment longer. Raises RankLost after MEETING_SECONDS."""
        launch, (host, port) = self.launch, rendezvous_address()
        if self.seconds > MEETING_SECONDS:
            raise RankLost(
                f"rank {launch.rank} of {launch.size} has waited {MEETING_SECONDS} s for {whom} at {host}:{port}: "
                f"{why}; {launch.alone}"
            )
        if self.seconds > QUIET_SECONDS and not self.said:
            self.said = True
            sys.stderr.write(
                f"xnas: rank {launch.rank} of {launch.size} waits for {whom} at {host}:{port}, {MEETING_SECONDS} s at "
                f"most: {why}; {launch.alone}\n"
            )
            sys.stderr.flush()
        time.sleep(PAUSE_SECONDS)


def _wait_for_address(host: str, waiting: Waiting) -> None:
    """Raises ValueError if there is no such host."""
    while True:
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            if waiting.seconds > NAME_SECONDS:
                raise ValueError(
                    f"rank {waiting.launch.rank} of {waiting.launch.size}: there is no host MASTER_ADDR = {host} "
                    f"({why}); correct it; {waiting.launch.alone}"
                ) from None
            waiting.go_on("the process of rank 0", f"no such host ({why}); final after {NAME_SECONDS} s")
        else:
            return


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=TRY_SECONDS).close()
    except OSError:
        return False
    return True


def _store(host: str, port: int, *, serves: bool, seconds: float = MEETING_SECONDS) -> TCPStore:
    return TCPStore(
        host_name=host,
        port=port,
        world_size=None,
        is_master=serves,
        timeout=timedelta(seconds=seconds),
        wait_for_workers=False,
        multi_tenant=True,
    )


def _is_store(host: str, port: int) -> bool:
    """Whether what answers there is a store: what tries it is a child process, which can be ended."""
    if not hasattr(os, "fork"):
        return True
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what C++ says of it takes forty lines
            _store(host, port, serves=False, seconds=TRY_SECONDS)
        except BaseException:
            os._exit(1)
        os._exit(0)
    ended, status, until = 0, 1, time.monotonic() + TRY_SECONDS
    try:
        while not ended and time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended:
                time.sleep(0.01)
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return bool(ended) and status == 0
