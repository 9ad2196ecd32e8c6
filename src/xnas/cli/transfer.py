"""xnas transfer: train the network of a found architecture on other images (section 4.3)."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.args import NewRun, fields_of, parse, settings_of, start_from, without_download
from xnas.cli.retrain import retrain_request
from xnas.config.schema import AUGMENTATION, Config, DataConfig
from xnas.runs.folder import read_run_config

if TYPE_CHECKING:
    from xnas.train.context import RunRequest


@dataclass(frozen=True, kw_only=True)
class TransferArguments(NewRun):
    """The architecture to train, and the images."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a search: its architecture and, without --preset and --config, its settings are taken."""


def request(argv: Sequence[str]) -> "RunRequest":
    """Return the run that is asked for."""
    arguments = _parse(argv, start_from(argv, base=UNSAID))
    if arguments.preset is None and arguments.config is None:
        arguments = _parse(argv, on_other_images(without_download(read_run_config(arguments.run))))
    if not arguments.data.source:
        raise ValueError(
            "transfer: say on which images with --data, a data set or a folder, or with a --preset or --config that "
            "says it"
        )
    from xnas.runs.folder import RunFolder
    from xnas.runs.location import RunLocation, slugify
    from xnas.train.distributed import process_group

    run = arguments.run.resolve()
    source = arguments.preset or Path(arguments.data.source).name
    stem = "-".join(map(slugify, (run.name, "on", source)))
    return retrain_request(
        RunFolder(arguments.run).genotype(),
        network=run.name,
        config=settings_of(arguments),
        location=RunLocation.named(
            arguments.name,
            runs=arguments.runs,
            stem=stem,
            overwrite=arguments.overwrite,
            restarts=process_group().restarts,
        ),
    )


UNSAID = Config(data=DataConfig(source=""))
"""No images are a default here: a preset or a file that names none leaves them open."""


def on_other_images(config: Config) -> Config:
    """Return a run's settings, less what they say of its own images: where these are, how large, and the stem for
    that size.

    How images are varied stays.
    """
    kept = {name: getattr(config.data, name) for name in AUGMENTATION}
    return dataclasses.replace(
        config,
        data=DataConfig(source="", **kept),
        space=dataclasses.replace(config.space, stem="auto"),
        retrain=dataclasses.replace(config.retrain, stem="auto"),
    )


def _parse(argv: Sequence[str], start: Config) -> TransferArguments:
    description = (
        "Train the network of the architecture that a search has found from scratch on other images, and test it once, "
        "in a run folder of its own. The same command with the same --name resumes it after an interruption."
    )
    return parse(TransferArguments, argv, command="transfer", description=description, start=fields_of(start))
