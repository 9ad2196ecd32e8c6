"""From the words of the command line to settings: preset, then file, then single flags."""

import argparse
import contextlib
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tyro

from xnas.engine.config import Config, read_config, read_preset

QUICK = "quick"
Arguments = TypeVar("Arguments")


@dataclass(frozen=True, kw_only=True)
class NewRun(Config):
    """Settings of a run, and the folder that it goes to."""

    preset: str = QUICK
    """Settings to start from; single flags and --config override them."""
    config: Path | None = None
    """A TOML file of settings, such as a run folder's config.toml; it overrides the preset."""
    runs: Path = Path("runs")
    """Folder of the run folders."""
    name: str | None = None
    """Name of this run's folder; by default the preset's name and the next free number."""
    overwrite: bool = False
    """Replace a run folder of that name."""


def settings_of(arguments: Config) -> Config:
    """The settings alone, without what says where they came from and where the run goes."""
    return Config(**{item.name: getattr(arguments, item.name) for item in dataclasses.fields(Config)})


def start_from(argv: Sequence[str], *, base: Config | None = None) -> Config:
    """The settings of the --preset and --config in `argv`, which single flags are then laid over.

    `base` is what stands in for a preset where none is named. Raises ValueError if they cannot be read.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--preset")
    finder.add_argument("--config", type=Path)
    try:
        found, _ = finder.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    start = read_preset(found.preset or QUICK) if base is None or found.preset else base
    return read_config(found.config, base=start) if found.config else start


def parse(kind: type[Arguments], argv: Sequence[str], *, verb: str, description: str, start: Config | None = None) -> Arguments:
    """The arguments of a verb; settings not given are those of `start`.

    Raises ValueError, in one line, for an unknown flag or a wrong value. Prints the help and exits if asked to.
    """
    default: Arguments | None = None
    if start is not None:
        values = {item.name: getattr(start, item.name) for item in dataclasses.fields(Config)}
        own = {item.name: item for item in dataclasses.fields(kind) if item.name not in values}  # type: ignore[arg-type]
        missing = [
            name
            for name, item in own.items()
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        ]
        default = kind(**values, **{name: tyro.MISSING for name in missing})
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, args=list(argv), prog=f"xnas {verb}", description=description, default=default)
    except SystemExit as end:
        if not end.code:
            raise
        raise ValueError(f"{verb}: {_in_one_line(complaint.getvalue())}") from None


def _in_one_line(box: str) -> str:
    """What tyro says inside its frame, up to the pointer to the help."""
    inside = [line.strip("│ ") for line in box.splitlines() if line.startswith("│")]
    ended = next((i for i, line in enumerate(inside) if line.startswith("─") and "helptext" in " ".join(inside[i:][:3])), len(inside))
    said = [line for line in inside[:ended] if not line.startswith("─")]
    return " ".join(" ".join(said).split()) or "wrong arguments"

