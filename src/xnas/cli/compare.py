"""xnas compare: search with several optimizers and seeds, retrain all alike, and set the results side by side."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xnas.cli.arguments import NewRun, fields_of, parse, settings_of, start_from
from xnas.engine.bounds import MOST_SEED, between
from xnas.engine.config import CONFIG, LAST_BITS, RETRAIN_SECTIONS, SEARCH_SECTIONS, Config
from xnas.space.lookup import lookup
from xnas.space.vocabulary import OPTIMIZERS

if TYPE_CHECKING:
    from xnas.cli.session import Request

FIXED = (*SEARCH_SECTIONS, *RETRAIN_SECTIONS, *LAST_BITS)


@dataclass(frozen=True, kw_only=True)
class Arguments(NewRun):
    """What to compare: every optimizer with every seed."""

    optimizers: tuple[str, ...] = ("xnas", "darts", "gaea", "random")
    """What learns the architecture weights."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the searches and retrainings; results are means over all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.optimizers:
            lookup("optimizer", name, OPTIMIZERS)
        for seed in self.seeds:
            between("seeds", seed, 0, MOST_SEED)
        for what, values in (("optimizers", self.optimizers), ("seeds", self.seeds)):
            if not values:
                raise ValueError(f"{what} must name at least one; got none")
            if len(set(values)) < len(values):
                raise ValueError(f"{what} must differ; got {' '.join(map(str, values))}")
        if self.search.optimizer != "xnas" or self.seed != 0:
            raise ValueError(
                "a comparison takes --optimizers and --seeds; leave out --search.optimizer and --seed"
            )


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    description = (
        "Search with each of several optimizers and seeds, in the same supernet on the same batches, retrain what they "
        "found with the same settings, and set the results side by side. The same command with the same --name goes "
        "on with what is missing."
    )
    arguments = parse(
        Arguments, argv, verb="compare", description=description, start=fields_of(start_from(argv))
    )
    from xnas.cli.session import Request
    from xnas.engine.place import Place
    from xnas.engine.run_folder import COMPARE, Job

    return carry_out(
        Request(
            job=Job(verb=COMPARE, optimizers=arguments.optimizers, seeds=arguments.seeds),
            config=settings_of(arguments),
            place=Place.named(
                arguments.name, runs=arguments.runs, stem="compare", overwrite=arguments.overwrite
            ),
            fixed=FIXED,
        )
    )


def carry_out(request: "Request") -> int:
    """Begin a comparison or go on with it; returns the exit code: 2 if a run of it has failed."""
    from xnas.cli import run
    from xnas.cli.display import open_display
    from xnas.engine.lock import locked
    from xnas.engine.run_folder import RESULT, RunFolder
    from xnas.engine.runtime import environment, pick_device
    from xnas.engine.stops import NonFinite, OutOfMemory
    from xnas.report.comparison import format_comparison, read_comparison
    from xnas.report.comparison_page import write_comparison

    request.earlier()
    path = request.place.claim()
    failures: dict[str, str] = {}
    with locked(path):
        folder = RunFolder(path)
        if folder.has(CONFIG):
            request.check(folder)
        folder.write_job(request.job)
        if not folder.has(CONFIG):
            folder.describe(request.config, environment(pick_device(request.config.device)))
        display = open_display()
        display.say(f"comparison: {path}")
        members = list(_members(request, path))
        for number, (optimizer, member) in enumerate(members, start=1):
            display.say(f"{number} of {len(members)}: {optimizer}, seed {member.config.seed}")
            earlier = member.earlier()
            if earlier is not None and earlier.has(RESULT):
                continue
            try:
                run.carry_out(member)
            except (NonFinite, OutOfMemory) as stop:
                failures[str(member.place.name)] = str(stop)
                display.say(f"{optimizer}, seed {member.config.seed} failed: {stop}")
            write_comparison(path, failures=failures)
        page = write_comparison(path, failures=failures)
        display.say(format_comparison(read_comparison(path, failures=failures)))
        display.say(f"report: {page}")
    return 2 if failures else 0


def _members(request: "Request", path: Path) -> Iterator[tuple[str, "Request"]]:
    """The runs of a comparison: seed by seed, so that a comparison that is broken off has all optimizers."""
    from xnas.cli.session import Request
    from xnas.engine.place import Place
    from xnas.engine.run_folder import Job
    from xnas.report.comparison import folder_name

    for seed in request.job.seeds:
        for optimizer in request.job.optimizers:
            yield (
                optimizer,
                Request(
                    job=Job(verb="run"),
                    config=member_config(request.config, optimizer=optimizer, seed=seed),
                    place=Place.named(folder_name(optimizer, seed), runs=path, stem="", overwrite=False),
                    fixed=request.fixed,
                    whole=path,
                ),
            )


def member_config(config: Config, *, optimizer: str, seed: int) -> Config:
    """The settings of one run of a comparison. The control that draws at random has no step size."""
    step_size = None if optimizer == "random" else config.search.step_size
    search = dataclasses.replace(config.search, optimizer=optimizer, step_size=step_size)
    return dataclasses.replace(config, seed=seed, search=search)
