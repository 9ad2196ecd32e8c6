"""xnas retrain: train the network of a found or published architecture from scratch, and test it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.args import NewRun, fields_of, parse, settings_of, start_from, without_download
from xnas.config.diff import differences
from xnas.config.schema import LAST_BITS, RETRAIN_SECTIONS, Config
from xnas.io.text import printable
from xnas.runs.finished_files import changed_file
from xnas.runs.folder import read_run_config

if TYPE_CHECKING:
    from xnas.runs.location import RunLocation
    from xnas.space.architecture import Architecture
    from xnas.train.context import RunRequest


@dataclass(frozen=True, kw_only=True)
class RetrainArguments(NewRun):
    """The architecture to train, and the settings."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder of a search: its architecture, its settings, and the place for the result."""
    genotype: str | None = None
    """Instead of RUN: a published architecture's name or a genotype file, trained in a run folder of its own."""


def request(argv: Sequence[str]) -> "RunRequest":
    """Return the run that is asked for."""
    arguments = _parse(argv, start_from(argv))
    if (arguments.run is None) == (arguments.genotype is None):
        raise ValueError("retrain: give either the folder of a search, or --genotype with a name or a file")
    if arguments.run is not None:
        run, searched = arguments.run, without_download(read_run_config(arguments.run))
        arguments = _parse(argv, searched)
        _refuse_what_run_decides(arguments, searched)
        return _retrain_run(run, settings_of(arguments), overwrite=arguments.overwrite)
    from xnas.cli.args import location_from_args
    from xnas.space.architecture import read_genotype

    source = str(arguments.genotype)
    if changed := changed_file(Path(source)):
        print(f"warning: {printable(' '.join(changed.split()))}", file=sys.stderr)
    return retrain_request(
        read_genotype(source),
        network=Path(source).stem,
        config=settings_of(arguments),
        location=location_from_args(arguments),
    )


def retrain_request(
    genotype: "Architecture", *, network: str, config: Config, location: "RunLocation"
) -> "RunRequest":
    """Return the request to train the network of an architecture, called `network`, in a run folder of its own."""
    from xnas.runs.folder import Job
    from xnas.train.context import RunRequest

    asked = RunRequest(
        job=Job(command="retrain", network=network),
        config=config,
        location=location,
        fixed=(*RETRAIN_SECTIONS, *LAST_BITS),
        genotype=genotype,
    )
    earlier = asked.existing()
    if earlier is not None and earlier.genotype() != genotype:
        raise ValueError(
            f"{earlier.path} was started with another architecture; choose another --name, or start over with "
            "--overwrite"
        )
    return asked


def _retrain_run(run: Path, config: Config, *, overwrite: bool) -> "RunRequest":
    """Retrain what a search has found, in its own folder."""
    from xnas.runs.folder import RETRAIN, RunFolder
    from xnas.runs.location import RunLocation
    from xnas.train.context import RunRequest

    folder = RunFolder(run)
    genotype = folder.genotype()
    # Before its first step, the settings of retraining are still open.
    started = folder.has_begun(RETRAIN) and not overwrite
    fixed = (*RETRAIN_SECTIONS, *LAST_BITS) if started else ()
    folder.check_same(config, sections=fixed)
    return RunRequest(
        job=folder.job(),
        config=config,
        location=RunLocation.of(run),
        fixed=fixed,
        genotype=genotype,
        retrain_again=overwrite,
    )


def _parse(argv: Sequence[str], start: Config) -> RetrainArguments:
    description = (
        "Train the network of an architecture from scratch on the whole training set, and test it once. The same "
        "command again resumes it after an interruption."
    )
    return parse(RetrainArguments, argv, command="retrain", description=description, start=fields_of(start))


def _refuse_what_run_decides(arguments: RetrainArguments, searched: Config) -> None:
    """Raise ValueError for settings that contradict the search in the folder."""
    for name in ("preset", "config", "name"):
        if getattr(arguments, name) is not None:
            raise ValueError(
                f"retrain: --{name} does not go with the folder of a search, which has its own settings"
            )
    if changed := differences(searched, settings_of(arguments), sections=("seed", "data", "space", "search")):
        raise ValueError(
            f"retrain: what {arguments.run} was searched with stays as it is, but {'; '.join(changed)}; to train under "
            f"other settings: xnas retrain --genotype {arguments.run}/genotype.json"
        )
