"""xnas run: search, retrain, test and report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xnas.cli.arguments import NewRun, fields_of, parse, settings_of, start_from
from xnas.config.schema import LAST_BITS, RETRAIN_SECTIONS, SEARCH_SECTIONS

if TYPE_CHECKING:
    from xnas.cli.session import RunRequest


@dataclass(frozen=True, kw_only=True)
class Arguments(NewRun):
    """The whole job."""

    controls: int = 0
    """Random architectures to retrain with the same settings, for comparison; the published XNAS cell joins them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.controls < 0:
            raise ValueError(f"controls must not be negative; got {self.controls}")


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    description = (
        "Search an architecture, train its network from scratch, test it once, and write the report. The same command "
        "with the same --name goes on with it after an interruption."
    )
    arguments = parse(Arguments, argv, verb="run", description=description, start=fields_of(start_from(argv)))
    # Imported once the arguments are known to be right: help and mistakes do not wait for torch.
    from xnas.cli.session import RunRequest, location_from_args
    from xnas.runs.folder import Job

    return carry_out(
        RunRequest(
            job=Job(verb="run", controls=arguments.controls),
            config=settings_of(arguments),
            place=location_from_args(arguments),
            fixed=(*SEARCH_SECTIONS, *RETRAIN_SECTIONS, *LAST_BITS),
        )
    )


def carry_out(request: "RunRequest") -> int:
    """Begin the whole job or go on with it; returns the exit code. What has ended is not done again."""
    from xnas.cli.session import RunContext
    from xnas.report.results_table import format_table, result_table
    from xnas.runs.folder import GENOTYPE
    from xnas.train.build import control_genotypes
    from xnas.train.retrain import retrain, validate_retrain
    from xnas.train.search import SearchTrainer, search

    earlier = request.existing()
    session = RunContext.open(request)
    config, data, device, display = request.config, session.data, session.device, session.display
    validate_retrain(config, data)
    searched = earlier is not None and earlier.has(GENOTYPE)
    course = None if searched else SearchTrainer(config, data, device=device)
    with session.open_run() as (folder, interrupt):
        if course is not None:
            search(course, folder=folder, progress=display, interrupt=interrupt)
            course = None  # retraining needs the memory
        places = {"found": (folder, folder.genotype())}
        for name, control in control_genotypes(config, count=request.job.controls).items():
            places[name] = (folder.child("controls", name), control)
        for name, (place, genotype) in places.items():
            if place is not folder:
                display.say(f"control: {name}")
                place.write_genotype(genotype)
            retrain(
                genotype,
                config,
                data,
                name=name,
                device=device,
                folder=place,
                progress=display,
                interrupt=interrupt,
            )
            if place is not folder:
                folder.keep_control(name)
    display.say(format_table(result_table(folder.path)))
    return 0
