"""xnas compare, bench, experiment and sweep: four questions, each a specification of a study."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from xnas.cli.args import NewRun, OnCluster, fields_of, parse, settings_of, start_from
from xnas.config.loading import read_preset, settings_from
from xnas.config.schema import Config
from xnas.io.paths import absolute
from xnas.io.text import choose
from xnas.io.toml import parse_toml, read_settings_text
from xnas.optimizers.registry import METHODS
from xnas.study.nasbench201.table import SOURCES
from xnas.study.ray import RayOptions
from xnas.study.spec import NASBENCH201, SearchImages, StudySpec, briefly, spec_from

BENCHMARKS = (NASBENCH201,)
Methods = Annotated[tuple[str, ...], tyro.conf.arg(metavar="{" + ",".join(METHODS) + "} ...")]
FILE_WORDS: Mapping[str, str] = {
    "train_seeds": "retrain_seeds",
    "random_controls": "random_cells",
    "published_controls": "published_cells",
}
"""Fields of a specification, and their names in the files of experiments and sweeps."""


@dataclass(frozen=True, kw_only=True)
class CompareArguments(OnCluster, NewRun):
    """Settings, and the methods and seeds that they are searched with."""

    methods: Methods = ("xnas", "darts", "gaea", "random")
    """What learns the architecture weights, each at its own rate."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the runs; results are means over all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ray_options()  # which checks them
        if not self.methods:
            raise ValueError("methods must name at least one; got none")
        self.spec()
        own_rate = self.search.step_size is not None and len(self.methods) > 1
        if self.search.method != "xnas" or self.seed != 0 or own_rate:
            raise ValueError(
                "methods are those of --methods, each at its own rate and weight decay unless it is the only "
                "one, and seeds those of --seeds; leave out --search.method, --search.step-size and --seed"
            )

    def spec(self) -> StudySpec:
        """Return the specification. Raises ValueError, in the words of the flags."""
        with _in_words({"search_seeds": "seeds"}):
            return StudySpec(methods=self.methods, search_seeds=self.seeds)


@dataclass(frozen=True, kw_only=True)
class BenchArguments(CompareArguments):
    """Settings, the table, and the methods and seeds that are searched with."""

    benchmark: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="{" + ",".join(BENCHMARKS) + "}")]
    """The benchmark, whose preset has the settings that are not given."""
    table: Path | None = None
    """What others measured of every architecture: nats_bench.csv, or NATS-tss-v1_0-3ffb9-simple. It must be given."""
    methods: Methods = ("xnas", "darts", "gaea", "gdas", "random")
    """What learns the architecture weights, each at its own rate."""
    preset: str | None = None
    """Settings to start from, `nasbench201` if there is no --config either; --config and single flags override them."""


@dataclass(frozen=True, kw_only=True)
class FileArguments(OnCluster):
    """The file of a study, and where it is run."""

    file: Annotated[Path, tyro.conf.Positional]
    """What is done: its seeds, cells and settings."""
    runs: Path = Path("runs")
    """Folder of the run folders."""
    name: str | None = None
    """Name of its folder; by default that of the file."""
    overwrite: bool = False
    """Replace a folder of that name."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps, or auto, instead of the file's."""
    threads: int | None = None
    """CPU threads of a task, instead of the file's; by default one for each core, on a cluster for each of --cpus."""
    root: Path | None = None
    """Where the files of a named data set are, instead of the file's."""

    def over(self, config: Config) -> Config:
        """Return the file's settings, but for what is given instead."""
        return dataclasses.replace(
            config,
            device=config.device if self.device is None else self.device,
            threads=config.threads if self.threads is None else self.threads,
            data=dataclasses.replace(config.data, root=config.data.root if self.root is None else self.root),
        )


