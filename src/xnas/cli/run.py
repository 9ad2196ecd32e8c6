"""xnas run: search, retrain, test and report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xnas.cli.args import NewRun, fields_of, parse, settings_of, start_from
from xnas.config.schema import LAST_BITS, RETRAIN_SECTIONS, SEARCH_SECTIONS

if TYPE_CHECKING:
    from xnas.train.context import RunRequest


@dataclass(frozen=True, kw_only=True)
class RunArguments(NewRun):
    """The whole job."""

    controls: int = 0
    """Random architectures to retrain with the same settings, for comparison; the published XNAS cell joins them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.controls < 0:
            raise ValueError(f"controls must not be negative; got {self.controls}")


def request(argv: Sequence[str]) -> "RunRequest":
    """Return the run that is asked for."""
    description = (
        "Search an architecture, train its network from scratch, test it once, and write the report. The same command "
        "with the same --name resumes it after an interruption."
    )
    arguments = parse(
        RunArguments, argv, command="run", description=description, start=fields_of(start_from(argv))
    )
    # Imported once the arguments are known to be right: help and mistakes do not wait for torch.
    from xnas.cli.args import location_from_args
    from xnas.runs.folder import Job
    from xnas.train.context import RunRequest

    return RunRequest(
        job=Job(command="run", controls=arguments.controls),
        config=settings_of(arguments),
        location=location_from_args(arguments),
        fixed=(*SEARCH_SECTIONS, *RETRAIN_SECTIONS, *LAST_BITS),
    )
