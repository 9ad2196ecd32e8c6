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

from safetensors.torch import save
from torch import Tensor

from xnas.engine.config import CONFIG, Config, read_run_config
from xnas.engine.tensor_file import read_tensors
from xnas.report.fields import read_object
from xnas.report.metrics import read_rows
from xnas.report.record import read_architecture
from xnas.report.whole_file import write_whole
from xnas.space.genotype import Genotype
from xnas.space.regular_file import check_folder, check_place, is_there

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
            while os.path.exists(runs / f"{stem}-{number}"):
                number += 1
            name = f"{stem}-{number}"
        if not re.fullmatch(r"[\w][\w.\-]*", name):
            raise ValueError(f"a run's name is letters, digits, '-', '_' and '.'; got {name!r}")
        path = runs / name
        if os.path.islink(path):
            raise ValueError(f"{path} is a link; choose another --name, or take it away")
        if os.path.exists(path):
            if not overwrite:
                raise ValueError(
                    f"the run folder {path} exists already; choose another --name, or --overwrite it"
                )
            if not path.is_dir() or (not (path / CONFIG).is_file() and any(path.iterdir())):
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
        check_folder(path, inside=self.path)
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
        genotype = read_architecture(self.path)
        if genotype is None:
            raise ValueError(f"{self.path} has no {GENOTYPE} yet; its search has not ended")
        return genotype

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to metrics.jsonl. Rows hold no times: the same run writes the same bytes."""
        path = self.path / METRICS
        check_place(path, inside=self.path)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write what the tested network reached."""
        document = {"format": "xnas-result", "version": 1, **result}
        self._write(RESULT, json.dumps(document, indent=2) + "\n")

    def add_timing(self, phase: str, **values: float) -> None:
        """Note the wall time of a phase, in seconds."""
        known = read_object(self.path / TIMING, inside=self.path)
        timing = {**(known.values if known else {}), phase: values}
        self._write(TIMING, json.dumps(timing, indent=2) + "\n")

    def write_weights(self, weights: Mapping[str, Tensor], *, about: Mapping[str, str]) -> None:
        """Write the trained network's weights, with a few words about them in the header."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        write_whole(self.path / WEIGHTS, save(tensors, metadata=dict(about)), inside=self.path)

    def weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The trained network's weights, and the words about them. Raises ValueError if there are none, or damaged."""
        path = self.path / WEIGHTS
        if not is_there(path):
            raise ValueError(f"{self.path} has no trained network yet; run: xnas retrain {self.path}")
        return read_tensors(path, inside=self.path)

    def drop_training(self) -> None:
        """Take out what an earlier retraining left: its rows, its result and its weights."""
        rows = [
            line.rstrip(b"\n") + b"\n"
            for line, row in read_rows(self.path)
            if row.name("kind") not in ("retrain_epoch", "test")
        ]
        for name in (RESULT, WEIGHTS):
            check_place(self.path / name, inside=self.path)
        for name in (RESULT, WEIGHTS):
            (self.path / name).unlink(missing_ok=True)
        if self.has(METRICS):
            write_whole(self.path / METRICS, b"".join(rows), inside=self.path)

    def _write(self, name: str, text: str) -> None:
        write_whole(self.path / name, text.encode("utf-8"), inside=self.path)
