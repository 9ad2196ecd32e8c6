"""xnas show: look at an architecture."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from xnas.cli.args import parse
from xnas.config.limits import MOST_PIXELS
from xnas.config.schema import RetrainConfig
from xnas.io.text import printable
from xnas.runs.finished_files import changed_file, check_files
from xnas.runs.folder import (
    GENOTYPE,
    GENOTYPE_SO_FAR,
    genotype_file,
    lacking,
    read_architecture,
    read_run_config,
)
from xnas.space.architecture import Architecture, architecture_text, read_genotype
from xnas.space.genotype import CellGenotype
from xnas.space.nasbench201.genotype import Nasbench201Genotype
from xnas.space.published import published_names, published_source

MOST_CLASSES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ShowArguments:
    """The architecture to show."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder of a run: its architecture and its results. All its finished files are compared with manifest.json."""
    genotype: str | None = None
    """Instead of RUN: a published architecture's name, or a file or text: JSON, or the form of DARTS or
    NAS-Bench-201."""
    json: bool = False
    """Print the genotype as JSON, and nothing else."""
    picture: Path | None = None
    """Draw the cells into this file, .svg or .png."""
    cost: bool = False
    """Count parameters and multiply-adds of the network that [retrain] describes, for these images:"""
    image_shape: tuple[int, int, int] = (3, 32, 32)
    """Channels, height and width of an image."""
    classes: int = 10
    retrain: RetrainConfig = field(default_factory=RetrainConfig)

    def __post_init__(self) -> None:
        if min(self.image_shape) < 1 or self.classes < 2:
            raise ValueError(
                f"cost needs a positive image_shape and at least 2 classes; got {self.image_shape} and {self.classes}"
            )
        if max(self.image_shape) > MOST_PIXELS or self.classes > MOST_CLASSES:
            raise ValueError(
                f"cost takes an image_shape of at most {MOST_PIXELS:,} a side and {MOST_CLASSES:,} classes; "
                f"got {self.image_shape} and {self.classes}"
            )


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    arguments = _parse(argv)
    if arguments.run is not None and arguments.genotype is None:
        for line in check_files(arguments.run):
            print(f"warning: {printable(' '.join(line.split()))}", file=sys.stderr)
    if arguments.run is not None:
        arguments = _parse(argv, {"run": arguments.run, "retrain": read_run_config(arguments.run).retrain})
    if arguments.run is not None and arguments.genotype is not None:
        raise ValueError("show: give either the folder of a run or --genotype, not both")
    if arguments.run is None and arguments.genotype is None:
        raise ValueError(
            f"show: give the folder of a run, or --genotype with a file or one of {', '.join(published_names())}"
        )
    if arguments.genotype is not None and (changed := changed_file(Path(arguments.genotype))):
        print(f"warning: {printable(' '.join(changed.split()))}", file=sys.stderr)
    file = genotype_file(arguments.run) if arguments.run else None
    genotype = _genotype_of(arguments.run) if arguments.run else read_genotype(str(arguments.genotype))
    if arguments.json:
        sys.stdout.write(genotype.to_json())
        return 0
    if file is not None and file.name == GENOTYPE_SO_FAR:
        print(f"the search has not ended; what it would choose now ({file}):")
    if arguments.genotype in published_names():
        print(published_source(arguments.genotype))
    print(_lines(genotype))
    print(architecture_text(genotype))
    if arguments.cost:
        print(_cost(genotype, arguments))
    if arguments.picture:
        from xnas.report.figures.architecture import draw_genotype

        draw_genotype(genotype, arguments.picture)
        print(f"picture: {arguments.picture}")
    if arguments.run:
        from xnas.report.results_table import format_table, result_table

        if rows := result_table(arguments.run):
            print(printable(format_table(rows), lines=True))
    return 0


def _parse(argv: Sequence[str], start: dict[str, object] | None = None) -> ShowArguments:
    return parse(ShowArguments, argv, command="show", description="Look at an architecture.", start=start)


def _genotype_of(run: Path) -> Architecture:
    genotype = read_architecture(run)
    if genotype is None:
        raise lacking(run, GENOTYPE, what=GENOTYPE, remedy="; its search has not ended")
    return genotype


def _lines(architecture: Architecture) -> str:
    if not isinstance(architecture, Nasbench201Genotype):
        cells = {"normal cell": architecture.normal, "reduction cell": architecture.reduction}
        return "\n".join(_cell_lines(title, cell) for title, cell in cells.items())
    lines = ["cell, output of node 3"]
    for node in range(1, 4):
        edges = [(op, source) for (source, to), op in architecture.by_edge.items() if to == node]
        lines.append(f"  node {node}:  " + "   ".join(f"{op:<12} of {source}" for op, source in edges))
    return "\n".join(lines)


def _cell_lines(title: str, cell: CellGenotype) -> str:
    lines = [f"{title}, output of nodes {', '.join(map(str, cell.concat))}"]
    for node in cell.nodes:
        inputs = "   ".join(f"{edge.operation:<12} of {edge.source}" for edge in cell.inputs_of(node))
        lines.append(f"  node {node}:  {inputs}")
    return "\n".join(lines)


def _cost(genotype: Architecture, arguments: ShowArguments) -> str:
    import torch

    from xnas.space.cost import count_multiply_adds, count_parameters
    from xnas.space.darts.network import build_network
    from xnas.train.build import network_spec, stem_for

    kind = "nasbench201" if isinstance(genotype, Nasbench201Genotype) else "darts"
    stem = stem_for(arguments.retrain.stem, arguments.image_shape, kind=kind)
    plan = network_spec(
        dataclasses.replace(arguments.retrain, stem=stem),
        image_channels=arguments.image_shape[0],
        num_classes=arguments.classes,
    )
    with torch.device("meta"):  # counted, not run: it takes no memory however large it is
        network = build_network(genotype, plan)
    multiply_adds = count_multiply_adds(network, arguments.image_shape)
    shape = " x ".join(map(str, arguments.image_shape))
    return (
        f"{plan.cells} cells, {plan.channels} channels, {plan.num_classes} classes, images of {shape}: "
        f"{count_parameters(network):,} parameters, {multiply_adds / 1e6:,.1f} M multiply-adds "
        "in convolutions and the classifier"
    )
