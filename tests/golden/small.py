"""The images and settings of the golden runs, without anything random: they must be the same for ever."""

import torch

from xnas import Config, DataSet, ImageSet
from xnas.config.loading import parse_config

SETTINGS = """
device = "cpu"
threads = 1
[data]
padding = 1
[space]
nodes = 2
channels = 4
cells = 3
[search]
epochs = 3
batch_size = 12
feedback = "sample"
reward_bound = 1.0
zeta = 0.2
[retrain]
channels = 4
cells = 3
epochs = 2
batch_size = 12
[checkpoint]
steps = 2
"""


def config() -> Config:
    return parse_config(SETTINGS, where="the golden runs")


def images() -> DataSet:
    def part(count: int) -> ImageSet:
        values = (
            torch.arange(count * 3 * 8 * 8).mul(2654435761).remainder(2**32).div(2**24, rounding_mode="floor")
        )
        return ImageSet(
            images_NCHW=values.to(torch.uint8).reshape(count, 3, 8, 8),
            labels_N=torch.arange(count) % 3,
            classes=("one", "two", "three"),
        )

    return DataSet(name="golden", train=part(60), test=part(18))


def probe() -> torch.Tensor:
    """Normalised images for logits, float64."""
    return torch.linspace(-1, 1, 4 * 3 * 8 * 8, dtype=torch.float64).reshape(4, 3, 8, 8)
