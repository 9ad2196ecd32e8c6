"""xnas compare: search with several optimizers and seeds, retrain all alike, and set the results side by side."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.arguments import NewRun, fields_of, parse, settings_of, start_from
from xnas.engine.bounds import MOST_SEED, between
from xnas.engine.config import CONFIG, LAST_BITS, RETRAIN_SECTIONS, SEARCH_SECTIONS, Config
from xnas.report.record import MOST_RUNS
from xnas.space.lookup import lookup
from xnas.space.vocabulary import OPTIMIZERS

if TYPE_CHECKING:
    from xnas.cli.session import Request

FIXED = (*SEARCH_SECTIONS, *RETRAIN_SECTIONS, *LAST_BITS)


@dataclass(frozen=True, kw_only=True)
class Arguments(NewRun):
    """What to compare: every optimizer with every seed."""

    optimizers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="{" + ",".join(OPTIMIZERS) + "} ...")] = (
        "xnas",
        "darts",
        "gaea",
        "random",
    )
    """What learns the architecture weights, each at its own rate."""
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
        if len(self.optimizers) * len(self.seeds) > MOST_RUNS:
            raise ValueError(
                f"a comparison has at most {MOST_RUNS:,} runs; got {len(self.optimizers)} optimizers with "
                f"{len(self.seeds):,} seeds"
            )
        if self.search.optimizer != "xnas" or self.search.step_size is not None or self.seed != 0:
            raise ValueError(
                "a comparison takes its optimizers from --optimizers, each at its own rate and weight decay, and its "
                "seeds from --seeds; leave out --search.optimizer, --search.step-size and --seed"
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
    """Begin a comparison or go on with it; returns the exit code: 2 if a run's numbers broke down, 3 if memory did."""
    from xnas.cli import exit_code, run
    from xnas.cli.display import open_display
    from xnas.engine.lock import locked
    from xnas.engine.run_folder import RESULT, RunFolder
    from xnas.engine.runtime import environment, pick_device
    from xnas.engine.stops import NonFinite, OutOfMemory
    from xnas.report.comparison import format_comparison, read_comparison
    from xnas.report.comparison_page import write_comparison

    if request.earlier() is None:
        _check(request)
    path = request.place.claim()
    failures: dict[str, str] = {}
    code = 0
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
                code = max(code, exit_code(stop))
                display.say(f"{optimizer}, seed {member.config.seed} failed: {stop}")
            write_comparison(path, failures=failures)
        page = write_comparison(path, failures=failures)
        display.say(format_comparison(read_comparison(path, failures=failures)))
        display.say(f"report: {page}")
    return code


def _check(request: "Request") -> None:
    """Raises ValueError for a device, images or sizes that no run could begin with, before anything is written."""
    from rich.console import Console

    from xnas.cli.display import Display
    from xnas.cli.session import open_data
    from xnas.engine.retrain import check_fit
    from xnas.engine.runtime import pick_device
    from xnas.engine.search import Halves

    config = request.config
    pick_device(config.device)
    quiet = Display(Console(quiet=True))  # every run says it again
    data = open_data(config.data, seed=config.seed, display=quiet)
    check_fit(config, data)
    Halves.of(config, data.train)


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
    """The settings of one run of a comparison."""
    search = dataclasses.replace(config.search, optimizer=optimizer)
    return dataclasses.replace(config, seed=seed, search=search)
