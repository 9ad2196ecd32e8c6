"""A run folder as one value: settings, environment, course, architecture, results, times. Anything may be missing."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnas.report.fields import Fields, parse_object
from xnas.report.metrics import Course, read_course
from xnas.space.genotype import Genotype

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
    timing: Mapping[str, Mapping[str, Any]]
    course: Course
    genotype: Genotype | None
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
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a run folder; give one that xnas has written")
        config_text = _text(folder / "config.toml")
        timing = _object(folder / "timing.json")
        environment = _object(folder / "environment.json")
        controls = read_controls(folder)
        return cls(
            name=folder.resolve().name,
            config_text=config_text,
            config=_config(config_text, where=folder / "config.toml"),
            environment=environment.values if environment else {},
            timing={phase: timing.inner(phase).values for phase in timing.values} if timing else {},
            course=read_course(folder),
            genotype=_genotype(genotype_file(folder)),
            result=read_result(folder),
            controls=controls,
            untested=tuple(place.name for place in _control_folders(folder) if place.name not in controls),
        )

    def setting(self, section: str, key: str) -> Any:
        """A value of config.toml, or None if it is not there."""
        values = self.config.get(section)
        return values.get(key) if isinstance(values, dict) else None


def genotype_file(folder: Path) -> Path:
    """Where the architecture of a run is: the final one, or else the one so far."""
    so_far = folder / GENOTYPE_SO_FAR
    return so_far if so_far.is_file() and not (folder / GENOTYPE).exists() else folder / GENOTYPE


def read_result(folder: Path) -> Result | None:
    """The result of the run in `folder`, or None. Raises ValueError, naming the file, if it is damaged."""
    path = folder / "result.json"
    fields = _object(path)
    if fields is None:
        return None
    if fields.values.get("format") != "xnas-result":
        raise ValueError(f'{path} is not a result: it lacks "format": "xnas-result"')
    if fields.integer("version") > 1:
        raise ValueError(
            f"{path} has version {fields.integer('version')}; this xnas reads up to 1: upgrade xnas"
        )
    accuracy = fields.number("test_accuracy")
    if not 0 <= accuracy <= 1:
        raise ValueError(f"{path}: 'test_accuracy' must lie in [0, 1]; got {accuracy}")
    return Result(
        name=fields.text("name"),
        test_accuracy=accuracy,
        test_loss=fields.number("test_loss"),
        test_samples=fields.integer("test_samples"),
        parameters=fields.integer("parameters"),
        multiply_adds=fields.integer("multiply_adds"),
        epochs=fields.integer("epochs"),
        seed=fields.integer("seed"),
    )


def read_controls(folder: Path) -> dict[str, Result]:
    """The results of the controls of the run in `folder`, by name; those not trained yet are left out."""
    results = {place.name: read_result(place) for place in _control_folders(folder)}
    return {name: result for name, result in results.items() if result is not None}


def _control_folders(folder: Path) -> list[Path]:
    place = folder / "controls"
    return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def _text(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is damaged: it is not UTF-8; restore it or take it away") from None


def _object(path: Path) -> Fields | None:
    text = _text(path)
    return None if text is None else parse_object(text, where=str(path))


def _config(text: str | None, *, where: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text or "")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{where} is not valid TOML: {error}; mend it there") from None


def _genotype(path: Path) -> Genotype | None:
    text = _text(path)
    try:
        return None if text is None else Genotype.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def pretty(value: object) -> str:
    """A JSON value as text to read."""
    return json.dumps(value, indent=2, ensure_ascii=False)
