#!/usr/bin/env python3
"""Draw the learning rates of docs/recipe.md, and print its table of the published cells.

    python scripts/draw_recipe.py [--out FOLDER]

Cells are counted on torch's meta device, which knows shapes and holds no numbers.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xnas.config.loading import read_preset
from xnas.config.schema import RetrainConfig
from xnas.report.figures.style import GROUPS, house_style, save_figure
from xnas.space.cost import count_layer_multiply_adds, count_parameters
from xnas.space.darts.network import build_network
from xnas.space.published import published_genotype, published_names
from xnas.theory.panels import PLAIN, head, note, sheet
from xnas.train.build import network_spec
from xnas.train.schedule import learning_rate, power_cosine

OUT = Path(__file__).parents[1] / "docs" / "pictures"
PICTURE = "learning_rates.png"

POWERS = (1, 2, 10, 100)
PRESETS = ("xnas-small", "darts-recipe")

PAPER: dict[str, tuple[str, str, str]] = {
    "xnas": ("XNAS-Small", "1.81", "3.7"),
    "darts_v1": ("DARTS(1nd)", "2.94", "2.9"),
    "darts_v2": ("DARTS(2nd)", "2.67", "3.4"),
    "nasnet_a": ("NASNet-A", "2.65", "3.3"),
    "amoebanet_a": ("Amoeba-A", "3.34", "3.2"),
    "pdarts": ("PDARTS", "2.50", "3.4"),
    "asap": ("ASAP", "1.68", "6.0"),
    "enas": ("ENAS", "2.89", "4.6"),
    "pnas": ("PNAS", "3.41", "3.2"),
}
"""Table 1 of the paper, by our names of the cells: network, test error (%) and parameters (M)."""


def schedule(name: str) -> list[float]:
    """The learning rate of every epoch of a preset."""
    retrain: RetrainConfig = read_preset(name).retrain
    return [
        learning_rate(
            epoch,
            epochs=retrain.epochs,
            start=retrain.learning_rate,
            end=retrain.learning_rate_min,
            power=retrain.cosine_power,
            cycles=retrain.cycles,
            cycle_decay=retrain.cycle_decay,
        )
        for epoch in range(retrain.epochs)
    ]


def draw() -> Figure:
    """One cycle at several powers, and the whole course of two presets."""
    with house_style():
        figure, (powers, presets) = sheet(1, 2, panel=(3.9, 2.4))
        _draw_powers(powers)
        for name, colour in zip(PRESETS, GROUPS, strict=False):
            rates = schedule(name)
            presets.plot(range(1, len(rates) + 1), rates, color=colour)
        note(presets, "darts-recipe", (330, 0.0142), colour=GROUPS[1])
        note(presets, "xnas-small", (620, 0.0075), colour=GROUPS[0])
        presets.set_xlim(0, 1500)
        presets.set_ylim(0, 0.026)
        presets.set_xticks(range(0, 1501, 300))
        presets.yaxis.set_major_formatter(PLAIN)
        head(presets, "Two presets, epoch by epoch", x="epoch", y="learning rate")
        return figure


def _draw_powers(axes: Axes) -> None:
    steps = range(201)
    for place, (p, colour) in enumerate(zip(POWERS, GROUPS, strict=False)):
        rates = [power_cosine(t, horizon=200, power=p) for t in steps]
        axes.plot([t / 200 for t in steps], rates, color=colour)
        words = "p = 1, the cosine" if p == 1 else f"p = {p}"
        note(axes, words, (0.66, 0.93 - 0.1 * place), colour=colour)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_major_formatter(PLAIN)
    head(axes, "Power-cosine annealing, one cycle", x="share of the cycle", y="(η - η_min) / (η_max - η_min)")


def cells_table() -> str:
    """Every published cell as a network of XNAS-Small's shape, beside the paper's table 1."""
    plan = network_spec(read_preset("xnas-small").retrain, image_channels=3, num_classes=10)
    rows = [
        "| cell | parameters | multiply-adds (M) | table 1 calls it | parameters there (M) | test error there (%) |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for name in published_names():
        with torch.device("meta"):
            network = build_network(published_genotype(name), plan)
        millions = count_layer_multiply_adds(network, (3, 32, 32)) / 1e6
        called, error, parameters = PAPER.get(name, ("", "", ""))
        rows.append(
            f"| `{name}` | {count_parameters(network):,} | {millions:.1f} | {called} | {parameters} | {error} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Write the picture, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT)
    out: Path = parser.parse_args().out
    save_figure(draw(), out / PICTURE)
    print(cells_table())


if __name__ == "__main__":
    main()
