"""How long a search waits for its images: drawing the two batches of a round against the round itself.

Drawing is all that images need before the network sees them: reading or picking them, crops and flips, normalisation,
the way to the device. What other processes read meanwhile is not counted in processor time.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.figure import Figure
from benchmarks.options import Options
from benchmarks.timing import in_turn
from xnas import Config, DataSet, ImageSet, SearchTrainer, load_data, read_preset
from xnas.data.files.readers import available_cores
from xnas.data.loader import Batch

MOST = 3
"""Per cent of a round that the images may take."""
CIFAR10 = 50_000
"""Its training images."""
PHOTOGRAPHS, PHOTOGRAPH = 640, (320, 240)
"""How many are written, and the width and height of each."""
SIDE = 64
"""Pixels that photographs are brought to."""


class Rounds:
    """A search whose batches are drawn and used one after the other."""

    def __init__(self, config: Config, data: DataSet) -> None:
        # Rounds of a warm-up reward nobody, and would be too short.
        config = replace(config, search=replace(config.search, warmup_epochs=0))
        self.trainer = SearchTrainer(config, data, device=torch.device("cpu"))
        self.stream = self.trainer.remaining_batches()
        self.drawn: tuple[Batch, ...] = ()

    def draw(self) -> None:
        """The batches of the next round."""
        self.drawn = next(self.stream)

    def training_step(self) -> None:
        """A round with what was drawn."""
        self.trainer.training_step(*self.drawn)


def coloured_images(count: int) -> DataSet:
    """So many training images of CIFAR-10's size, of noise: drawing them costs the same."""
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> ImageSet:
        pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        labels = torch.arange(count) % 10
        return ImageSet(images_NCHW=pixels, labels_N=labels, classes=tuple(map(str, range(10))))

    return DataSet(name="noise", train=images(count), test=images(10))


def write_photographs(folder: Path, count: int) -> None:
    """So many JPEG files in two classes, smooth with a little noise, as photographs are."""
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (15, 20, 3), dtype=np.uint8)
        smooth = np.asarray(
            Image.fromarray(coarse).resize(PHOTOGRAPH, Image.Resampling.BICUBIC), dtype=np.int16
        )
        pixels = np.clip(smooth + generator.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
        home = folder / ("even", "odd")[number % 2]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(home / f"{number:04}.jpg", quality=90)


def measure(options: Options) -> list[Figure]:
    """The share of the time that drawing takes: of the quick search, of the default supernet, of a folder of files."""
    quick = read_preset("quick")
    default = replace(quick, space=Config().space, search=replace(quick.search, batch_size=32))
    if options.small:
        small = replace(quick.space, channels=4, cells=3, nodes=2)
        quick = default = replace(quick, space=small, search=replace(quick.search, batch_size=8))
    strided = replace(default, space=replace(default.space, stem="strided"))
    figures = [
        share(
            "quick preset, shipped images",
            quick,
            load_data(quick.data.source),
            options,
        ),
        share(
            "default supernet, batch 32, images as CIFAR-10's",
            default,
            coloured_images(1000 if options.small else CIFAR10),
            options,
        ),
    ]
    with tempfile.TemporaryDirectory() as place:
        write_photographs(Path(place), 60 if options.small else PHOTOGRAPHS)
        for workers in (0, available_cores()):
            readers = f"{workers} processes" if workers else "the training process"
            data = load_data(place, image_size=SIDE, workers=workers)
            name = f"default supernet, batch 32, photographs read by {readers}"
            figures.append(share(name, strided, data, options, target=MOST if workers else None))
    return figures


def share(
    name: str, config: Config, data: DataSet, options: Options, *, target: float | None = MOST
) -> Figure:
    """The share of the time of a search that drawing its batches takes."""
    rounds = Rounds(config, data)
    timings = in_turn({"draw": rounds.draw, "step": rounds.training_step}, n=options.repeats(10), warm_up=2)
    part = timings["draw"].over(timings["draw"] + timings["step"])
    wall, processor = (tuple(100 * value for value in values) for values in (part.wall, part.cpu))
    return Figure(
        name=f"time that images take, {name}", values=wall, processor=processor, unit="% of the search",
        better="less", target=target,
    )  # fmt: skip
