#!/usr/bin/env python3
"""Draw the sheet of augmented images of docs/data.md: a row for every piece, on images that ship with xnas.

    python scripts/draw_augmentation.py [--data DATA] [--root ROOT] [--out FILE]

Images come from the same stream as in training, with one piece switched on and the others off.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xnas.data.images import DataSet, Normalisation
from xnas.data.loader import Augmentation, batches
from xnas.data.sets.registry import SHIPPED, load_data
from xnas.report.figures.style import INK, house_style, save_figure

OUT = Path(__file__).parents[1] / "docs" / "pictures" / "augmentation.png"
NOTHING = Augmentation(padding=0, flip=False)
ROWS = {
    "as it is": NOTHING,
    "crop, padded by 4": Augmentation(padding=4, flip=False),
    "crop, resized": Augmentation(crop="resized", flip=False),
    "flip": Augmentation(padding=0),
    "policy cifar10": Augmentation(padding=0, flip=False, policy="cifar10"),
    "policy svhn": Augmentation(padding=0, flip=False, policy="svhn"),
    "policy imagenet": Augmentation(padding=0, flip=False, policy="imagenet"),
    "cutout of 16": Augmentation(padding=0, flip=False, cutout=16),
    "padded crop, flip,\ncifar10, cutout": Augmentation(policy="cifar10", cutout=16),
}
COLUMNS = 12
GAP = 3
"""Pixels between images."""


def row_of(data: DataSet, augmentation: Augmentation) -> NDArray[np.uint8]:
    """The first images of the set side by side, as training sees them in its first epoch: HWC."""
    normalisation = Normalisation.of(data.train)
    stream = batches(
        data.train,
        batch_size=COLUMNS,
        normalisation=normalisation,
        device=torch.device("cpu"),
        epoch=1,
        augmentation=augmentation,
    )
    images_BCHW = next(iter(stream)).images_BCHW
    std_C11, mean_C11 = normalisation.std_C[:, None, None], normalisation.mean_C[:, None, None]
    pixels_BCHW = (images_BCHW * std_C11 + mean_C11).clamp(0, 1).mul(255).round().to(torch.uint8)
    channels, height, width = data.image_shape
    row = np.full((height, COLUMNS * (width + GAP) - GAP, channels), 255, dtype=np.uint8)
    for b, pixels_CHW in enumerate(pixels_BCHW):
        row[:, b * (width + GAP) : b * (width + GAP) + width] = pixels_CHW.permute(1, 2, 0).numpy()
    return row


def draw(data: DataSet) -> Figure:
    """All rows, each with its name to the left."""
    rows = [row_of(data, augmentation) for augmentation in ROWS.values()]
    height, width = rows[0].shape[:2]
    across, label, margin, between = 6.4, 1.35, 0.12, 0.06
    down = across * height / width
    total = (across + label + 2 * margin, len(rows) * (down + between) + 2 * margin - between)
    with house_style():
        figure = Figure(figsize=total)
        for number, (name, row) in enumerate(zip(ROWS, rows, strict=True)):
            bottom = total[1] - margin - down - number * (down + between)
            place = (
                (margin + label) / total[0],
                bottom / total[1],
                across / total[0],
                down / total[1],
            )
            axes = figure.add_axes(place)
            axes.imshow(row[..., 0] if row.shape[2] == 1 else row, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
            figure.text(
                margin / total[0],
                (bottom + down / 2) / total[1],
                name,
                fontsize=8,
                color=INK,
                va="center",
                linespacing=1.25,
            )
        return figure


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=SHIPPED)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    save_figure(draw(load_data(arguments.data, root=arguments.root)), arguments.out)


if __name__ == "__main__":
    main()
