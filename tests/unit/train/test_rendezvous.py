"""Where processes first meet: who waits says for whom, and what is no place to meet at is told in one line."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.helpers.rank_launcher import free_port
from xnas.io.errors import RankLost
from xnas.train import rendezvous as meeting
from xnas.train.launch import Launch
from xnas.train.rendezvous import Waiting, find_store, wait_for

LEADS, FOLLOWS = (Launch(rank=rank, size=4, local_rank=rank, alone="to run alone: ...") for rank in (0, 1))


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    number = free_port()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(number))
    for name in ("QUIET_SECONDS", "PAUSE_SECONDS"):
        monkeypatch.setattr(meeting, name, 0.0)
    return number


@contextmanager
def a_service(port: int, answer: bytes | None) -> Iterator[None]:
    """Something else that listens there: it answers each who comes, or lets all wait."""
    with socket.create_server(("127.0.0.1", port)) as server:
        child = os.fork()
        if child == 0:
            kept = []
            while True:
                kept.append(server.accept()[0])
                if answer is not None:
                    kept[-1].sendall(answer)
        try:
            yield
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)


@pytest.mark.parametrize("answer", [None, b"SSH-2.0-OpenSSH_9.2\r\n"], ids=["silent", "speaks"])
def test_another_service_at_the_port_is_told(
    answer: bytes | None, port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, seconds in (("TRY_SECONDS", 0.3), ("FOREIGN_SECONDS", 0.0)):
        monkeypatch.setattr(meeting, name, seconds)
    with a_service(port, answer):
        with pytest.raises(
            ValueError, match=f"answers at 127.0.0.1:{port} is no process of this run; choose"
        ):
            find_store(FOLLOWS)
        with pytest.raises(ValueError, match=f"cannot listen at MASTER_PORT = {port}: it is in use; choose"):
            find_store(LEADS)
    assert capfd.readouterr().err == ""  # nor do torch's C++ parts say anything


@pytest.mark.parametrize("launch", [LEADS, FOLLOWS], ids=["leads", "follows"])
def test_a_host_that_does_not_exist_is_told(
    launch: Launch, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "no-such-host.invalid")
    monkeypatch.setattr(meeting, "NAME_SECONDS", 0.0)
    with pytest.raises(
        ValueError, match=r"there is no host MASTER_ADDR = no-such-host.invalid .*; correct it"
    ):
        find_store(launch)
    monkeypatch.setattr(meeting, "NAME_SECONDS", 60)
    monkeypatch.setattr(meeting, "MEETING_SECONDS", 0.05)
    with pytest.raises(RankLost, match="no such host"):
        find_store(launch)
    assert f"waits for the process of rank 0 at no-such-host.invalid:{port}, " in capsys.readouterr().err


def test_a_leading_process_that_does_not_come_is_told(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(meeting, "MEETING_SECONDS", 0.05)
    with pytest.raises(
        RankLost, match=f"rank 1 of 4 has waited 0.05 s for the process of rank 0 at .*:{port}"
    ):
        find_store(FOLLOWS)
    line = f"xnas: rank 1 of 4 waits for the process of rank 0 at 127.0.0.1:{port}, 0.05 s at most: nobody answers"
    assert capsys.readouterr().err.startswith(line)


def test_those_who_do_not_come_are_named_at_once_and_once(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter(range(1000))

    def is_here(rank: int) -> bool:
        return rank == 2 or (rank == 3 and next(looks) > 5)

    monkeypatch.setattr(meeting, "MEETING_SECONDS", 1.0)
    with pytest.raises(RankLost, match=r"rank 0 of 4 has waited 1.0 s for rank 1 at"):
        wait_for(LEADS, range(1, 4), is_here=is_here)
    said = capsys.readouterr().err
    assert said.startswith(f"xnas: rank 0 of 4 waits for ranks 1, 3 at 127.0.0.1:{port}, 1.0 s at most")
    assert said.endswith("to run alone: ...\n")
    assert said.count("\n") == 1


def test_nobody_speaks_where_all_are_there(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    store = find_store(LEADS)
    other = find_store(FOLLOWS)
    other.set("here", "yes")
    assert store.get("here") == b"yes"
    wait_for(LEADS, range(1, 4), is_here=lambda rank: True)
    assert capsys.readouterr().err == ""


def test_who_waits_can_be_ended_by_ctrl_c(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def ctrl_c(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xnas.train.rendezvous.time.sleep", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        find_store(FOLLOWS)
    with pytest.raises(KeyboardInterrupt):
        Waiting(LEADS).go_on("rank 1", "not there yet")
