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
class RankFailure:
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
    """The beats of this rank, and the watch over the others."""

    def __init__(self, store: Store, *, rank: int, size: int) -> None:
        self.store, self.rank, self.size = store, rank, size
        self.dead: list[int] = []
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
        with suppress(RuntimeError):
            self.store.compare_set("failure", "", json.dumps([self.rank, exit_code, reason]))

    def failure(self) -> RankFailure | None:
        """The first failure of all ranks. Raises RuntimeError if the store is gone."""
        return RankFailure(*json.loads(self.store.get("failure"))) if self.store.check(["failure"]) else None

    def set(self, key: str, value: str = "") -> None:
        """Set a key, for the others to wait for."""
        with suppress(RuntimeError):  # where the store is gone, the next wait finds it so
            self.store.set(key, value)

    def wait(self, keys: Mapping[int, str]) -> None:
        """Wait until these ranks have set their keys.

        Raises RankLost if one of them is dead or the store is gone, and after the failure of any rank what that says.
        """
        try:
            missing = dict(keys)
            while missing := {rank: key for rank, key in missing.items() if not self.store.check([key])}:
                if (failure := self.failure()) is not None:
                    raise failure.error(self.size)
                if dead := [rank for rank in missing if self._silence(rank) > DEAD_SECONDS]:
                    raise self._no_answer(dead)
                time.sleep(POLL_SECONDS)
        except RuntimeError as error:
            raise self._store_is_gone(error) from error

    def diagnose(self, said: str) -> Exception:
        """Return the error that says which rank was lost, and why, after a connection broke: waits for all to beat."""
        try:
            silent = {rank: self._beats(rank) for rank in range(self.size) if rank != self.rank}
            deadline = time.monotonic() + GRACE_SECONDS
            while silent and time.monotonic() < deadline:
                if (failure := self.failure()) is not None:
                    return failure.error(self.size)
                silent = {
                    rank: beats
                    for rank, beats in silent.items()
                    if self._beats(rank) == beats and not self.store.check([f"left/{rank}"])
                }
                time.sleep(POLL_SECONDS)
        except RuntimeError as error:
            return self._store_is_gone(error)
        return self._no_answer(list(silent)) if silent else RankLost(f"a connection broke: {said}")

    def _beats(self, rank: int) -> int:
        beats: int = self.store.add(f"beats/{rank}", 0)
        return beats

    def _silence(self, rank: int) -> float:
        """Seconds since a rank was seen to beat."""
        beats, now = self._beats(rank), time.monotonic()
        if self._seen.get(rank, (-1, now))[0] != beats:
            self._seen[rank] = beats, now
        return now - self._seen[rank][1]

    def is_told(self) -> bool:
        """Return whether another rank tells the user why all end: rank 0 once it has noticed, else the first alive."""
        if 0 in self.dead:
            return not set(range(self.rank)) <= set(self.dead)
        deadline = time.monotonic() + NOTICE_SECONDS
        try:
            while not self.store.check(["noticed"]):
                if time.monotonic() > deadline:
                    return False
                time.sleep(POLL_SECONDS)
        except RuntimeError:  # the store went with rank 0
            return self.rank > 1
        return True

    def leave(self, *, failed: bool) -> None:
        """Mark this rank as gone, and beat no more. Rank 0, which may serve the store, leaves last.

        Launchers end the others as soon as one has failed, so these wait for rank 0 to tell why, once it has noticed.
        """
        first, deadline = self.rank == 0, time.monotonic() + GRACE_SECONDS
        with suppress(RuntimeError):
            if first:
                self.store.set("left/0", "")
                while time.monotonic() < deadline and not all(map(self._has_left, range(self.size))):
                    time.sleep(POLL_SECONDS)
            elif not failed or self.store.check(["noticed"]):
                while not self._has_left(0) and self._silence(0) < DEAD_SECONDS:
                    time.sleep(POLL_SECONDS)
            self.store.set(f"left/{self.rank}", "")
        self.stop()

    def _has_left(self, rank: int) -> bool:
        return rank in self.dead or self.store.check([f"left/{rank}"])

    def _no_answer(self, ranks: list[int]) -> RankLost:
        self.dead = ranks
        several = len(ranks) > 1
        return RankLost(
            f"rank{'s' * several} {', '.join(map(str, ranks))} of {self.size} {'do' if several else 'does'} not "
            "answer: killed, or out of reach"
        )

    def _store_is_gone(self, error: RuntimeError) -> RankLost:
        said = " ".join(str(error).split())[:200]
        return RankLost(f"the process where all {self.size} ranks met is gone, and with it the run: {said}")
