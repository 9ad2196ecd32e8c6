"""Command-line arguments shared by the commands, and their settings: preset, then file, then single flags."""

import argparse
import contextlib
import dataclasses
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tyro

from xnas.config.loading import read_config, read_preset
from xnas.config.schema import Config
from xnas.config.schema import fields_of as fields_of
from xnas.io.paths import expanded
from xnas.study.ray import RayOptions

if TYPE_CHECKING:
    from xnas.runs.location import RunLocation

QUICK = "quick"
ArgumentsT = TypeVar("ArgumentsT")


@dataclass(frozen=True, kw_only=True)
class NewRun(Config):
    """Settings of a run, and the folder that it goes to."""

    preset: str | None = None
    """Settings to start from, `quick` if there is no --config either; --config and single flags override them."""
    config: Path | None = None
    """A TOML file of settings, such as a run folder's config.toml."""
    runs: Path = Path("runs")
    """Folder of the run folders."""
    name: str | None = None
    """Name of this run's folder; by default the name of the preset or file, and the next free number."""
    overwrite: bool = False
    """Replace a run folder of that name."""


@dataclass(frozen=True, kw_only=True)
class OnCluster:
    """A Ray cluster for the tasks of a study, which otherwise run here, one after another."""

    address: str | None = None
    """Do the tasks on a Ray cluster: HOST:PORT of its head, auto (the one that this machine belongs to) or local (the
    cores and GPUs of this machine, several tasks at once). The folder must be on a disk that every node has."""
    cpus: float | None = None
    """CPU cores of a task on the cluster, 1 by default; 0.5 lets two share one."""
    gpus: float | None = None
    """GPUs of a task on the cluster, 0 by default; 0.25 lets four share one."""

    def ray_options(self) -> RayOptions | None:
        """Return the cluster, if one is given. Raises ValueError for what none has."""
        return RayOptions.given(address=self.address, cpus=self.cpus, gpus=self.gpus)


def location_from_args(arguments: NewRun) -> "RunLocation":
    """Return the run folder that the arguments name."""
    from xnas.runs.location import RunLocation
    from xnas.train.distributed import process_group

    stem = arguments.preset or (arguments.config.stem if arguments.config else QUICK)
    return RunLocation.named(
        arguments.name,
        runs=arguments.runs,
        stem=stem,
        overwrite=arguments.overwrite,
        restarts=process_group().restarts,
    )


def settings_of(arguments: Config) -> Config:
    """Return the settings alone, without what says where they came from and where the run goes."""
    return Config(**fields_of(arguments))


def without_download(config: Config) -> Config:
    """Return a run's settings, less its leave to bring files to where they say: that only the person who calls can
    give."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, download=False))


def start_from(argv: Sequence[str], *, preset: str = QUICK, base: Config | None = None) -> Config:
    """Return the settings of the --preset and --config in `argv`, which single flags are then laid over.

    Without either they are those of `preset`; what a preset or file leaves out is as in `base`, by default Config().
    Raises ValueError if they cannot be read.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--preset")
    finder.add_argument("--config", type=Path)
    try:
        found, _ = finder.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    # What a file leaves out is the default, not a preset's: a run's own file then starts the same run again.
    base = base or Config()
    start = read_preset(found.preset or preset, base=base) if found.preset or not found.config else base
    return read_config(found.config, base=start) if found.config else start


def parse(
    kind: type[ArgumentsT],
    argv: Sequence[str],
    *,
    command: str,
    description: str,
    start: Mapping[str, Any] | None = None,
) -> ArgumentsT:
    """The arguments of a command; those not given are as in `start`, or `kind`'s own.

    Raises ValueError, in one line, for an unknown flag or a wrong value. Prints the help and exits if asked to.
    """
    default: ArgumentsT | None = None
    if start is not None:
        required = {
            item.name: tyro.MISSING
            for item in dataclasses.fields(kind)  # type: ignore[arg-type]
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        }
        default = kind(**{**required, **start})
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            arguments: ArgumentsT = tyro.cli(  # type: ignore[assignment]
                kind,
                args=list(argv),
                prog=f"xnas {command}",
                description=description,
                default=default,
                config=(tyro.conf.DisallowNone, tyro.conf.PositionalMetavarFromFieldName),
            )
            return _with_homes(arguments)
    except SystemExit as end:
        if not end.code:
            raise
        raise ValueError(f"{command}: {_in_one_line(complaint.getvalue())}") from None


def _with_homes(arguments: ArgumentsT) -> ArgumentsT:
    """Return the arguments with ~ and ~user in paths written out: a shell leaves that of --runs=~/runs as it is.

    Raises ValueError for a home that is not there.
    """
    found: dict[str, Any] = {}
    for item in dataclasses.fields(arguments):  # type: ignore[arg-type]
        value = getattr(arguments, item.name)
        if isinstance(value, Path):
            found[item.name] = expanded(value)
        elif isinstance(value, tuple):
            found[item.name] = tuple(expanded(part) if isinstance(part, Path) else part for part in value)
    return dataclasses.replace(arguments, **found) if found else arguments  # type: ignore[type-var]


def _in_one_line(box: str) -> str:
    """Return tyro's message below its title, up to the first rule, and the flags that it suggests."""
    lines = [line.strip("│╰╯ ") for line in box.splitlines()[1:]]

    def is_rule(line: str) -> bool:
        return bool(line) and set(line) <= {"─", "-"}

    # Where the output takes no box characters there is no frame, and a rule below the title.
    taken = itertools.takewhile(lambda line: not is_rule(line), itertools.dropwhile(is_rule, lines))
    said = " ".join(" ".join(taken).split()) or "wrong arguments"
    flags = [line.split()[0].rstrip(",") for line in lines if re.match("--[a-z]", line)]
    told = {word.rstrip(",;:.") for word in said.split()}  # such as the flag of a wrong value
    near = [flag for flag in dict.fromkeys(flags) if flag.rstrip(",;:.") not in told]
    return said + (f"; did you mean {' or '.join(near)}?" if near else "")
