"""Ending a command in the middle of a search, as a signal does."""

import os
import signal

import pytest

from xnas import SearchTrainer
from xnas.data.loader import Batch
from xnas.runs.history import HistoryRow


def signal_in_step(number: int, *, patch: pytest.MonkeyPatch) -> list[SearchTrainer]:
    """SIGTERM in the `number`-th round of all searches from now on; returns a list that grows with every round."""
    made: list[SearchTrainer] = []
    one_round = SearchTrainer.training_step

    def step_with_a_signal(self: SearchTrainer, *batches: Batch) -> list[HistoryRow]:
        made.append(self)
        if len(made) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_round(self, *batches)

    patch.setattr(SearchTrainer, "training_step", step_with_a_signal)
    return made
