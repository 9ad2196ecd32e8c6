"""The smallest whole job that has everything: two groups, wipeouts, and checkpoints after every round."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from xnas import Config, DataSet, RunFolder, SearchTrainer
from xnas.config.loading import parse_config
from xnas.io.errors import Interrupted
from xnas.runs.callbacks import NullCallback
from xnas.runs.checkpoint import CheckpointStore, Damaged, read_checkpoint
from xnas.runs.signals import StopRequest
from xnas.train.retrain import fit_retrain
from xnas.train.search import fit_search

from .log_lines import LogLines

Record = Callable[[str, object], None]
"""Of a figure, to be shown at the end."""
CPU = torch.device("cpu")
SMALLEST = """
[data]
padding = 1
[space]
nodes = 1
experts = ["max_pool_3x3", "skip_connect", "sep_conv_3x3"]
channels = 2
cells = 2
reductions = 1
[search]
epochs = 2
batch_size = 12
[retrain]
channels = 2
cells = 2
reductions = 1
epochs = 2
batch_size = 60
[checkpoint]
steps = 1
"""
"""The search makes two rounds an epoch with the images of the tests, the retraining one."""
OTHERS = {
    "feedback of batches": '[search]\nfeedback = "batch"\n',
    "no wipeout": "[search]\nwipeout = false\n",
    "three kept, one in two rounds": "[checkpoint]\nkeep = 3\nsteps = 2\n",
    "minutes alone": "[checkpoint]\nsteps = 1000\n",
}
"""Other settings by name, laid over these."""


REMARKS = ("warning: skip connections lead", "warning: L is far")
"""How the remarks of a search on its health begin: they come in runs that nothing happened to, too."""


def smallest(over: str = "") -> Config:
    return parse_config(over, where="the tests", base=parse_config(SMALLEST, where="the tests"))


def is_warning(line: str) -> bool:
    return line.startswith("warning: ") and not line.startswith(REMARKS)


class Listener(NullCallback, LogLines):
    """Keeps what is said within it."""

    @property
    def warnings(self) -> list[str]:
        """Of what went wrong around the search; not its remarks on its own health."""
        return [line for line in self.said if is_warning(line)]


def run_search(
    config: Config,
    data: DataSet,
    run: Path,
    *,
    stop_request: StopRequest | None = None,
    trainer: SearchTrainer | None = None,
) -> Listener:
    """As a process of its own would: everything is built anew, unless there is a `course` that has not begun."""
    listener = Listener()
    with listener:
        fit_search(
            trainer or SearchTrainer(config, data, device=CPU),
            folder=RunFolder.at(run),
            callback=listener,
            stop_request=stop_request,
        )
    return listener


def run_job(config: Config, data: DataSet, run: Path) -> Listener:
    """Search, then retrain."""
    torch.rand(3)  # a process of its own would have its generator somewhere else
    listener = run_search(config, data, run)
    folder = RunFolder.at(run)
    with listener:
        fit_retrain(
            folder.genotype(), config, data, name="found", device=CPU, folder=folder, callback=listener
        )
    return listener


def interrupted(config: Config, data: DataSet, run: Path, *, after: int) -> None:
    """A search that a signal ended after so many rounds."""
    stop_request = StopRequest()

    class Stopper(Listener):
        left = after

        def step_done(self, **values: object) -> None:
            del values
            self.left -= 1
            if self.left == 0:
                stop_request.number = 2

    with pytest.raises(Interrupted):
        fit_search(
            SearchTrainer(config, data, device=CPU),
            folder=RunFolder.at(run),
            callback=Stopper(),
            stop_request=stop_request,
        )


def newest_good(run: Path, phase: str) -> int:
    """Rounds of the newest checkpoint that is as it was written; -1 if there is none."""
    for path in CheckpointStore(run / "checkpoints", phase).found():
        try:
            read_checkpoint(path)
        except Damaged:
            continue
        return int(path.name.rpartition("-")[2])
    return -1


def left_over(run: Path) -> list[str]:
    """Names of what only a process that is at work may have there."""
    marks = (".part", ".discarded")
    return [
        str(path.relative_to(run))
        for path in run.rglob("*")
        if path.name.startswith((".staging-", ".discarded-")) or path.name.endswith(marks)
    ]
