"""How much memory a course takes, said before its first epoch ends, with what would lower it."""

from collections.abc import Callable

import torch

from xnas.engine.runtime import peak_memory

ROUNDS = 5
"""After so many it is said; or at the end of an epoch, where that comes sooner."""
MORE = 1.05
"""It is said again where rounds that do more than those before have a peak so many times as high."""


class MemoryNotice:
    """Watches the peak from now on, and speaks once for each kind of rounds: a warm-up's, and those with rewards.

    Where the system does not tell what a process holds, nothing is said.
    """

    def __init__(self, device: torch.device, *, say: Callable[[str], object], remedies: str) -> None:
        self.device, self.say, self.remedies = device, say, remedies
        self._before = peak_memory(device)
        self._kind = ""
        self._rounds = 0
        self._said = 0

    def after_round(self, kind: str, *, epoch_ends: bool) -> None:
        """Count a round of this kind, a word in the plural, and speak if it is time to."""
        if kind != self._kind:
            self._kind, self._rounds = kind, 0
        elif self._rounds == 0:  # of these it has spoken
            return
        self._rounds += 1
        if self._rounds < ROUNDS and not epoch_ends:
            return
        peak = peak_memory(self.device)
        if peak > MORE * self._said:
            self.say(self._line(peak))
            self._said = peak
        self._rounds = 0

    def _line(self, peak: int) -> str:
        rounds = f"{self._rounds} {self._kind if self._rounds > 1 else self._kind.removesuffix('s')}"
        taken = f", {_size(peak - self._before)} of it taken by them" if peak > self._before else ""
        return f"memory: {_size(peak)} at most in {rounds}{taken}; {self.remedies} would lower it"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
