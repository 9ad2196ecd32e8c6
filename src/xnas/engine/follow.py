"""Going along a course to its end, so that it can be broken off anywhere and taken up again bit for bit.

Between rounds it saves: every few minutes or rounds, after a signal, and at the end. What a process that is killed had
done since its last checkpoint is done again, in the same way.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import clear_frames
from typing import Any

from torch import Tensor

from xnas.config.diff import differences
from xnas.config.loading import parse_config
from xnas.config.schema import CheckpointConfig, Config
from xnas.engine.course import Course, Row
from xnas.engine.memory_notice import MemoryNotice
from xnas.engine.runtime import (
    LAST_BITS_DIFFER,
    forget_peak_memory,
    is_out_of_memory,
    peak_memory,
    prepare_kernels,
    what_computes,
)
from xnas.engine.team import team
from xnas.io.atomic import FolderGone
from xnas.io.errors import CannotWrite, Interrupted, NonFinite, OutOfMemory, RankLost, RanksDiffer
from xnas.io.json import Fields
from xnas.io.text import shown
from xnas.runs.callbacks import Phase, Progress
from xnas.runs.checkpoint import Checkpoints, Snapshot
from xnas.runs.folder import RunFolder
from xnas.runs.history import read_rows
from xnas.runs.signals import Interrupt

MOST_FAILURES = 3
"""Times in a row that a run goes on without a checkpoint."""
ROOM = 3
"""Checkpoints that must have room before a phase begins: two that are kept, and one being written."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a course must have been begun with, to be continued."""

    config: Config
    sections: tuple[str, ...]
    """The settings that decide its result."""
    facts: Mapping[str, str]
    """What else decides it, by name: the images, the architecture."""

    def as_values(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return {"config": self.config.to_toml(), "facts": dict(self.facts)}

    def check(self, values: Fields) -> None:
        """Raises ValueError, naming every difference, if a checkpoint has another origin."""
        before = parse_config(values.text("config"), where=f"{values.where}: config")
        # A folder of images may have moved since; whether they are the same is among the facts.
        before = replace(before, data=replace(before.data, source=self.config.data.source))
        changed = differences(before, self.config, sections=self.sections)
        facts = values.inner("facts")
        changed += [f"{name} changed" for name, value in self.facts.items() if facts.text(name) != value]
        if changed:
            raise ValueError(
                f"{values.where} was begun otherwise: {'; '.join(changed)}; give it the same, choose another --name, "
                "or start anew with --overwrite"
            )


def follow(
    course: Course, *, origin: Origin, folder: RunFolder, progress: Progress, interrupt: Interrupt
) -> None:
    """Go from the newest checkpoint in `folder`, or the start, to the end.

    Raises ValueError if the checkpoints are of another origin or all damaged, Interrupted after a signal, NonFinite
    where the numbers break down, OutOfMemory, and CannotWrite if the disk takes no checkpoint. Where several processes
    work together the others do the same rounds (engine/serve.py): RankLost if one goes, RanksDiffer if one goes astray.
    """
    forget_peak_memory(course.device)
    keeper = Keeper(course, origin=origin, folder=folder, say=progress.say)
    keeper.begin()
    _recall(course, folder)
    prepare_kernels(course.device, say=progress.say, check=interrupt.check)
    _note_kernels(course, folder, say=progress.say)
    interrupt.check()  # that may have taken long
    saving = course.config.save_memory
    lighter = course.smaller if saving else f"--save-memory, {course.smaller}"
    notice = MemoryNotice(course.device, say=progress.say, remedies=lighter)
    try:
        progress.start(
            Phase(
                name=course.phase,
                epochs=course.epochs,
                rounds_per_epoch=course.rounds_per_epoch,
                rounds_done=course.rounds,
                groups=course.groups(),
                multiply_adds=course.full_multiply_adds,
            )
        )
        if team().size > 1 and course.rounds < course.total_rounds:
            call_together(course)
        with closing(course.batches_left()) as stream:
            for batches in stream:
                epoch, kind = course.epochs_done + 1, course.kind_of_rounds
                keeper.log(course.round(*batches))
                progress.round_done(
                    epoch=epoch,
                    round_in_epoch=course.round_in_epoch or course.rounds_per_epoch,
                    values={"train loss": course.tallies["train"].loss},
                )
                notice.after_round(kind, epoch_ends=course.round_in_epoch == 0)
                number, due = meet(course, signal=interrupt.number, due=keeper.due)
                if course.round_in_epoch == 0:
                    row = course.epoch_row()
                    keeper.log([row])
                    progress.epoch_done(row)
                    for line in course.remarks(row):
                        progress.say(line)
                keeper.after_round(due=due, ending=number is not None)
                if number is not None:
                    raise Interrupted(number)
    except (NonFinite, RanksDiffer) as error:
        raise type(error)(f"{error}; last good checkpoint: {keeper.last}") from error
    except Exception as error:
        if (lost := team().lost(error)) is not None:
            raise RankLost(f"{lost}; last good checkpoint: {keeper.last}") from error
        if not is_out_of_memory(error):
            raise
        # The frames of the failed round hold what it has computed so far, and the report needs memory, too.
        clear_frames(error.__traceback__)
        raise OutOfMemory(
            f"out of memory at {course.where}, with batches of {course.settings.batch_size} images and a peak of "
            f"{peak_memory(course.device) / 2**30:.1f} GiB; continue this run "
            f"{'' if saving else 'with --save-memory, or '}where there is more memory, or start a new one with "
            f"{course.smaller}; last good checkpoint: {keeper.last}"
        ) from error
    else:
        keeper.end()
    finally:
        progress.finish()
        with suppress(ValueError):  # a note; what matters has been saved, or has failed already
            folder.add_timing(
                course.phase,
                seconds=keeper.seconds(),
                rounds=course.rounds,
                peak_memory_bytes=peak_memory(course.device),
            )


def _note_kernels(course: Course, folder: RunFolder, *, say: Callable[[str], object]) -> None:
    """Have the folder know what computes; say so where that is something else than before."""
    now = what_computes(course.device)
    if now is not None and (before := folder.note_kernels(now)) not in (None, now):
        say(f"warning: kernels was {shown(before)}, is {shown(now)}: {LAST_BITS_DIFFER}")


def call_together(course: Course) -> None:
    """Have the other processes do the rest of a course together with this one."""
    order = {
        "what": course.phase,
        "config": course.config.to_toml(),
        "facts": course.facts(),
        "rounds": course.rounds,
    }
    team().order(order, device=course.device, settings=course.config.distributed)
    team().share(course.tensors())


def meet(course: Course, *, signal: int | None, due: bool) -> tuple[int | None, bool]:
    """After a round: the signal that came to any process, and whether the leading one wants to save.

    Where either is so, or an epoch ends, it then knows what all have counted. Raises RanksDiffer.
    """
    number, wanted = team().agree(signal or 0, int(due))
    if number or wanted or course.round_in_epoch == 0:
        course.pool()
    return number or None, bool(wanted)


def _recall(course: Course, folder: RunFolder) -> None:
    """Have a course that goes on know what it has remarked on already."""
    with suppress(ValueError):  # in a damaged file; then something may be said twice
        for _, row in read_rows(folder.path):
            if row.name("kind") in course.row_kinds:
                course.remarks(dict(row.values))


class Keeper:
    """Decides when a course is saved, and what happens where the disk does not take it."""

    def __init__(
        self,
        course: Course,
        *,
        origin: Origin,
        folder: RunFolder,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.course, self.origin, self.folder, self.say, self.clock = course, origin, folder, say, clock
        self.settings: CheckpointConfig = origin.config.checkpoint
        self.store: Checkpoints = folder.checkpoints(course.phase, keep=self.settings.keep)
        self.last: Path | None = None
        """The newest good checkpoint."""
        self.failures = 0
        self._rounds_tried = 0
        self._started = self._time_tried = clock()
        self._seconds_before = 0.0

    def begin(self) -> None:
        """Bring the course to its newest checkpoint; without one, write the first.

        Raises ValueError for checkpoints of another origin or damaged ones, or a disk without room.
        """
        try:
            self._begin()
        except OSError as error:
            raise CannotWrite(
                f"cannot work in {self.folder.path}: {error.strerror or error}; nothing was computed"
            ) from error
        # A course without rounds may have ended here before.
        if self.course.rounds == 0 and not set(self.course.row_kinds) & set(self.folder.metrics.kinds()):
            self.log(self.course.opening_rows())

    def _begin(self) -> None:
        self.store.tidy()
        found = self.store.newest(say=self.say)
        if found is None:
            if lost := [kind for kind in self.folder.metrics.kinds() if kind in self.course.row_kinds]:
                raise ValueError(
                    f"{self.folder.metrics.path} has rows of kind {lost[0]!r}, but {self.store.home} has no checkpoint "
                    f"of the {self.course.phase}; restore it from a copy, or start anew with --overwrite"
                )
            self._check_room()
            self._save()
        else:
            path, snapshot = found
            values = Fields.of(snapshot.values, where=str(path))
            self.origin.check(values)
            self.course.load(snapshot.tensors, rounds=values.integer("rounds"))
            self.folder.metrics.cut(values.integer("metrics_bytes"), sha256=values.text("metrics_sha256"))
            self._seconds_before = values.number("seconds")
            self.last, self._rounds_tried = path, self.course.rounds
            self.say(f"{self.course.phase}: going on from {path}")

    def log(self, rows: list[Row]) -> None:
        """Write rows into metrics.jsonl; those that the disk does not take now wait for the next checkpoint."""
        for row in rows:
            try:
                self.folder.log(row)
            except FolderGone:  # it does not come back
                raise
            except CannotWrite as error:
                self.say(f"warning: {error}; trying again")

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        if self.clock() - self._time_tried >= 60 * self.settings.minutes:
            return True
        rounds = self.settings.rounds
        return rounds is not None and self.course.rounds - self._rounds_tried >= rounds

    def after_round(self, *, due: bool, ending: bool) -> None:
        """Save if it is time to, or the run is ending. Raises CannotWrite after three failures in a row."""
        if not (due or ending):
            return
        try:
            self._save()
        except FolderGone:
            raise
        except CannotWrite as error:
            self.failures += 1
            if self.failures >= MOST_FAILURES or self.course.rounds == self.course.total_rounds:
                raise
            self.say(f"warning: {error}; " + ("stopping without it" if ending else "going on, trying again"))

    def end(self) -> None:
        """Save the end of the course. Raises CannotWrite."""
        self._save()

    def seconds(self) -> float:
        """Wall time spent on the course, by the processes before this one too."""
        return round(self._seconds_before + self.clock() - self._started, 3)

    def _save(self) -> None:
        rounds = self.course.rounds
        self._rounds_tried, self._time_tried = rounds, self.clock()
        tensors = self.course.tensors()
        try:
            snapshot = Snapshot(
                tensors=tensors,
                values={
                    "phase": self.course.phase,
                    "rounds": rounds,
                    "seconds": self.seconds(),
                    "metrics_bytes": self.folder.metrics.flush(),
                    "metrics_sha256": self.folder.metrics.sha256,
                    **self.origin.as_values(),
                },
            )
            self.last = self.store.save(snapshot, rounds=rounds)
        except OSError as error:
            raise CannotWrite(
                f"cannot write a checkpoint into {self.store.home}: {error.strerror or error}; it needs "
                f"{_num_bytes(tensors):,} bytes; last good checkpoint: {self.last}"
            ) from error
        self.failures = 0

    def _check_room(self) -> None:
        # At its start a course has no momentum yet: as much again as the network's parameters.
        need = ROOM * 2 * _num_bytes(self.course.tensors())
        free = shutil.disk_usage(self.folder.path).free
        if free < need:
            raise CannotWrite(
                f"{self.folder.path} has room for {free:,} bytes, and {ROOM} checkpoints of the {self.course.phase} "
                f"need {need:,}; make room, or choose another place with --runs"
            )


def _num_bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
