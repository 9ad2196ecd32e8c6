"""xnas retrain: train the network of a found or published architecture from scratch, and test it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from xnas.cli.arguments import NewRun, fields_of, parse, settings_of, start_from, without_download
from xnas.engine.config import Config, read_run_config


@dataclass(frozen=True, kw_only=True)
class Arguments(NewRun):
    """What to train, and how."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder of a search: its architecture, its settings, and the place for the result."""
    genotype: str | None = None
    """Instead of RUN: a published architecture's name or a genotype file, trained in a run folder of its own."""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    arguments = _parse(argv, start_from(argv))
    if (arguments.run is None) == (arguments.genotype is None):
        raise ValueError("retrain: give either the folder of a search, or --genotype with a name or a file")
    if arguments.run is not None:
        searched = without_download(read_run_config(arguments.run))
        arguments = _parse(argv, searched)
        _refuse_what_run_decides(arguments, searched)
    from xnas.cli.session import Session
    from xnas.engine.retrain import check_fit, retrain
    from xnas.engine.run_folder import RESULT, RunFolder
    from xnas.engine.runtime import environment
    from xnas.report.table import format_table, result_table
    from xnas.space.genotype_text import read_genotype

    folder = RunFolder(arguments.run) if arguments.run else None
    genotype = folder.genotype() if folder else read_genotype(str(arguments.genotype))
    if folder and folder.has(RESULT) and not arguments.overwrite:
        raise ValueError(
            f"{folder.path} has been retrained already; --overwrite replaces its network and result"
        )
    session = Session.open(settings_of(arguments))
    check_fit(session.config, session.data)
    if folder:
        folder.drop_training()
        folder.describe(session.config, environment(session.device))
    else:
        folder = session.new_folder(arguments)
        folder.write_genotype(genotype)
    with session.recording(folder) as interrupt:
        retrain(
            genotype,
            session.config,
            session.data,
            name="found" if arguments.run else Path(str(arguments.genotype)).stem,
            device=session.device,
            folder=folder,
            progress=session.display,
            interrupt=interrupt,
        )
    session.display.say(format_table(result_table(folder.path)))
    return 0


def _parse(argv: Sequence[str], start: Config) -> Arguments:
    description = (
        "Train the network of an architecture from scratch on the whole training set, and test it once."
    )
    return parse(Arguments, argv, verb="retrain", description=description, start=fields_of(start))


def _refuse_what_run_decides(arguments: Arguments, searched: Config) -> None:
    """The folder must go on describing the search that is in it."""
    for name in ("preset", "config", "name"):
        if getattr(arguments, name) is not None:
            raise ValueError(
                f"retrain: --{name} does not go with the folder of a search, which has its own settings"
            )
    asked = without_download(settings_of(arguments))
    for section in ("seed", "data", "space", "search"):
        if getattr(asked, section) != getattr(searched, section):
            raise ValueError(
                f"retrain: the [{section}] of {arguments.run} belongs to its search and stays as it is; to train "
                f"under other settings: xnas retrain --genotype {arguments.run}/genotype.json"
            )
