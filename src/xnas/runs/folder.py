"""A run folder as one value: settings, environment, history, architecture, results, times. Anything may be missing."""

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas.config.diff import differences
from xnas.config.limits import MOST_CONTROLS
from xnas.config.loading import parse_config
from xnas.config.schema import CONFIG, Config
from xnas.io.atomic import mkdir_fsync
from xnas.io.errors import CannotWrite
from xnas.io.json import JsonObject, parse_json_object
from xnas.io.paths import expanded
from xnas.io.safe_read import check_folder, check_place, exists, is_folder
from xnas.io.text import choose, printable
from xnas.io.toml import parse_toml
from xnas.runs.finished_files import GROWING, MANIFEST, RunFiles
from xnas.runs.history import METRICS, History, HistoryRow, read_history, read_rows, to_row
from xnas.runs.log import MetricsLog
from xnas.space.architecture import Architecture, parse_architecture
from xnas.space.genotype_json import MAX_BYTES

if TYPE_CHECKING:  # folders are read without torch
    from torch import Tensor

    from xnas.runs.checkpoint import CheckpointStore

CONTROLS = "controls/"


GENOTYPE, GENOTYPE_SO_FAR = "genotype.json", "genotype-so-far.json"
"""The choice of a search that has ended, and of one that was interrupted."""


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
    history: History
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
            history=read_history(folder),
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


def parse_result(fields: JsonObject) -> Result:
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
            path for path in folder.iterdir() if not path.is_symlink() and exists(path / "config.toml")
        )
    except OSError:
        runs = []
    if not runs:
        return ValueError(f"{folder} has no {what} yet{remedy}")
    inside = next((path for path in runs if exists(path / file)), None)
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


def _by_phase(timing: JsonObject, what: str) -> dict[str, float]:
    found = {printable(phase): timing.nested(phase).optional_number(what) for phase in timing.values}
    return {phase: value for phase, value in found.items() if value is not None}


def _pretty(fields: JsonObject) -> str:
    try:
        return json.dumps(fields.values, indent=2, ensure_ascii=False)
    except RecursionError:  # writing goes less deep than reading
        raise ValueError(
            f"{fields.where} is damaged: nested too deeply; restore it or take it away"
        ) from None


JOB, ENVIRONMENT = "job.json", "environment.json"


RESULT, TIMING, CHECKPOINTS = "result.json", "timing.json", "checkpoints"


WEIGHTS = f"{CHECKPOINTS}/network.safetensors"


SEARCH, RETRAIN = "search", "retrain"
"""The phases of a run, each with checkpoints of its own."""


STUDY = "study"
"""The job of a folder that holds other runs."""


