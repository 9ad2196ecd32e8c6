"""When a trainer is saved, where it resumes from, and what must match to resume."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from xnas.config.diff import differences
from xnas.config.loading import parse_config
from xnas.config.schema import CheckpointConfig, Config
from xnas.io.atomic import FolderGone
from xnas.io.errors import CannotWrite
from xnas.io.json import JsonObject
from xnas.runs.checkpoint import CheckpointState, CheckpointStore
from xnas.runs.folder import RunFolder
from xnas.runs.history import HistoryRow
from xnas.train.trainer import Trainer

log = logging.getLogger(__name__)

MOST_FAILURES = 3
"""Failures in a row after which a run ends, as it cannot be saved."""


ROOM = 3
"""Checkpoints that must have room before a phase starts: two that are kept, and one being written."""


@dataclass(frozen=True, kw_only=True)
class ResumeKey:
    """What a checkpoint must have been written with, to be resumed from."""

    config: Config
    sections: tuple[str, ...]
    """The settings that decide the result."""
    fingerprints: Mapping[str, str]
    """What else decides the result, by name: the images, the architecture."""

    def as_values(self) -> dict[str, Any]:
        """Return it as a checkpoint keeps it."""
        return {"config": self.config.to_toml(), "fingerprints": dict(self.fingerprints)}

    def check_matches(self, values: JsonObject) -> None:
        """Raise ValueError, naming every difference, if a checkpoint was written with something else."""
        before = parse_config(values.text("config"), where=f"{values.where}: config")
        # A folder of images may have moved since; their fingerprint tells whether they are the same.
        before = replace(before, data=replace(before.data, source=self.config.data.source))
        changed = differences(before, self.config, sections=self.sections)
        before_by_name = values.nested("fingerprints")
        changed += [
            f"{name} changed"
            for name, value in self.fingerprints.items()
            if before_by_name.text(name) != value
        ]
        if changed:
            raise ValueError(
                f"{values.where} was started otherwise: {'; '.join(changed)}; give it the same, choose another --name, "
                "or start over with --overwrite"
            )


class CheckpointManager:
    """Saves a trainer from time to time, and decides what happens where the disk does not take it."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        key: ResumeKey,
        folder: RunFolder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trainer, self.key, self.folder, self.clock = trainer, key, folder, clock
        self.settings: CheckpointConfig = key.config.checkpoint
        self.store: CheckpointStore = folder.checkpoints(trainer.phase, keep=self.settings.keep)
        self.last: Path | None = None
        """The newest good checkpoint."""
        self.failures = 0
        self._last_tried = 0
        self._started = self._time_tried = clock()
        self._seconds_before = 0.0

    def begin(self) -> None:
        """Bring the trainer to its newest checkpoint; without one, write the first.

        Raises ValueError for checkpoints of other settings or damaged ones, or a disk without room.
        """
        try:
            self._begin()
        except OSError as error:
            raise CannotWrite(
                f"cannot work in {self.folder.path}: {error.strerror or error}; nothing was computed"
            ) from error
        # A trainer without steps may have ended here before.
        if self.trainer.step == 0 and not set(self.trainer.row_kinds) & set(self.folder.metrics.kinds()):
            self.log(self.trainer.opening_rows())

    def _begin(self) -> None:
        self.store.tidy()
        found = self.store.newest()
        if found is None:
            if lost := [kind for kind in self.folder.metrics.kinds() if kind in self.trainer.row_kinds]:
                raise ValueError(
                    f"{self.folder.metrics.path} has rows of kind {lost[0]!r}, but {self.store.home} has no checkpoint "
                    f"of the {self.trainer.phase}; restore it from a copy, or start over with --overwrite"
                )
            self._check_room()
            self._save()
        else:
            path, snapshot = found
            values = JsonObject.of(snapshot.values, where=str(path))
            self.key.check_matches(values)
            self.trainer.load_state_dict(snapshot.tensors, step=values.integer("step"))
            self.folder.metrics.cut(values.integer("metrics_bytes"), sha256=values.text("metrics_sha256"))
            self._seconds_before = values.number("seconds")
            self.last, self._last_tried = path, self.trainer.step
            log.info(f"{self.trainer.phase}: resuming from {path}")

    def log(self, rows: Sequence[HistoryRow]) -> None:
        """Write rows into metrics.jsonl; those that the disk does not take now wait for the next checkpoint."""
        for row in rows:
            try:
                self.folder.log(row)
            except FolderGone:  # it does not come back
                raise
            except CannotWrite as error:
                log.warning(f"{error}; trying again")

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        if self.clock() - self._time_tried >= 60 * self.settings.minutes:
            return True
        steps = self.settings.steps
        return steps is not None and self.trainer.step - self._last_tried >= steps

    def after_step(self, *, due: bool, ending: bool) -> None:
        """Save if it is time to, or the run is ending. Raises CannotWrite after three failures in a row."""
        if not (due or ending):
            return
        try:
            self._save()
        except FolderGone:
            raise
        except CannotWrite as error:
            self.failures += 1
            if self.failures >= MOST_FAILURES or self.trainer.step == self.trainer.total_steps:
                raise
            log.warning(f"{error}; " + ("stopping without it" if ending else "continuing, trying again"))

    def end(self) -> None:
        """Save the end of the trainer. Raises CannotWrite."""
        self._save()

    def seconds(self) -> float:
        """Wall time spent on the trainer, by the processes before this one too."""
        return round(self._seconds_before + self.clock() - self._started, 3)

    def _save(self) -> None:
        steps = self.trainer.step
        self._last_tried, self._time_tried = steps, self.clock()
        tensors = self.trainer.state_dict()
        try:
            snapshot = CheckpointState(
                tensors=tensors,
                values={
                    "phase": self.trainer.phase,
                    "step": steps,
                    "seconds": self.seconds(),
                    "metrics_bytes": self.folder.metrics.flush(),
                    "metrics_sha256": self.folder.metrics.sha256,
                    **self.key.as_values(),
                },
            )
            self.last = self.store.save(snapshot, step=steps)
        except OSError as error:
            raise CannotWrite(
                f"cannot write a checkpoint into {self.store.home}: {error.strerror or error}; it needs "
                f"{_num_bytes(tensors):,} bytes; last good checkpoint: {self.last}"
            ) from error
        self.failures = 0

    def _check_room(self) -> None:
        # At its start a trainer has no momentum yet: as much again as the network's parameters.
        need = ROOM * 2 * _num_bytes(self.trainer.state_dict())
        free = shutil.disk_usage(self.folder.path).free
        if free < need:
            raise CannotWrite(
                f"{self.folder.path} has room for {free:,} bytes, and {ROOM} checkpoints of the {self.trainer.phase} "
                f"need {need:,}; make room, or choose another place with --runs"
            )


def _num_bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
