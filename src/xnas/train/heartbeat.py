"""Failure detection. Every rank beats in the store that all share: one that fails leaves its reason there, one that is
killed or stopped beats no more. Waiting in the store ends when the awaited rank has failed or is dead, never before:
loading images may take hours."""

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from torch.distributed import Store  # type: ignore[attr-defined]

from xnas.io.errors import Interrupted, RankLost

HEARTBEAT_SECONDS = 0.5
GRACE_SECONDS = 8.0
"""Within so many seconds of a loss every rank that is left has beaten."""
DEAD_SECONDS = 30.0
"""Without a beat for so long, a rank that others wait for in the store is dead; a busy machine may delay a beat."""
NOTICE_SECONDS = 5.0
"""So long a rank that fails waits for rank 0 to take notice, which then tells why; else it tells itself."""
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Failure:
    """Why a rank has ended by itself."""

    rank: int
    exit_code: int
    reason: str

    def error(self, size: int) -> Exception:
        """The error that the other ranks end with: after a signal the same, else RankLost with the same exit code."""
        if self.exit_code > 128:
            return Interrupted(self.exit_code - 128)
        return RankLost(f"rank {self.rank} of {size} ended: {self.reason}", exit_code=self.exit_code)


class Heartbeat:
    """Beats for this rank, and watches the others."""

    def __init__(self, store: Store, *, rank: int, size: int) -> None:
        self.store, self.rank, self.size = store, rank, size
        self.dead: list[int] = []
        """The ranks that did not beat after a loss."""
        self._seen: dict[int, tuple[int, float]] = {}
        self._stopping = threading.Event()
        # A thread, since the main one may be waiting in a collective operation for a rank that is gone.
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        with suppress(RuntimeError):
            while not self._stopping.wait(HEARTBEAT_SECONDS):
                self.store.add(f"beats/{self.rank}", 1)

    def stop(self) -> None:
        """Beat no more."""
        self._stopping.set()

    def report_failure(self, exit_code: int, reason: str) -> None:
        """Leave word of why this rank ends. The first failure of all ranks stays."""
        failure = json.dumps([self.rank, exit_code, reason])
        with suppress(RuntimeError):
            self.store.compare_set("failure", "", failure)

    def failure(self) -> Failure | None:
        """The first failure of all ranks. Raises RuntimeError if the store is gone."""
        return Failure(*json.loads(self.store.get("failure"))) if self.store.check(["failure"]) else None

    def set(self, key: str, value: str = "") -> None:
        """Set a key, for the others to wait for. Raises RankLost if the store is gone."""
        try:
            self.store.set(key, value)
        except RuntimeError as error:
            raise self._store_is_gone(error) from error

    def wait(self, keys: Mapping[int, str]) -> None:
        """Wait until these ranks have set their keys.

        Raises RankLost if one of them is dead or the store is gone, and after the failure of any rank what that says.
        """
        try:
            missing = dict(keys)
            while missing := {rank: key for rank, key in missing.items() if not self.store.check([key])}:
                if (failure := self.failure()) is not None:
                    raise failure.error(self.size)
                if dead := [rank for rank in missing if self._is_silent(rank)]:
                    self.dead = dead
                    raise RankLost(self._no_answer(dead))
                time.sleep(POLL_SECONDS)
        except RuntimeError as error:
            raise self._store_is_gone(error) from error

    def _is_silent(self, rank: int) -> bool:
        beats, now = self.store.add(f"beats/{rank}", 0), time.monotonic()
        before, since = self._seen.get(rank, (-1, now))
        if beats != before:
            since = now
        self._seen[rank] = beats, since
        return now - since > DEAD_SECONDS

    def diagnose(self, said: str) -> Exception:
        """After a connection broke, the error that says which rank was lost, and why."""
        try:
            if failure := self._find_dead_ranks():
                return failure.error(self.size)
        except RuntimeError as error:
            return self._store_is_gone(error)
        return RankLost(
            self._no_answer(self.dead) if self.dead else f"the connection between the ranks broke: {said}"
        )

    def _find_dead_ranks(self) -> Failure | None:
        """Wait until all others have beaten, and note those who have not; returns a failure where there is one."""
        beats = {rank: self.store.add(f"beats/{rank}", 0) for rank in range(self.size) if rank != self.rank}
        deadline = time.monotonic() + GRACE_SECONDS
        while beats and time.monotonic() < deadline:
            if (failure := self.failure()) is not None:
                return failure
            beats = {
                rank: count
                for rank, count in beats.items()
                if self.store.add(f"beats/{rank}", 0) == count and not self.store.check([f"left/{rank}"])
            }
            time.sleep(POLL_SECONDS)
        self.dead = sorted(beats)
        return None

    def notice(self) -> None:
        """Have the others know, as rank 0, that this one tells why all end."""
        with suppress(RuntimeError):
            self.store.set("noticed", "")

    def is_told(self) -> bool:
        """Wait until rank 0 has noticed that all end; returns whether it tells why, or the first rank that is left."""
        if 0 in self.dead:
            return not set(range(self.rank)) <= set(self.dead)
        deadline = time.monotonic() + NOTICE_SECONDS
        with suppress(RuntimeError):
            while time.monotonic() < deadline:
                if self.store.check(["noticed"]):
                    return True
                time.sleep(POLL_SECONDS)
            return False
        return self.rank > 1  # the store went with rank 0

    def leave(self, *, failed: bool) -> None:
        """Mark this rank as gone, and beat no more. Rank 0, which may serve the store, leaves last.

        Launchers end the others as soon as one has failed, so these wait for rank 0 to tell why, once it has noticed.
        """
        with suppress(RuntimeError):
            if self.rank == 0:
                self.store.set("left/0", "")
                deadline = time.monotonic() + GRACE_SECONDS
                while time.monotonic() < deadline and not all(
                    rank in self.dead or self.store.check([f"left/{rank}"]) for rank in range(1, self.size)
                ):
                    time.sleep(POLL_SECONDS)
            else:
                while (
                    (not failed or self.store.check(["noticed"]))
                    and not self.store.check(["left/0"])
                    and not self._is_silent(0)
                ):
                    time.sleep(POLL_SECONDS)
                self.store.set(f"left/{self.rank}", "")
        self.stop()

    def _no_answer(self, ranks: list[int]) -> str:
        named = f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
        return (
            f"{named} of {self.size} {'do' if len(ranks) > 1 else 'does'} not answer: killed, or out of reach"
        )

    def _store_is_gone(self, error: RuntimeError) -> RankLost:
        said = " ".join(str(error).split())[:200]
        return RankLost(f"the process where all {self.size} ranks met is gone, and with it the run: {said}")
