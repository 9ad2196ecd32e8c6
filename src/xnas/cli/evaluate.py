"""xnas evaluate: test the trained network of a run again."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.args import parse, without_download
from xnas.config.loading import parse_config
from xnas.config.schema import Config, DataConfig
from xnas.runs.folder import read_run_config
from xnas.train.launch import launched

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from xnas.data.images import Images
    from xnas.train.trained_network import TrainedNetwork


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """The network to test, and the images."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run with a trained network, also one of RUN/controls."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto: the fastest that is there."""
    data: DataConfig = field(default_factory=DataConfig)


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    description = (
        "Test the trained network of a run, on the run's own test images or on others of the same classes."
    )
    arguments = parse(EvaluateArguments, argv, command="evaluate", description=description)
    run = arguments.run
    config = _config_of(run) if launched() is None else _config_from_main(run)
    start = {"run": arguments.run, "device": config.device, "data": config.data}
    arguments = parse(EvaluateArguments, argv, command="evaluate", description=description, start=start)
    from xnas.runs.folder import RunFolder
    from xnas.train.context import check_images, open_data_on_all_ranks
    from xnas.train.device import pick_device
    from xnas.train.distributed import process_group
    from xnas.train.trained_network import TrainedNetwork

    device = pick_device(arguments.device)
    trained = TrainedNetwork.read(RunFolder(arguments.run), device=device)
    data = _as_in_training(arguments.data, own=config.data, trained=trained)
    remedy = "say where it is now with --data FOLDER"
    process_group().from_main(lambda: check_images(data, of=run, remedy=remedy))
    whole = dataclasses.replace(config, device=arguments.device, data=data)
    process_group().check(config.distributed, device)
    images = open_data_on_all_ranks(whole).test
    if warning := _other_size(images, trained):
        log.warning(warning)
    result = trained.test(images, device=device, config=whole)
    log.info(
        f"test accuracy {result.accuracy:.2%}, loss {result.loss:.4f}, on {result.samples:,} images ({device})"
    )
    return 0


def _config_of(run: Path) -> Config:
    return without_download(read_run_config(run))


def _config_from_main(run: Path) -> Config:
    from xnas.train.distributed import process_group

    text = process_group().from_main(lambda: _config_of(run).to_toml())
    return parse_config(text, where=str(run))


def _as_in_training(data: DataConfig, *, own: DataConfig, trained: "TrainedNetwork") -> DataConfig:
    """Other images than the run's own get the size and the cut of those that it was trained and tested on.

    They are left as they are where a size is given, or the run does not say it or has no squares.
    """
    from xnas.data.files.folder import LEAST_SIZE

    height, width = trained.image_shape[1:] if trained.image_shape else (0, 0)
    if data.source == own.source or data.image_size is not None or not height == width >= LEAST_SIZE:
        return data
    # A test crops nothing at random; all that the setting decides here is whether the borders are cut off.
    return dataclasses.replace(data, image_size=height, crop="resized" if trained.border else "pad")


def _other_size(images: "Images", trained: "TrainedNetwork") -> str:
    """Return a warning if images have another size than those of the training."""
    if trained.image_shape is None or trained.image_shape[1:] == images.image_shape[1:]:
        return ""
    (_, height, width), (_, others_height, others_width) = trained.image_shape, images.image_shape
    remedy = f"; --data.image-size {height} brings them to that size" if height == width else ""
    return (
        f"the network was trained on images of {height} x {width} pixels, and these have {others_height} x "
        f"{others_width}{remedy}"
    )
