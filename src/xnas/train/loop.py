"""Going along a course to its end, so that it can be broken off anywhere and taken up again bit for bit.

Between rounds it saves: every few minutes or rounds, after a signal, and at the end. What a process that is killed had
done since its last checkpoint is done again, in the same way.
"""

from collections.abc import Callable
from contextlib import closing, suppress
from traceback import clear_frames

from xnas.io.errors import Interrupted, NonFinite, OutOfMemory, RankLost, RanksDiffer
from xnas.io.text import short_repr
from xnas.runs.callbacks import Callback, PhaseInfo
from xnas.runs.folder import RunFolder
from xnas.runs.history import read_rows
from xnas.runs.signals import StopRequest
from xnas.train.checkpointing import CheckpointManager, ResumeKey
from xnas.train.device import LAST_BITS_DIFFER, prepare_kernels, what_computes
from xnas.train.distributed import process_group
from xnas.train.memory import MemoryNotice, forget_peak_memory, is_out_of_memory, peak_memory
from xnas.train.trainer import Trainer


def fit(
    course: Trainer, *, origin: ResumeKey, folder: RunFolder, progress: Callback, interrupt: StopRequest
) -> None:
    """Go from the newest checkpoint in `folder`, or the start, to the end.

    Raises ValueError if the checkpoints are of another origin or all damaged, Interrupted after a signal, NonFinite
    where the numbers break down, OutOfMemory, and CannotWrite if the disk takes no checkpoint. Where several processes
    work together the others do the same rounds (train/serve.py): RankLost if one goes, RanksDiffer if one goes astray.
    """
    forget_peak_memory(course.device)
    keeper = CheckpointManager(course, origin=origin, folder=folder, say=progress.say)
    keeper.begin()
    _replay_warnings(course, folder)
    prepare_kernels(course.device, say=progress.say, check=interrupt.check)
    _note_kernels(course, folder, say=progress.say)
    interrupt.check()  # that may have taken long
    saving = course.config.save_memory
    lighter = course.memory_hints if saving else f"--save-memory, {course.memory_hints}"
    notice = MemoryNotice(course.device, say=progress.say, remedies=lighter)
    try:
        progress.start(
            PhaseInfo(
                name=course.phase,
                epochs=course.epochs,
                rounds_per_epoch=course.rounds_per_epoch,
                rounds_done=course.rounds,
                groups=course.groups(),
                multiply_adds=course.full_multiply_adds,
            )
        )
        if process_group().size > 1 and course.rounds < course.total_rounds:
            broadcast_start(course)
        with closing(course.remaining_batches()) as stream:
            for batches in stream:
                epoch, kind = course.epochs_done + 1, course.kind_of_rounds
                keeper.log(course.round(*batches))
                progress.round_done(
                    epoch=epoch,
                    round_in_epoch=course.round_in_epoch or course.rounds_per_epoch,
                    values={"train loss": course.meters["train"].loss},
                )
                notice.after_round(kind, epoch_ends=course.round_in_epoch == 0)
                number, due = sync_after_step(course, signal=interrupt.number, due=keeper.due)
                if course.round_in_epoch == 0:
                    row = course.epoch_row()
                    keeper.log([row])
                    progress.epoch_done(row)
                    for line in course.warnings(row):
                        progress.say(line)
                keeper.after_round(due=due, ending=number is not None)
                if number is not None:
                    raise Interrupted(number)
    except (NonFinite, RanksDiffer) as error:
        raise type(error)(f"{error}; last good checkpoint: {keeper.last}") from error
    except Exception as error:
        if (lost := process_group().lost(error)) is not None:
            raise RankLost(f"{lost}; last good checkpoint: {keeper.last}") from error
        if not is_out_of_memory(error):
            raise
        # The frames of the failed round hold what it has computed so far, and the report needs memory, too.
        clear_frames(error.__traceback__)
        raise OutOfMemory(
            f"out of memory at {course.where}, with batches of {course.settings.batch_size} images and a peak of "
            f"{peak_memory(course.device) / 2**30:.1f} GiB; continue this run "
            f"{'' if saving else 'with --save-memory, or '}where there is more memory, or start a new one with "
            f"{course.memory_hints}; last good checkpoint: {keeper.last}"
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


def _note_kernels(course: Trainer, folder: RunFolder, *, say: Callable[[str], object]) -> None:
    """Have the folder know what computes; say so where that is something else than before."""
    now = what_computes(course.device)
    if now is not None and (before := folder.note_kernels(now)) not in (None, now):
        say(f"warning: kernels was {short_repr(before)}, is {short_repr(now)}: {LAST_BITS_DIFFER}")


def broadcast_start(course: Trainer) -> None:
    """Have the other processes do the rest of a course together with this one."""
    order = {
        "what": course.phase,
        "config": course.config.to_toml(),
        "facts": course.facts(),
        "rounds": course.rounds,
    }
    process_group().order(order, device=course.device, settings=course.config.distributed)
    process_group().broadcast_tensors(course.tensors())


def sync_after_step(course: Trainer, *, signal: int | None, due: bool) -> tuple[int | None, bool]:
    """After a round: the signal that came to any process, and whether the leading one wants to save.

    Where either is so, or an epoch ends, it then knows what all have counted. Raises RanksDiffer.
    """
    number, wanted = process_group().all_reduce_max(signal or 0, int(due))
    if number or wanted or course.round_in_epoch == 0:
        course.pool()
    return number or None, bool(wanted)


def _replay_warnings(course: Trainer, folder: RunFolder) -> None:
    """Have a course that goes on know what it has remarked on already."""
    with suppress(ValueError):  # in a damaged file; then something may be said twice
        for _, row in read_rows(folder.path):
            if row.name("kind") in course.row_kinds:
                course.warnings(dict(row.values))
