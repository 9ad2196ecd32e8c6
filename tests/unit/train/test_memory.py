"""The line about peak memory: once for each kind of steps, before the epoch's line, and true."""

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from xnas import Config, DataSet, ImageSet, RunFolder, SearchTrainer, published_genotype
from xnas.io.errors import Interrupted
from xnas.runs.callbacks import NullCallback
from xnas.runs.signals import StopRequest
from xnas.train import memory as memory_notice
from xnas.train.memory import MemoryNotice, peak_memory
from xnas.train.retrain import fit_retrain
from xnas.train.search import fit_search

from ...helpers.log_lines import LogLines

CPU = torch.device("cpu")
GIB = 2**30


class Listener(NullCallback, LogLines):
    """Keeps the lines about memory, and the epochs between; asks for the end after some steps, as a signal would."""

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.stop_request, self.left = StopRequest(), after

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("peak memory"):
            self.lines.append(record.getMessage())

    def step_done(self, **values: Any) -> None:
        del values
        self.left -= 1
        if self.left == 0:
            self.stop_request.number = 2

    def epoch_done(self, row: Any) -> None:
        self.lines.append(f"epoch {row.epoch}")


def notice(monkeypatch: pytest.MonkeyPatch, peaks: list[float]) -> MemoryNotice:
    """One that sees these peaks, in GiB, one whenever it looks."""
    left = [int(peak * GIB) for peak in peaks]
    monkeypatch.setattr(memory_notice, "peak_memory", lambda device: left.pop(0))
    return MemoryNotice(CPU, remedies="less")


def test_after_five_steps_the_peak_and_what_they_took_are_logged(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = notice(monkeypatch, [0.5, 2.25])
    for number in range(1, 12):
        watching.after_step("steps", epoch_ends=number == 8)
        assert len(said) == (number >= 5)
    assert said == ["peak memory 2.25 GiB after 5 steps (+1.75 GiB); less would lower it"]


@pytest.mark.parametrize(
    ("before", "peaks", "lines"),
    [
        (0.5, [0.5], ["peak memory 0.50 GiB after 1 step; less would lower it"]),
        (0.0, [0.0], []),
        (
            0.5,
            [1.0, 1.5],
            [
                "peak memory 1.00 GiB after 1 warm-up step (+0.50 GiB); less would lower it",
                "peak memory 1.50 GiB after 2 steps (+1.00 GiB); less would lower it",
            ],
        ),
        (
            0.5,
            [1.0, 1.04],
            ["peak memory 1.00 GiB after 1 warm-up step (+0.50 GiB); less would lower it"],
        ),
    ],
    ids=["what earlier work has left is enough", "unknown", "rewards take more", "rewards take no more"],
)
def test_epochs_that_are_shorter_end_with_it_and_rewards_are_told_of_where_they_take_more(
    said: list[str], before: float, peaks: list[float], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = notice(monkeypatch, [before, *peaks])
    if len(peaks) > 1:
        watching.after_step("warm-up steps", epoch_ends=True)
        watching.after_step("steps", epoch_ends=False)
    for _ in range(4):
        watching.after_step("steps", epoch_ends=True)
    assert said == lines


def test_a_search_logs_it_once_before_its_first_epoch_ends_and_again_after_resuming(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny, search=dataclasses.replace(tiny.search, epochs=3))
    folder = RunFolder.at(tmp_path / "mine")
    first, second = Listener(after=3), Listener()
    with pytest.raises(Interrupted), first:
        fit_search(
            SearchTrainer(config, data, device=CPU),
            folder=folder,
            callback=first,
            stop_request=first.stop_request,
        )
    with second:
        fit_search(SearchTrainer(config, data, device=CPU), folder=RunFolder(folder.path), callback=second)
    assert [" ".join(line.split()[:2]) for line in first.lines] == ["peak memory", "epoch 1"]
    assert [" ".join(line.split()[:2]) for line in second.lines] == ["peak memory", "epoch 2", "epoch 3"]


@pytest.mark.parametrize(
    ("side", "said"), [(96, "less"), (104, r"smaller images \(--data.image-size\), less")]
)
def test_smaller_images_are_a_remedy_where_they_are_large(
    side: int, said: str, tiny: Config, tmp_path: Path
) -> None:
    images = ImageSet(
        images_NCHW=torch.randint(256, (24, 3, 8, side), dtype=torch.uint8),
        labels_N=torch.arange(24) % 2,
        classes=("a", "b"),
    )
    listener = Listener()
    trainer = SearchTrainer(tiny, DataSet(name="wide", train=images, test=images), device=CPU)
    with listener:
        fit_search(trainer, folder=RunFolder.at(tmp_path / "mine"), callback=listener)
    said = said.replace("less", "a smaller --search.batch-size or fewer --space.channels")
    assert re.search(f"; --activation-checkpointing, {said} would lower it$", listener.lines[0]), (
        listener.lines[0]
    )


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_the_numbers_are_of_this_process_and_the_remedies_are_open(
    activation_checkpointing: bool, tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny, activation_checkpointing=activation_checkpointing)
    listener = Listener()
    with listener:
        fit_retrain(
            published_genotype("darts_v1"), config, data, name="mine", device=CPU,
            folder=RunFolder.at(tmp_path / "mine"), callback=listener,
        )  # fmt: skip
    line = listener.lines[0]
    found = re.fullmatch(
        r"peak memory (\d+\.\d\d) GiB after 5 steps(?: \(\+(\d+\.\d\d) GiB\))?; "
        r"(--activation-checkpointing, )?"
        r"a "
        r"smaller --retrain.batch-size or fewer --retrain.channels would lower it",
        line,
    )
    assert found is not None, line
    peak, taken = float(found[1]), float(found[2] or 0)
    assert 0.1 < peak <= peak_memory(CPU) / GIB + 0.01
    assert taken < peak
    assert (found[3] is None) == activation_checkpointing
