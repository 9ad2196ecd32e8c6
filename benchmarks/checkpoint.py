"""What saving costs: a checkpoint against a round, and its share of the time at the default interval."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.figure import Figure
from benchmarks.options import Options
from benchmarks.timing import in_turn, time_ratio
from xnas import Config, RunFolder, SearchTrainer, load_data, read_preset
from xnas.config.schema import SEARCH_SECTIONS
from xnas.train.checkpointing import CheckpointManager, ResumeKey


class Saved:
    """A search that can make a round, and save."""

    def __init__(self, config: Config, folder: RunFolder) -> None:
        data = load_data(config.data.source)
        self.trainer = SearchTrainer(config, data, device=torch.device("cpu"))
        self.stream = self.trainer.remaining_batches()
        key = ResumeKey(config=config, sections=SEARCH_SECTIONS, fingerprints={})
        self.keeper = CheckpointManager(self.trainer, key=key, folder=folder)
        self.keeper.begin()

    def training_step(self) -> None:
        """One round."""
        self.trainer.training_step(*next(self.stream))

    def save(self) -> None:
        """One checkpoint."""
        self.keeper.after_step(due=False, ending=True)

    def num_bytes(self) -> int:
        """Size of the newest checkpoint."""
        assert self.keeper.last is not None
        return sum(file.stat().st_size for file in self.keeper.last.iterdir())


def measure(options: Options) -> list[Figure]:
    """Time and size of a checkpoint of the quick search, and of the default supernet's on the same images."""
    quick = read_preset("quick")
    if options.small:
        small = replace(quick.space, channels=4, cells=3, nodes=2)
        configs = {"smallest search": replace(quick, space=small, search=replace(quick.search, batch_size=4))}
    else:
        default = replace(quick, space=Config().space, search=replace(quick.search, batch_size=16))
        configs = {"quick preset": quick, "default space, batch 16": default}
    figures = []
    for name, config in configs.items():
        with tempfile.TemporaryDirectory() as place:
            saved = Saved(config, RunFolder(Path(place)))
            timings = in_turn({"step": saved.training_step, "save": saved.save}, n=options.repeats(10))
            save = timings["save"]
            shares = tuple(100 * value / (60 * config.checkpoint.minutes) for value in save.wall)
            figures += [
                time_ratio(f"saving, {name}", "checkpoint / step", save, timings["step"], better="less"),
                Figure(name=f"one a minute, {name}", values=shares, unit="% of the time", better="less"),
                Figure(
                    name=f"checkpoint, {name}", values=(saved.num_bytes() / 1e6,), unit="MB", better="less"
                ),
            ]
    return figures
