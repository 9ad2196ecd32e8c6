"""Ending a command in the middle of a search, as a signal does."""

import os
import signal

import pytest

from xnas import Search
from xnas.data.loader import Batch
from xnas.train.trainer import Row


def signal_in_round(number: int, *, patch: pytest.MonkeyPatch) -> list[Search]:
    """SIGTERM in the `number`-th round of all searches from now on; returns a list that grows with every round."""
    made: list[Search] = []
    one_round = Search.round

    def round_with_a_signal(self: Search, *batches: Batch) -> list[Row]:
        made.append(self)
        if len(made) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_round(self, *batches)

    patch.setattr(Search, "round", round_with_a_signal)
    return made