def compare(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    description = (
        "Search with each of several methods and seeds, in the same supernet on the same batches, retrain what they "
        "found with the same settings, and set the results side by side. The same command with the same --name resumes "
        "it."
    )
    start = fields_of(start_from(argv))
    arguments = parse(CompareArguments, argv, command="compare", description=description, start=start)
    return _run(arguments, arguments.spec(), settings_of(arguments), stem="compare")


def bench(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    description = (
        "Search in the space of a benchmark with each of several methods and seeds, and look up in the benchmark's "
        "table what the cells reach, after every epoch and at the end: nothing is retrained. The same command with the "
        "same --name resumes it."
    )
    start = fields_of(start_from(argv, preset=NASBENCH201))
    arguments = parse(BenchArguments, argv, command="bench", description=description, start=start)
    choose("benchmark", arguments.benchmark, BENCHMARKS)
    if arguments.table is None:
        raise ValueError(
            f"bench: give --table, the accuracies of all cells of NAS-Bench-201, which others trained: {SOURCES}"
        )
    spec = dataclasses.replace(
        arguments.spec(), score="nasbench201", train_seeds=(), table=str(absolute(arguments.table))
    )
    return _run(arguments, spec, settings_of(arguments), stem="bench")


def experiment(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    description = """Search with several seeds, choose a cell by training images that were held out, train it on
the whole training set with several seeds, test each network once, and report mean, spread, worst and n. The same
command, or xnas resume, resumes it.

FILE is TOML: `preset`, a name, and the sections of config.toml to override it; and the section [experiment] with
search_seeds and retrain_seeds (lists); select = "best" (the cell that is the most accurate on held-out training images
is trained) or "all" (every cell is trained, none is chosen); held_out (their share); random_cells (how many are trained
as controls); published_cells (names). [experiment.selection] has the settings of [retrain] in which the training that
judges a cell differs, and [experiment.search_images] those of [data] (crop, padding, flip, policy, cutout) in which the
searches do. Examples: experiment.toml and paper_experiment.toml in the folder examples."""
    base = StudySpec(train_seeds=(0, 1, 2), select="best")
    return _run_file(argv, "experiment", description, base=base)


def sweep(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    description = """Search every variant of a grid with several seeds, train what each search finds from scratch with
several seeds, and report mean, spread, worst and n of each variant. Without --address one after another; with it on a
Ray cluster, many at once. The same command, or xnas resume, resumes it: a search or training that was lost resumes from
its own checkpoint, and one that has ended is not done again.

FILE is TOML: `preset`, a name, and the sections of config.toml to override it; and the section [sweep] with
search_seeds, retrain_seeds and methods (lists). [sweep.data.NAME] is a variant of [data], [sweep.space.NAME] one of
[space], and [sweep.settings.NAME] one of any settings, such as search.learning_rate = 0.1: the settings in which it
differs. Every variant goes with every one of the others. Example: sweep.toml in the folder examples."""
    return _run_file(argv, "sweep", description, base=StudySpec(train_seeds=(0,)))


def _run_file(argv: Sequence[str], command: str, description: str, *, base: StudySpec) -> int:
    arguments = parse(FileArguments, argv, command=command, description=description)
    arguments.ray_options()  # which checks them
    config, spec = read_study_file(arguments.file, section=command, base=base)
    return _run(arguments, spec, arguments.over(config), stem="", name=arguments.file.stem)


def _run(
    arguments: CompareArguments | FileArguments, spec: StudySpec, config: Config, *, stem: str, name: str = ""
) -> int:
    from xnas.runs.location import RunLocation, slugify
    from xnas.study.runner import join_tasks, run_study
    from xnas.train.distributed import process_group

    if not process_group().is_main:
        return join_tasks()
    cluster: RayOptions | None = arguments.ray_options()
    location = RunLocation.named(
        arguments.name or slugify(name) or None,
        runs=arguments.runs,
        stem=stem,
        overwrite=arguments.overwrite,
        restarts=process_group().restarts,
    )
    return run_study(spec, config, location, cluster=cluster).exit_code


def read_study_file(path: Path, *, section: str, base: StudySpec) -> tuple[Config, StudySpec]:
    """Return the settings of runs, and the specification in a `section`, of a TOML file.

    Raises ValueError, in one line that names the file, for anything that it must not hold.
    """
    given = parse_toml(read_settings_text(path), where=str(path))
    if section not in given:
        raise ValueError(f"{path} has no section [{section}]; give it one, such as search_seeds = [0, 1, 2]")
    table, preset = given.pop(section), given.pop("preset", None)
    if not isinstance(table, dict):
        raise ValueError(f"{path}: {section!r} is a section; write [{section}] and its settings below it")
    try:
        start = Config() if preset is None else read_preset(str(preset))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    config = settings_from(given, where=str(path), base=start)
    if config.data.split_seed is None:  # or every seed would be tested on images of its own
        data = dataclasses.replace(config.data, split_seed=config.seed)
        config = dataclasses.replace(config, data=data)
    # What the selection leaves out is as in [retrain], which the file says, too.
    if "selection" in table:
        base = dataclasses.replace(base, selection=briefly(config.retrain))
    if "search_images" in table:
        base = dataclasses.replace(base, search_images=SearchImages.of(config.data))
    names: dict[str, str] = {word: name for name, word in FILE_WORDS.items()}
    with _in_words(FILE_WORDS):
        where = f"{path}: [{section}]"
        spec = spec_from(
            {names.get(str(key), str(key)): value for key, value in table.items()}, where=where, base=base
        )
        try:
            spec.check(config)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return config, spec


@contextmanager
def _in_words(words: Mapping[str, str]) -> Iterator[None]:
    """Let errors name fields of a specification as flags or files do."""
    try:
        yield
    except ValueError as error:
        said = str(error)
        for name, word in words.items():
            said = said.replace(name, word)
        raise ValueError(said) from None
