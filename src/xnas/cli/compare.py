"""xnas compare: search with several methods and seeds, retrain all alike, and set the results side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xnas.cli.arguments import fields_of, parse, settings_of, start_from
from xnas.cli.members import ManyRuns, member_tasks
from xnas.config.schema import LAST_BITS, RETRAIN_SECTIONS, SEARCH_SECTIONS
from xnas.study.ray_options import RayOptions
from xnas.study.runner import Study, TaskType, run_study

if TYPE_CHECKING:
    from xnas.config.schema import Config
    from xnas.data.images import DataSet
    from xnas.train.context import RunRequest

FIXED = (*SEARCH_SECTIONS, *RETRAIN_SECTIONS, *LAST_BITS)


@dataclass(frozen=True, kw_only=True)
class Arguments(ManyRuns):
    """What to compare: every method with every seed."""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    description = (
        "Search with each of several methods and seeds, in the same supernet on the same batches, retrain what they "
        "found with the same settings, and set the results side by side. The same command with the same --name goes "
        "on with what is missing."
    )
    arguments = parse(
        Arguments, argv, verb="compare", description=description, start=fields_of(start_from(argv))
    )
    from xnas.runs.folder import COMPARE, Job
    from xnas.runs.location import RunLocation
    from xnas.train.context import RunRequest
    from xnas.train.distributed import process_group

    return carry_out(
        RunRequest(
            job=Job(verb=COMPARE, methods=arguments.methods, seeds=arguments.seeds),
            config=settings_of(arguments),
            place=RunLocation.named(
                arguments.name,
                runs=arguments.runs,
                stem="compare",
                overwrite=arguments.overwrite,
                restarts=process_group().restarts,
            ),
            fixed=FIXED,
        ),
        pool=arguments.pool(),
    )


def carry_out(request: "RunRequest", *, pool: RayOptions | None = None) -> int:
    """Begin a comparison or go on with it; returns the exit code: 2 if a run's numbers broke down, 3 if memory did."""
    from xnas.runs.folder import RESULT
    from xnas.study.comparison.page import write_comparison
    from xnas.study.comparison.results import format_comparison, read_comparison
    from xnas.train.retrain import validate_retrain
    from xnas.train.search import validate_search

    def check(config: "Config", data: "DataSet") -> None:
        validate_search(config, data)
        validate_retrain(config, data)

    whole = Study(
        noun="comparison",
        tasks=member_tasks(request, verb="run"),
        kinds={"run": TaskType(verb="run", files=(RESULT,))},
        check=check,
        write=lambda path, failures: write_comparison(path, failures=failures),
        summary=lambda path, failures: format_comparison(read_comparison(path, failures=failures)),
    )
    return run_study(request, whole, pool=pool)
