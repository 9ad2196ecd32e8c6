"""A run folder as one value: settings, environment, course, architecture, results, times. Anything may be missing."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnas.io.json import Fields
from xnas.io.safe_read import check_folder, is_folder, is_there
from xnas.io.text import visible
from xnas.io.toml import parse_toml
from xnas.report.metrics import Course, read_course
from xnas.report.run_files import RunFiles
from xnas.space.architecture import Architecture, parse_architecture
from xnas.space.genotype_json import MAX_BYTES

MOST_CONTROLS = 1000
MOST_RUNS = 1000
"""Of a comparison."""

CONTROLS = "controls/"
GENOTYPE, GENOTYPE_SO_FAR = "genotype.json", "genotype-so-far.json"
"""The choice of a search that has ended, and of one that was broken off."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a network that was trained from scratch reached on the test set, once."""

    name: str
    test_accuracy: float
    """Share of test samples classified correctly, in [0, 1]."""
    test_loss: float
    test_samples: int
    parameters: int
    multiply_adds: int
    epochs: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """All that a run folder tells."""

    name: str
    """The folder's."""
    config_text: str | None
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    environment_text: str | None
    seconds: Mapping[str, float]
    """Wall time by phase."""
    peak_memory: Mapping[str, float]
    """Bytes that the process held at most, by phase."""
    course: Course
    genotype: Architecture | None
    result: Result | None
    controls: Mapping[str, Result]
    """Results of the controls that have one, by name."""
    untested: tuple[str, ...]
    """Names of the controls that have no result yet."""

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """The run in `folder`.

        Raises ValueError if it is no folder, or a file in it is damaged, naming the file.
        """
        if not os.path.isdir(folder):
            raise ValueError(f"{folder} is not a run folder; give one that xnas has written")
        files = RunFiles(folder)
        config_text = files.settings_text("config.toml")
        timing, environment = files.json_object("timing.json"), files.json_object("environment.json")
        controls = read_controls(folder)
        return cls(
            name=folder.resolve().name,
            config_text=config_text,
            config=parse_toml(config_text or "", where=str(folder / "config.toml")),
            environment=environment.values if environment else {},
            environment_text=_pretty(environment) if environment else None,
            seconds=_by_phase(timing, "seconds") if timing else {},
            peak_memory=_by_phase(timing, "peak_memory_bytes") if timing else {},
            course=read_course(folder),
            genotype=read_architecture(folder),
            result=read_result(folder),
            controls=controls,
            untested=tuple(place.name for place in _control_folders(folder) if place.name not in controls),
        )

    def setting(self, section: str | None, key: str) -> str | int | None:
        """A text or a number of config.toml; None if it is not there, or of another type."""
        values = self.config if section is None else self.config.get(section)
        value = values.get(key) if isinstance(values, dict) else None
        return value if isinstance(value, str) or (type(value) is int and abs(value) < 2**63) else None


def genotype_file(folder: Path) -> Path:
    """Where the architecture of a run is: the final one, or else the one so far."""
    named = RunFiles(folder).digests()
    return folder / (GENOTYPE_SO_FAR if GENOTYPE_SO_FAR in named and GENOTYPE not in named else GENOTYPE)


def read_result(folder: Path) -> Result | None:
    """The result of the run in `folder`, or None. Raises ValueError, naming the file, if it is damaged."""
    path = folder / "result.json"
    fields = RunFiles(folder).json_object(path.name)
    if fields is None:
        return None
    if fields.values.get("format") != "xnas-result":
        raise ValueError(f'{path} is not a result: it lacks "format": "xnas-result"')
    if fields.integer("version") > 1:
        raise ValueError(
            f"{path} has version {fields.integer('version')}; this xnas reads up to 1: upgrade xnas"
        )
    return parse_result(fields)


def parse_result(fields: Fields) -> Result:
    """The result that these fields hold. Raises ValueError where one is missing or wrong."""
    return Result(
        name=fields.name("name"),
        test_accuracy=fields.share("test_accuracy"),
        test_loss=fields.number("test_loss"),
        test_samples=fields.integer("test_samples"),
        parameters=fields.integer("parameters"),
        multiply_adds=fields.integer("multiply_adds"),
        epochs=fields.integer("epochs"),
        seed=fields.integer("seed"),
    )


def lacking(folder: Path, file: str, *, what: str, remedy: str) -> ValueError:
    """Why `file`, the run's `what`, cannot be had of the run in `folder`, where it is missing."""
    try:
        runs = sorted(
            path for path in folder.iterdir() if not path.is_symlink() and is_there(path / "config.toml")
        )
    except OSError:
        runs = []
    if not runs:
        return ValueError(f"{folder} has no {what} yet{remedy}")
    inside = next((path for path in runs if is_there(path / file)), None)
    if inside is None:  # as after a bench, which trains no network
        return ValueError(
            f"{folder} holds many runs and has no {what} of its own, nor has any of them yet; begin with one of them, "
            f"such as {runs[0]}"
        )
    return ValueError(
        f"{folder} holds many runs and has no {what} of its own; give one of them, such as {inside}"
    )


def read_architecture(folder: Path) -> Architecture | None:
    """The genotype of the run in `folder`, final or so far, or None. Raises ValueError, naming the file, if damaged."""
    path = genotype_file(folder)
    text = RunFiles(folder).text(path.name, what="genotype", most=MAX_BYTES)
    if text is None:
        return None
    try:
        return parse_architecture(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_controls(folder: Path) -> dict[str, Result]:
    """The results of the controls of the run in `folder`, by name; those not trained yet are left out."""
    results = {place.name: read_result(place) for place in _control_folders(folder)}
    # Its own manifest says what a control's result is; that of the run, which controls there must be.
    files = RunFiles(folder)
    for name in files.digests():
        if name.startswith(CONTROLS):
            files.check(name)
    return {name: result for name, result in results.items() if result is not None}


def _control_folders(folder: Path) -> list[Path]:
    place = folder / CONTROLS
    if not is_folder(place, inside=folder):
        return []
    try:
        found = sorted(path for path in place.iterdir() if path.is_symlink() or not path.is_file())
    except OSError as error:
        raise ValueError(f"cannot look into {place}: {error.strerror}") from None
    if len(found) > MOST_CONTROLS:
        raise ValueError(f"{place} has {len(found):,} controls; a report takes {MOST_CONTROLS:,} at most")
    for path in found:
        check_folder(path, inside=folder)
    return found


def _by_phase(timing: Fields, what: str) -> dict[str, float]:
    found = {visible(phase): timing.inner(phase).optional_number(what) for phase in timing.values}
    return {phase: value for phase, value in found.items() if value is not None}


def _pretty(fields: Fields) -> str:
    try:
        return json.dumps(fields.values, indent=2, ensure_ascii=False)
    except RecursionError:  # writing goes less deep than reading
        raise ValueError(
            f"{fields.where} is damaged: nested too deeply; restore it or take it away"
        ) from None
