"""Going along a course to its end, so that it can be broken off anywhere and taken up again bit for bit.

Between steps it saves: every few minutes or steps, after a signal, and at the end. What a process that is killed had
done since its last checkpoint is done again, in the same way.
"""

import logging
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

log = logging.getLogger(__name__)


def fit(
    trainer: Trainer, *, origin: ResumeKey, folder: RunFolder, progress: Callback, interrupt: StopRequest
) -> None:
    """Go from the newest checkpoint in `folder`, or the start, to the end.

    Raises ValueError if the checkpoints are of another origin or all damaged, Interrupted after a signal, NonFinite
    where the numbers break down, OutOfMemory, and CannotWrite if the disk takes no checkpoint. Where several processes
    work together the others do the same steps (train/serve.py): RankLost if one goes, RanksDiffer if one goes astray.
    """
    forget_peak_memory(trainer.device)
    keeper = CheckpointManager(trainer, origin=origin, folder=folder)
    keeper.begin()
    _replay_warnings(trainer, folder)
    prepare_kernels(trainer.device, check=interrupt.check)
    _note_kernels(trainer, folder)
    interrupt.check()  # that may have taken long
    saving = trainer.config.activation_checkpointing
    lighter = trainer.memory_hints if saving else f"--activation-checkpointing, {trainer.memory_hints}"
    notice = MemoryNotice(trainer.device, remedies=lighter)
    try:
        progress.start(
            PhaseInfo(
                name=trainer.phase,
                epochs=trainer.epochs,
                steps_per_epoch=trainer.steps_per_epoch,
                steps_done=trainer.step,
                groups=trainer.groups(),
                multiply_adds=trainer.full_multiply_adds,
            )
        )
        if process_group().size > 1 and trainer.step < trainer.total_steps:
            broadcast_start(trainer)
        with closing(trainer.remaining_batches()) as stream:
            for batches in stream:
                epoch, kind = trainer.epochs_done + 1, trainer.step_kind
                keeper.log(trainer.training_step(*batches))
                progress.step_done(
                    epoch=epoch,
                    step_in_epoch=trainer.step_in_epoch or trainer.steps_per_epoch,
                    values={"train loss": trainer.meters["train"].loss},
                )
                notice.after_step(kind, epoch_ends=trainer.step_in_epoch == 0)
                number, due = sync_after_step(trainer, signal=interrupt.number, due=keeper.due)
                if trainer.step_in_epoch == 0:
                    row = trainer.epoch_row()
                    keeper.log([row])
                    progress.epoch_done(row)
                    for line in trainer.warnings(row):
                        log.warning(line)
                keeper.after_step(due=due, ending=number is not None)
                if number is not None:
                    raise Interrupted(number)
    except (NonFinite, RanksDiffer) as error:
        raise type(error)(f"{error}; last good checkpoint: {keeper.last}") from error
    except Exception as error:
        if (lost := process_group().lost(error)) is not None:
            raise RankLost(f"{lost}; last good checkpoint: {keeper.last}") from error
        if not is_out_of_memory(error):
            raise
        # The frames of the failed step hold what it has computed so far, and the report needs memory, too.
        clear_frames(error.__traceback__)
        raise OutOfMemory(
            f"out of memory at {trainer.where}, with batches of {trainer.settings.batch_size} images and a peak of "
            f"{peak_memory(trainer.device) / 2**30:.1f} GiB; continue this run "
            f"{'' if saving else 'with --activation-checkpointing, or '}where there is more memory, or start a new one "
            "with "
            f"{trainer.memory_hints}; last good checkpoint: {keeper.last}"
        ) from error
    else:
        keeper.end()
    finally:
        progress.finish()
        with suppress(ValueError):  # a note; what matters has been saved, or has failed already
            folder.add_timing(
                trainer.phase,
                seconds=keeper.seconds(),
                steps=trainer.step,
                peak_memory_bytes=peak_memory(trainer.device),
            )


def _note_kernels(trainer: Trainer, folder: RunFolder) -> None:
    """Have the folder know what computes; say so where that is something else than before."""
    now = what_computes(trainer.device)
    if now is not None and (before := folder.note_kernels(now)) not in (None, now):
        log.warning(f"kernels was {short_repr(before)}, is {short_repr(now)}: {LAST_BITS_DIFFER}")


def broadcast_start(trainer: Trainer) -> None:
    """Have the other processes do the rest of a course together with this one."""
    order = {
        "what": trainer.phase,
        "config": trainer.config.to_toml(),
        "facts": trainer.fingerprints(),
        "step": trainer.step,
    }
    process_group().order(order, device=trainer.device, settings=trainer.config.distributed)
    process_group().broadcast_tensors(trainer.state_dict())


def sync_after_step(trainer: Trainer, *, signal: int | None, due: bool) -> tuple[int | None, bool]:
    """After a step: the signal that came to any process, and whether the leading one wants to save.

    Where either is so, or an epoch ends, it then knows what all have counted. Raises RanksDiffer.
    """
    number, wanted = process_group().all_reduce_max(signal or 0, int(due))
    if number or wanted or trainer.step_in_epoch == 0:
        trainer.reduce_meters()
    return number or None, bool(wanted)


def _replay_warnings(trainer: Trainer, folder: RunFolder) -> None:
    """Have a course that goes on know what it has remarked on already."""
    with suppress(ValueError):  # in a damaged file; then something may be said twice
        for _, row in read_rows(folder.path):
            if row.name("kind") in trainer.row_kinds:
                trainer.warnings(dict(row.values))
