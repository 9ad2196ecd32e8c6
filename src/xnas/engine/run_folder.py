"""The folder of a run: it describes itself, and no file in it is ever half-written, or read once it has changed.

job.json (what was asked for), config.toml (resolved settings), environment.json, metrics.jsonl, genotype.json,
result.json, timing.json, checkpoints/, controls/, report.html, pictures/, and manifest.json, which names the finished
files with their SHA-256.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from xnas.engine.bounds import MOST_SEED, check_text
from xnas.engine.checkpoint import Checkpoints
from xnas.engine.config import CONFIG, Config
from xnas.engine.config_diff import differences
from xnas.engine.config_files import read_run_config
from xnas.engine.metrics_log import MetricsLog
from xnas.io.atomic import make_folder
from xnas.io.errors import CannotWrite
from xnas.io.json import Fields, parse_object
from xnas.io.paths import expanded
from xnas.io.safe_read import check_place, is_there
from xnas.io.tensors import read_tensors
from xnas.io.text import lookup, shown
from xnas.report.metrics import METRICS, read_rows
from xnas.report.record import CONTROLS, GENOTYPE_SO_FAR, MOST_CONTROLS, MOST_RUNS, lacking, read_architecture
from xnas.report.record import GENOTYPE as GENOTYPE
from xnas.report.run_files import GROWING, MANIFEST, RunFiles
from xnas.space.architecture import Architecture

JOB, ENVIRONMENT = "job.json", "environment.json"
RESULT, TIMING, CHECKPOINTS = "result.json", "timing.json", "checkpoints"
WEIGHTS = f"{CHECKPOINTS}/network.safetensors"
SEARCH, RETRAIN = "search", "retrain"
"""The phases of a run, each with checkpoints of its own."""
COMPARE, BENCH, EXPERIMENT, SWEEP = "compare", "bench", "experiment", "sweep"
"""The verbs whose folders hold other runs."""
TRAINING_ROWS = ("retrain_images", "retrain_epoch", "test")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What was asked for, beside the settings."""

    verb: str
    controls: int = 0
    network: str = "found"
    """What the retrained network is called in tables."""
    optimizers: tuple[str, ...] = ()
    """Of a comparison or a bench: each is run with each of the seeds."""
    seeds: tuple[int, ...] = ()
    table: str = ""
    """Of a bench: where its table is."""


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
            make_folder(path, inside=inside)
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
                f"{self.path} has no {JOB}, so it cannot be continued; start anew under another name"
            )
        fields = self._read_json(JOB)
        job = Job(
            verb=fields.name("verb"),
            controls=fields.integer("controls", most=MOST_CONTROLS),
            network=fields.name("network"),
            optimizers=fields.names("optimizers") if "optimizers" in fields.values else (),
            seeds=fields.integers("seeds", most=MOST_SEED) if "seeds" in fields.values else (),
            table=fields.text("table") if "table" in fields.values else "",
        )
        check_text(f"{fields.where}: 'table'", job.table)
        lookup(
            f"verb in {fields.where}", job.verb, ("run", SEARCH, RETRAIN, COMPARE, BENCH, EXPERIMENT, SWEEP)
        )
        for name, values in (("optimizers", job.optimizers), ("seeds", job.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{fields.where}: {name!r} must differ; got {shown(list(values))}")
        if len(job.optimizers) * len(job.seeds) > MOST_RUNS:
            raise ValueError(f"{fields.where}: at most {MOST_RUNS:,} runs go together")
        return job

    def environment(self) -> dict[str, Any]:
        """What the run ran on; empty if the folder does not say. Raises ValueError if the file is damaged."""
        return dict(self._read_json(ENVIRONMENT).values)

    def note_kernels(self, now: str) -> object:
        """Write by which kernels the run goes on; returns those before it, None if the folder does not say."""
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
        """Raises ValueError, naming every difference, if the run was begun with other settings."""
        if changed := differences(self.config(), config, sections=sections):
            raise ValueError(
                f"{self.path} was begun with other settings: {'; '.join(changed)}; give it the same, choose another "
                "--name, or start anew with --overwrite"
            )

    def checkpoints(self, phase: str, *, keep: int = 2) -> Checkpoints:
        """The checkpoints of a phase."""
        return Checkpoints(self.path / CHECKPOINTS, phase, keep=keep)

    def has_begun(self, phase: str) -> bool:
        """Whether a phase has been saved at least once, or has left its result."""
        return bool(self.checkpoints(phase).found()) or (phase == RETRAIN and self.has(RESULT))

    def write_genotype(self, genotype: Architecture) -> None:
        """Write the architecture that the run stands for: its search has ended."""
        self._write({GENOTYPE: genotype.to_json()}, phase_ends=True, without=(GENOTYPE_SO_FAR,))
        with suppress(OSError):  # whoever looks for an architecture takes the final one first
            (self.path / GENOTYPE_SO_FAR).unlink(missing_ok=True)

    def write_genotype_so_far(self, genotype: Architecture) -> None:
        """Write the architecture that a search would choose where it was broken off."""
        self._write({GENOTYPE_SO_FAR: genotype.to_json()})

    def genotype(self) -> Architecture:
        """The architecture. Raises ValueError if the search has not come to one, or the file is none."""
        genotype = read_architecture(self.path) if self.has(GENOTYPE) else None
        if genotype is None:
            strange = (
                f", and {MANIFEST} does not know the one that is there"
                if is_there(self.path / GENOTYPE)
                else ""
            )
            remedy = f": its search has not ended{strange}; go on with: xnas resume {self.path}"
            raise lacking(self.path, GENOTYPE, what=GENOTYPE, remedy=remedy)
        return genotype

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to metrics.jsonl. Raises CannotWrite; the row then waits for the next attempt."""
        self.metrics.append(row)

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
        return sum(timing.inner(phase).number("seconds") for phase in timing.values)

    def write_weights(self, weights: Mapping[str, Tensor], *, about: Mapping[str, str]) -> None:
        """Write the trained network's weights, with a few words about them in the header."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        # One entry: the order of several is left to chance, and the same weights should be the same bytes.
        content = save(tensors, metadata={"about": json.dumps(about)})
        self.files.write({WEIGHTS: content})

    def weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The trained network's weights, and the words about them. Raises ValueError if there are none, or damaged."""
        path = self.path / WEIGHTS
        if not self.has(WEIGHTS) or not self.files.check(WEIGHTS):
            remedy = f"; run: xnas retrain {self.path}"
            raise lacking(self.path, WEIGHTS, what="trained network", remedy=remedy)
        tensors, words = read_tensors(path, inside=self.path)
        about = parse_object(words.get("about", ""), where=f"{path}: about")
        return tensors, {name: about.text(name) for name in about.values}

    def drop_training(self) -> None:
        """Take out what an earlier retraining left: its result, its rows, its checkpoints and its weights."""
        for name in (RESULT, WEIGHTS):
            check_place(self.path / name, inside=self.path)
        kept = [line for line, row in read_rows(self.path) if row.name("kind") not in TRAINING_ROWS]
        self.files.write({}, without=(RESULT, WEIGHTS))
        (self.path / RESULT).unlink(missing_ok=True)
        if is_there(self.path / METRICS):
            self.files.write({METRICS: b"".join(kept)}, without=(GROWING,))
            self.metrics = MetricsLog(self.path / METRICS)
        self.checkpoints(RETRAIN).drop()
        (self.path / WEIGHTS).unlink(missing_ok=True)

    def _read_json(self, name: str) -> Fields:
        """The fields of a file; none if it is not there. Raises ValueError if it is damaged."""
        return self.files.json_object(name) or Fields({}, where=str(self.path / name))

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
