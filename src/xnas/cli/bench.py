"""xnas bench: search in a space whose every architecture others have trained, and look up what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.arguments import fields_of, parse, settings_of, start_from
from xnas.cli.members import ManyRuns, Methods, member_tasks
from xnas.config.limits import check_text
from xnas.config.schema import LAST_BITS, SEARCH_SECTIONS, Config
from xnas.io.paths import absolute
from xnas.io.text import choose
from xnas.study.nasbench201.table import SOURCES, Nasbench201Table, must_be_trusted
from xnas.study.ray_options import RayOptions
from xnas.study.runner import Study, run_study, searching

if TYPE_CHECKING:
    from xnas.train.context import RunRequest

NASBENCH201 = "nasbench201"
BENCHMARKS = (NASBENCH201,)


@dataclass(frozen=True, kw_only=True)
class Arguments(ManyRuns):
    """What to search with: every method with every seed, each once."""

    benchmark: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="{" + ",".join(BENCHMARKS) + "}")]
    """The benchmark, whose preset has the settings that are not given."""
    table: Path | None = None
    """What others measured of every architecture: nats_bench.csv, or NATS-tss-v1_0-3ffb9-simple. It must be given."""
    methods: Methods = ("xnas", "darts", "gaea", "gdas", "random")
    """What learns the architecture weights, each at its own rate."""
    preset: str | None = None
    """Settings to start from, `nasbench201` if there is no --config either; --config and single flags override them."""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    description = (
        "Search in the space of a benchmark with each of several methods and seeds, and look up in the benchmark's "
        "table what the cells reach, after every epoch and at the end: nothing is retrained. The same command with the "
        "same --name goes on with what is missing."
    )
    start = start_from(argv, preset=NASBENCH201)
    arguments = parse(Arguments, argv, verb="bench", description=description, start=fields_of(start))
    choose("benchmark", arguments.benchmark, BENCHMARKS)
    if arguments.table is None:
        raise ValueError(
            f"bench: give --table, the accuracies of all cells of NAS-Bench-201, which others trained: {SOURCES}"
        )
    config = settings_of(arguments)
    _check_space(config)
    place = absolute(arguments.table)
    check_text("--table", str(place))
    table = Nasbench201Table.read(arguments.table)  # before anything heavy is imported, or computed
    from xnas.runs.folder import BENCH, Job
    from xnas.runs.location import RunLocation
    from xnas.train.context import RunRequest
    from xnas.train.distributed import process_group

    return carry_out(
        RunRequest(
            job=Job(verb=BENCH, methods=arguments.methods, seeds=arguments.seeds, table=str(place)),
            config=config,
            place=RunLocation.named(
                arguments.name,
                runs=arguments.runs,
                stem="bench",
                overwrite=arguments.overwrite,
                restarts=process_group().restarts,
            ),
            fixed=(*SEARCH_SECTIONS, *LAST_BITS),
        ),
        table,
        pool=arguments.pool(),
    )


def resume(request: "RunRequest", *, pool: RayOptions | None = None) -> int:
    """Go on with a bench, by the table that it was begun with. Raises ValueError if that cannot or must not be read."""
    runs, name, path = request.place.runs, request.place.name, Path(request.job.table)
    again = f"give the command that began it again: xnas bench {NASBENCH201} --table FILE --runs {runs} --name {name}"
    if not request.job.table or must_be_trusted(path):
        # The folder may be a stranger's, and so the path; only the person who calls can trust such files.
        raise ValueError(f"the table of {runs / str(name)} must be given again: {again}")
    try:
        table = Nasbench201Table.read(path)
    except ValueError as error:
        raise ValueError(f"{error}; if it has moved, {again}") from None
    _check_space(request.config)
    return carry_out(request, table, pool=pool)


def carry_out(request: "RunRequest", table: Nasbench201Table, *, pool: RayOptions | None = None) -> int:
    """Begin a bench or go on with it; returns the exit code: 2 if a search's numbers broke down, 3 if memory did."""
    from xnas.study.nasbench201.page import write_bench
    from xnas.study.nasbench201.score import read_bench
    from xnas.study.nasbench201.summary import format_bench
    from xnas.train.search import validate_search

    whole = Study(
        noun="bench",
        tasks=member_tasks(request, verb="search"),
        kinds={"search": searching()},
        check=validate_search,
        write=lambda path, failures: write_bench(path, table, failures=failures),
        summary=lambda path, failures: format_bench(read_bench(path, table, failures=failures)),
    )
    return run_study(request, whole, pool=pool)


def _check_space(config: Config) -> None:
    """Raises ValueError for a space that the table knows nothing of."""
    if config.space.kind != NASBENCH201:
        raise ValueError(
            f"bench {NASBENCH201} searches where space.kind is {NASBENCH201}; got {config.space.kind}; take "
            f"--preset {NASBENCH201}, or --space.kind {NASBENCH201} --space.nodes 3 and experts of it"
        )
    if set(config.space.experts) <= {"none"}:
        raise ValueError(
            f"space.experts must hold an operation beside none; got {' '.join(config.space.experts) or 'nothing'}"
        )
