"""How long a search waits for its images: drawing the two batches of a round against the round itself."""

from dataclasses import replace

import torch

from benchmarks.figure import Figure
from benchmarks.options import Options
from benchmarks.timing import in_turn
from xnas import Config, DataSet, ImageSet, Search, load_data, read_preset
from xnas.data.batches import Batch

MOST = 3
"""Per cent of a round that the images may take."""


class Rounds:
    """A search whose batches are drawn and used one after the other."""

    def __init__(self, config: Config, data: DataSet) -> None:
        self.course = Search(config, data, device=torch.device("cpu"))
        self.stream = self.course.batches_left()
        self.drawn: tuple[Batch, ...] = ()

    def draw(self) -> None:
        """The batches of the next round."""
        self.drawn = next(self.stream)

    def round(self) -> None:
        """A round with what was drawn."""
        self.course.round(*self.drawn)


CIFAR10 = 50_000
"""Its training images."""


def coloured_images(count: int) -> DataSet:
    """So many training images of CIFAR-10's size, of noise: drawing them costs the same."""
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> ImageSet:
        pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        labels = torch.arange(count) % 10
        return ImageSet(images_NCHW=pixels, labels_N=labels, classes=tuple(map(str, range(10))))

    return DataSet(name="noise", train=images(count), test=images(10))


def measure(options: Options) -> list[Figure]:
    """The share of the time that drawing takes, of the quick search and of the default supernet."""
    quick = read_preset("quick")
    default = replace(quick, space=Config().space, search=replace(quick.search, batch_size=32))
    if options.small:
        quick = default = replace(quick, space=replace(quick.space, channels=4, cells=3, nodes=2))
    searches = {
        "quick preset, shipped images": (quick, load_data(quick.data.source, say=lambda line: None)),
        "default supernet, batch 32, images as CIFAR-10's": (
            default,
            coloured_images(1000 if options.small else CIFAR10),
        ),
    }
    figures = []
    for name, (config, data) in searches.items():
        rounds = Rounds(config, data)
        timings = in_turn({"draw": rounds.draw, "round": rounds.round}, n=options.repeats(10))
        share = timings["draw"].over(timings["draw"] + timings["round"])
        wall, processor = (tuple(100 * value for value in values) for values in (share.wall, share.cpu))
        figures.append(
            Figure(
                name=f"time that images take, {name}", values=wall, processor=processor, unit="% of the search",
                better="less", target=MOST,
            )
        )  # fmt: skip
    return figures
