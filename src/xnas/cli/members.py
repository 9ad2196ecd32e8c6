"""The runs of a comparison or a bench: every method with every seed."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.arguments import NewRun, OnCluster
from xnas.config.limits import MOST_RUNS, MOST_SEED, check_range
from xnas.config.schema import Config
from xnas.io.text import choose
from xnas.optimizers.registry import METHODS

if TYPE_CHECKING:
    from xnas.study.scheduler import Task
    from xnas.train.context import RunRequest

Methods = Annotated[tuple[str, ...], tyro.conf.arg(metavar="{" + ",".join(METHODS) + "} ...")]


@dataclass(frozen=True, kw_only=True)
class ManyRuns(OnCluster, NewRun):
    """Settings, and the methods and seeds that they are run with."""

    methods: Methods = ("xnas", "darts", "gaea", "random")
    """What learns the architecture weights, each at its own rate."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the runs; results are means over all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pool()  # which checks it
        for name in self.methods:
            choose("method", name, METHODS)
        for seed in self.seeds:
            check_range("seeds", seed, 0, MOST_SEED)
        for what, values in (("methods", self.methods), ("seeds", self.seeds)):
            if not values:
                raise ValueError(f"{what} must name at least one; got none")
            if len(set(values)) < len(values):
                raise ValueError(f"{what} must differ; got {' '.join(map(str, values))}")
        if len(self.methods) * len(self.seeds) > MOST_RUNS:
            raise ValueError(
                f"methods and seeds may ask for at most {MOST_RUNS:,} runs; got {len(self.methods)} methods "
                f"with {len(self.seeds):,} seeds"
            )
        own_rate = self.search.step_size is not None and len(self.methods) > 1
        if self.search.method != "xnas" or self.seed != 0 or own_rate:
            raise ValueError(
                "methods are those of --methods, each at its own rate and weight decay unless it is the only "
                "one, and seeds those of --seeds; leave out --search.method, --search.step-size and --seed"
            )


def member_tasks(request: "RunRequest", *, verb: str) -> "list[Task]":
    """The runs: seed by seed, so that what is broken off has all methods."""
    from xnas.study.comparison.plan import folder_name
    from xnas.study.scheduler import Task

    return [
        Task(
            name=folder_name(method, seed),
            title=f"{method}, seed {seed}",
            kind=verb,
            config=member_config(request.config, method=method, seed=seed),
        )
        for seed in request.job.seeds
        for method in request.job.methods
    ]


def member_config(config: Config, *, method: str, seed: int) -> Config:
    """The settings of one of the runs."""
    search = dataclasses.replace(config.search, method=method)
    return dataclasses.replace(config, seed=seed, search=search)