TRAINING_ROWS = ("retrain_images", "retrain_epoch", "test")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What was asked for, beside the settings."""

    command: str
    controls: int = 0
    network: str = "found"
    """What the retrained network is called in tables."""


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = expanded(path)
        self.files = RunFiles(self.path)
        self.metrics = MetricsLog(self.path / METRICS)

    @classmethod
    def at(cls, path: str | Path, *, inside: Path | None = None) -> "RunFolder":
        """The run folder at `path`, made if it is missing, as those above it are up to `inside`.

        Raises CannotWrite, and ValueError for something else in its place.
        """
        path = expanded(path)
        try:
            mkdir_fsync(path, inside=inside)
        except OSError as error:
            raise CannotWrite(f"cannot make the run folder {path}: {error.strerror}") from error
        return cls(path)

    def child(self, *names: str) -> "RunFolder":
        """A run folder inside this one, made if it is missing."""
        return self.at(self.path.joinpath(*names), inside=self.path)

    def has(self, name: str) -> bool:
        """Whether a file is finished. Raises ValueError if it was, and is missing, or the manifest has changed."""
        return self.files.has(name)

    def write_job(self, job: Job) -> None:
        """Write what was asked for."""
        self._write({JOB: _json({"format": "xnas-job", "version": 1, **asdict(job)})})

    def job(self) -> Job:
        """What was asked for. Raises ValueError if the folder does not say."""
        if not self.has(JOB):
            raise ValueError(
                f"{self.path} has no {JOB}, so it cannot be continued; start over under another name"
            )
        fields = self._read_json(JOB)
        job = Job(
            command=fields.name("command"),
            controls=fields.integer("controls", most=MOST_CONTROLS),
            network=fields.name("network"),
        )
        choose(f"command in {fields.where}", job.command, ("run", SEARCH, RETRAIN, STUDY))
        return job

    def environment(self) -> dict[str, Any]:
        """What the run ran on; empty if the folder does not say. Raises ValueError if the file is damaged."""
        return dict(self._read_json(ENVIRONMENT).values)

    def note_kernels(self, now: str) -> object:
        """Write which kernels the run uses; returns those before it, None if the folder does not say."""
        environment = self.environment()
        before = environment.get("kernels")
        if before != now:
            if before is not None:
                earlier = environment.get("earlier")
                environment["earlier"] = [
                    *(earlier if isinstance(earlier, list) else []),
                    {"kernels": before},
                ]
            self._write({ENVIRONMENT: _json(environment | {"kernels": now})})
        return before

    def describe(self, config: Config, environment: Mapping[str, object]) -> None:
        """Write the environment and the settings of the run, these last: a folder that has them is a run's."""
        self._write({ENVIRONMENT: _json(environment), CONFIG: config.to_toml()})

    def config(self) -> Config:
        """The settings of the run. Raises ValueError if the folder is none of a run."""
        return read_run_config(self.path)

    def check_same(self, config: Config, *, sections: Collection[str]) -> None:
        """Raises ValueError, naming every difference, if the run was started with different settings."""
        if changed := differences(self.config(), config, sections=sections):
            raise ValueError(
                f"{self.path} was started with different settings: {'; '.join(changed)}; give it the same, choose "
                "another --name, or start over with --overwrite"
            )

    def checkpoints(self, phase: str, *, keep: int = 2) -> "CheckpointStore":
        """The checkpoints of a phase."""
        from xnas.runs.checkpoint import CheckpointStore

        return CheckpointStore(self.path / CHECKPOINTS, phase, keep=keep)

    def has_begun(self, phase: str) -> bool:
        """Whether a phase has been saved at least once, or has left its result."""
        return bool(self.checkpoints(phase).found()) or (phase == RETRAIN and self.has(RESULT))

    def write_genotype(self, genotype: Architecture) -> None:
        """Write the architecture that the run stands for: its search has ended."""
        self._write({GENOTYPE: genotype.to_json()}, phase_ends=True, without=(GENOTYPE_SO_FAR,))
        with suppress(OSError):  # readers take the final architecture first
            (self.path / GENOTYPE_SO_FAR).unlink(missing_ok=True)

    def write_genotype_so_far(self, genotype: Architecture) -> None:
        """Write the architecture that an interrupted search would choose."""
        self._write({GENOTYPE_SO_FAR: genotype.to_json()})

    def genotype(self) -> Architecture:
        """The architecture. Raises ValueError if the search has not come to one, or the file is none."""
        genotype = read_architecture(self.path) if self.has(GENOTYPE) else None
        if genotype is None:
            strange = (
                f", and {MANIFEST} does not know the one that is there"
                if exists(self.path / GENOTYPE)
                else ""
            )
            remedy = f": its search has not ended{strange}; resume with: xnas resume {self.path}"
            raise lacking(self.path, GENOTYPE, what=GENOTYPE, remedy=remedy)
        return genotype

    def log(self, row: HistoryRow) -> None:
        """Append a row to metrics.jsonl. Raises CannotWrite; the row then waits for the next attempt."""
        self.metrics.append(to_row(row))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write what the tested network reached."""
        self._write({RESULT: _json({"format": "xnas-result", "version": 1, **result})}, phase_ends=True)

    def result(self) -> dict[str, Any]:
        """What the tested network reached. Raises ValueError if the file is damaged."""
        values = self._read_json(RESULT).values
        return {name: value for name, value in values.items() if name not in ("format", "version")}

    def add_timing(self, phase: str, **values: float) -> None:
        """Note the wall time of a phase that has ended or stops, in seconds."""
        timing = {**self._read_json(TIMING).values, phase: values}
        self._write({TIMING: _json(timing)}, phase_ends=True)

    def seconds(self) -> float:
        """Wall time of all phases so far. Raises ValueError if the file is damaged."""
        timing = self._read_json(TIMING)
        return sum(timing.nested(phase).number("seconds") for phase in timing.values)

    def write_weights(self, weights: Mapping[str, "Tensor"], *, about: Mapping[str, str]) -> None:
        """Write the trained network's weights, with a few words about them in the header."""
        from safetensors.torch import save

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        # One entry: the order of several is left to chance, and the same weights should be the same bytes.
        content = save(tensors, metadata={"about": json.dumps(about)})
        self.files.write({WEIGHTS: content})

    def weights(self) -> tuple[dict[str, "Tensor"], dict[str, str]]:
        """The trained network's weights, and the words about them. Raises ValueError if there are none, or damaged."""
        from xnas.io.tensors import read_tensors

        path = self.path / WEIGHTS
        if not self.has(WEIGHTS) or not self.files.check(WEIGHTS):
            remedy = f"; run: xnas retrain {self.path}"
            raise lacking(self.path, WEIGHTS, what="trained network", remedy=remedy)
        tensors, words = read_tensors(path, inside=self.path)
        about = parse_json_object(words.get("about", ""), where=f"{path}: about")
        return tensors, {name: about.text(name) for name in about.values}

    def drop_training(self) -> None:
        """Take out what an earlier retraining left: its result, its rows, its checkpoints and its weights."""
        for name in (RESULT, WEIGHTS):
            check_place(self.path / name, inside=self.path)
        kept = [line for line, row in read_rows(self.path) if row.name("kind") not in TRAINING_ROWS]
        self.files.write({}, without=(RESULT, WEIGHTS))
        (self.path / RESULT).unlink(missing_ok=True)
        if exists(self.path / METRICS):
            self.files.write({METRICS: b"".join(kept)}, without=(GROWING,))
            self.metrics = MetricsLog(self.path / METRICS)
        self.checkpoints(RETRAIN).drop()
        (self.path / WEIGHTS).unlink(missing_ok=True)

    def _read_json(self, name: str) -> JsonObject:
        """The fields of a file; none if it is not there. Raises ValueError if it is damaged."""
        return self.files.json_object(name) or JsonObject({}, where=str(self.path / name))

    def write_text(self, name: str, text: str) -> None:
        """Write a file of text."""
        self._write({name: text})

    def keep_control(self, name: str) -> None:
        """Name the result of a control, as the control itself names it: from now on it belongs to the run's."""
        control = f"{CONTROLS}{name}"
        digest = RunFiles(self.path / control).digests()[RESULT]
        self.files.write({}, known={f"{control}/{RESULT}": digest})

    def _write(
        self, texts: Mapping[str, str], *, phase_ends: bool = False, without: Collection[str] = ()
    ) -> None:
        """Write files; where a phase ends with them, all rows of metrics.jsonl are finished, too."""
        rows = self.metrics.finished() if phase_ends else {}
        self.files.write(
            {name: text.encode("utf-8") for name, text in texts.items()},
            known=rows,
            without=(*without, *((GROWING,) if rows else ())),
        )


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"


def read_run_config(run: Path) -> Config:
    """The settings of an earlier run. Raises ValueError if the folder is none of a run, or they cannot be read."""
    path = run / CONFIG
    text = RunFiles(run).settings_text(CONFIG)
    if text is None:
        missing = f"its {MANIFEST} names no {CONFIG}" if exists(path) else f"it has no {CONFIG}"
        raise ValueError(f"{run} is not a run folder: {missing}")
    return parse_config(text, where=str(path))
