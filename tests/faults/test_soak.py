"""A long search keeps neither memory nor files: what it holds after many rounds is what it held after a few."""

import gc
import os
from pathlib import Path

import pytest

from xnas import DataSet, RunFolder, SearchTrainer
from xnas.runs.callbacks import NullCallback
from xnas.train.search import fit_search

from ..helpers.smallest_run import CPU, Record, smallest

MOST_GROWTH = 5e6
"""Bytes."""


class Gauge(NullCallback):
    """Reads memory and open files after `warm` rounds and every so many rounds from there."""

    def __init__(self, warm: int, every: int) -> None:
        self.warm, self.every, self.round = warm, every, 0
        self.resident: list[int] = []
        self.files: list[int] = []

    def step_done(self, **values: object) -> None:
        del values
        self.round += 1
        if self.round >= self.warm and (self.round - self.warm) % self.every == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.resident.append(pages * os.sysconf("SC_PAGE_SIZE"))
            self.files.append(len(os.listdir("/proc/self/fd")))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells what a process holds")
def test_memory_and_open_files_do_not_grow_over_many_rounds(
    data: DataSet, tmp_path: Path, long_faults: bool, record_property: Record
) -> None:
    rounds = 10_000 if long_faults else 250
    config = smallest(f"[search]\nepochs = {rounds // 2}\nwipeout = false\n[checkpoint]\nsteps = 10")
    gauge = Gauge(warm=100, every=rounds // 50)
    fit_search(SearchTrainer(config, data, device=CPU), folder=RunFolder.at(tmp_path / "run"), callback=gauge)
    assert gauge.round == rounds
    growth = max(gauge.resident) - gauge.resident[0]
    record_property(
        "figures", f"{rounds:,} rounds, {growth / 1e6:.2f} MB more, {max(gauge.files)} open files at most"
    )
    assert growth < MOST_GROWTH
    assert len(set(gauge.files)) == 1
