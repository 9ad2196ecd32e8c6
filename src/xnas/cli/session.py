"""What the verbs that train share: data and device before anything is written, and a report whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from xnas.cli.arguments import QUICK, NewRun
from xnas.cli.display import Display, open_display
from xnas.data.images import DataSet
from xnas.data.load import load_data
from xnas.engine.config import Config, DataConfig
from xnas.engine.descent import NonFinite
from xnas.engine.interrupt import Interrupt, Interrupted, interruptible
from xnas.engine.run_folder import RunFolder
from xnas.engine.runtime import busy_cores, environment, pick_device, use_threads
from xnas.report.page import write_report


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a run works with."""

    config: Config
    data: DataSet
    device: torch.device
    display: Display

    @classmethod
    def open(cls, config: Config) -> "Session":
        """Find the device, load the images. Raises ValueError if either is not there."""
        display = open_display()
        device = pick_device(config.device)
        use_threads(config.threads)
        if device.type == "cpu" and (busy := busy_cores()) > 0.5 and config.threads is None:
            # Threads that wait for each other at every operation are slowed down many times by a stranger among them.
            display.say(
                f"other work keeps {busy:.1f} cores busy; --threads 1 may be much faster until it has ended"
            )
        return cls(
            config=config,
            data=open_data(config.data, seed=config.seed, display=display),
            device=device,
            display=display,
        )

    def new_folder(self, arguments: NewRun) -> RunFolder:
        """The run folder that was asked for, describing itself."""
        stem = arguments.preset or (arguments.config.stem if arguments.config else QUICK)
        folder = RunFolder.create(arguments.runs, arguments.name, stem=stem, overwrite=arguments.overwrite)
        folder.describe(self.config, environment(self.device))
        self.display.say(f"run folder: {folder.path}")
        return folder

    @contextmanager
    def recording(self, folder: RunFolder) -> Iterator[Interrupt]:
        """Within it a signal waits for the end of the round; the report of what there is follows in any case."""
        try:
            with interruptible() as interrupt:
                yield interrupt
        except (Interrupted, NonFinite):
            self._report(folder)
            raise
        self._report(folder)

    def _report(self, folder: RunFolder) -> None:
        self.display.say(f"report: {write_report(folder.path)}")


def open_data(config: DataConfig, *, seed: int, display: Display) -> DataSet:
    """The images that the settings name. Raises ValueError if they cannot be had."""
    data = load_data(
        config.source,
        root=config.root,
        image_size=config.image_size,
        test_fraction=config.test_fraction,
        seed=seed,
        download=config.download,
        workers=config.workers,
        max_broken=config.max_broken,
        say=display.say,
    )
    channels, height, width = data.image_shape
    display.say(
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test images of {data.num_classes} "
        f"classes, {height} x {width}, {channels} channel{'s' if channels > 1 else ''}"
    )
    return data
