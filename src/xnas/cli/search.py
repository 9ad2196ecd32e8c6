"""xnas search: search an architecture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xnas.cli.arguments import NewRun, fields_of, parse, settings_of, start_from
from xnas.config.schema import LAST_BITS, SEARCH_SECTIONS

if TYPE_CHECKING:
    from xnas.cli.session import RunRequest


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    description = (
        "Search an architecture; the same command with the same --name goes on with it after an interruption, and "
        "`xnas retrain RUN` trains what it found."
    )
    arguments = parse(NewRun, argv, verb="search", description=description, start=fields_of(start_from(argv)))
    from xnas.cli.session import RunRequest, location_from_args
    from xnas.runs.folder import Job

    return carry_out(
        RunRequest(
            job=Job(verb="search"),
            config=settings_of(arguments),
            place=location_from_args(arguments),
            fixed=(*SEARCH_SECTIONS, *LAST_BITS),
        )
    )


def carry_out(request: "RunRequest") -> int:
    """Begin a search or go on with it; returns the exit code."""
    from xnas.cli.session import RunContext
    from xnas.report.page import PAGE
    from xnas.runs.folder import GENOTYPE
    from xnas.space.architecture import architecture_text
    from xnas.train.search import SearchTrainer, search

    earlier = request.existing()
    if earlier is not None and earlier.has(GENOTYPE) and earlier.has(PAGE):
        print(f"the search in {earlier.path} has ended; it is not done again without --overwrite")
        genotype, folder = earlier.genotype(), earlier
    else:
        session = RunContext.open(request)
        course = SearchTrainer(session.request.config, session.data, device=session.device)
        with session.open_run() as (folder, interrupt):
            genotype = search(course, folder=folder, progress=session.display, interrupt=interrupt)
    print(architecture_text(genotype))
    if request.whole is None:
        print(f"train its network with: xnas retrain {folder.path}")
    return 0
