"""xnas evaluate: test the trained network of a run again."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from xnas.cli.arguments import parse, without_download
from xnas.engine.config import DataConfig, read_run_config


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to test, and on what."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run with a trained network, also one of RUN/controls."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto: the fastest that is there."""
    data: DataConfig = field(default_factory=DataConfig)


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    description = (
        "Test the trained network of a run, on the run's own test images or on others of the same classes."
    )
    arguments = parse(Arguments, argv, verb="evaluate", description=description)
    config = without_download(read_run_config(arguments.run))
    start = {"run": arguments.run, "device": config.device, "data": config.data}
    arguments = parse(Arguments, argv, verb="evaluate", description=description, start=start)
    from xnas.cli.display import open_display
    from xnas.cli.session import open_data
    from xnas.engine.evaluate import TrainedNetwork
    from xnas.engine.run_folder import RunFolder
    from xnas.engine.runtime import pick_device

    display = open_display()
    device = pick_device(arguments.device)
    trained = TrainedNetwork.read(RunFolder(arguments.run), device=device)
    images = open_data(arguments.data, seed=config.seed, display=display).test
    whole = dataclasses.replace(config, device=arguments.device, data=arguments.data)
    result = trained.test(images, device=device, config=whole)
    display.say(
        f"test accuracy {result.accuracy:.2%}, loss {result.loss:.4f}, on {result.samples:,} images ({device})"
    )
    return 0
