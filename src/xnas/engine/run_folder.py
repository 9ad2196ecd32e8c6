"""The folder of a run: it describes itself, and no file in it is ever half-written.

config.toml (resolved settings), environment.json, metrics.jsonl, genotype.json, result.json, timing.json,
checkpoints/, controls/, report.html, pictures/.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from xnas.engine.config import CONFIG, Config, read_run_config
from xnas.report.whole_file import write_whole
from xnas.space.genotype import Genotype

ENVIRONMENT, METRICS, GENOTYPE = "environment.json", "metrics.jsonl", "genotype.json"
RESULT, TIMING, WEIGHTS = "result.json", "timing.json", "checkpoints/network.safetensors"


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, runs: Path, name: str | None, *, stem: str, overwrite: bool = False) -> "RunFolder":
        """A new folder `runs/name`; without a name, `stem` with the next free number.

        Raises ValueError if it exists already and is not to be overwritten, or the name is no plain name.
        """
        if name is None:
            number = 1
            while (runs / f"{stem}-{number}").exists():
                number += 1
            name = f"{stem}-{number}"
        if not re.fullmatch(r"[\w][\w.\-]*", name):
            raise ValueError(f"a run's name is letters, digits, '-', '_' and '.'; got {name!r}")
        path = runs / name
        if path.exists():
            if not overwrite:
                raise ValueError(
                    f"the run folder {path} exists already; choose another --name, or --overwrite it"
                )
            if not (path / CONFIG).is_file() and any(path.iterdir()):
                raise ValueError(
                    f"{path} is not a run folder, so it is not overwritten; choose another --name"
                )
            shutil.rmtree(path)
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise ValueError(f"cannot make the run folder {path}: {error.strerror}") from error
        return cls(path)

    def child(self, *names: str) -> "RunFolder":
        """A run folder inside this one, made if it is missing."""
        path = self.path.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return RunFolder(path)

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.path / name).is_file()

    def describe(self, config: Config, environment: Mapping[str, object]) -> None:
        """Write the settings and the environment of the run."""
        self._write(CONFIG, config.to_toml())
        self._write(ENVIRONMENT, json.dumps(environment, indent=2) + "\n")

    def config(self) -> Config:
        """The settings of the run. Raises ValueError if the folder is none of a run."""
        return read_run_config(self.path)

    def write_genotype(self, genotype: Genotype) -> None:
        """Write the architecture that the run stands for."""
        self._write(GENOTYPE, genotype.to_json())

    def genotype(self) -> Genotype:
        """The architecture. Raises ValueError if the search has not come to one, or the file is none."""
        path = self.path / GENOTYPE
        if not path.is_file():
            raise ValueError(f"{self.path} has no {GENOTYPE} yet; its search has not ended")
        try:
            return Genotype.from_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to metrics.jsonl. Rows hold no times: the same run writes the same bytes."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write what the tested network reached."""
        document = {"format": "xnas-result", "version": 1, **result}
        self._write(RESULT, json.dumps(document, indent=2) + "\n")

    def add_timing(self, phase: str, **values: float) -> None:
        """Note the wall time of a phase, in seconds."""
        path = self.path / TIMING
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self._write(TIMING, json.dumps({**known, phase: values}, indent=2) + "\n")

    def write_weights(self, weights: Mapping[str, Tensor], *, about: Mapping[str, str]) -> None:
        """Write the trained network's weights, with a few words about them in the header."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        write_whole(self.path / WEIGHTS, save(tensors, metadata=dict(about)))

    def weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The trained network's weights, and the words about them. Raises ValueError if there are none, or damaged."""
        path = self.path / WEIGHTS
        if not path.is_file():
            raise ValueError(f"{self.path} has no trained network yet; run: xnas retrain {self.path}")
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except Exception as error:  # the reader's own error type says nothing to the user
            raise ValueError(f"{path} cannot be read as safetensors: {error}") from error

    def drop_training(self) -> None:
        """Take out what an earlier retraining left: its rows, its result and its weights."""
        for name in (RESULT, WEIGHTS):
            (self.path / name).unlink(missing_ok=True)
        path = self.path / METRICS
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["kind"] not in ("retrain_epoch", "test")]
            self._write(METRICS, "".join(kept))

    def _write(self, name: str, text: str) -> None:
        write_whole(self.path / name, text.encode("utf-8"))
