"""xnas search: search an architecture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xnas.cli.args import NewRun, fields_of, parse, settings_of, start_from
from xnas.config.schema import LAST_BITS, SEARCH_SECTIONS

if TYPE_CHECKING:
    from xnas.train.context import RunRequest


def request(argv: Sequence[str]) -> "RunRequest":
    """Return the run that is asked for."""
    description = (
        "Search an architecture; the same command with the same --name resumes it after an interruption, and "
        "`xnas retrain RUN` trains what it found."
    )
    arguments = parse(
        NewRun, argv, command="search", description=description, start=fields_of(start_from(argv))
    )
    from xnas.cli.args import location_from_args
    from xnas.runs.folder import Job
    from xnas.train.context import RunRequest

    return RunRequest(
        job=Job(command="search"),
        config=settings_of(arguments),
        location=location_from_args(arguments),
        fixed=(*SEARCH_SECTIONS, *LAST_BITS),
    )
