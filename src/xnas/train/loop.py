"""The training loop. It can be interrupted at any step and resumes bit for bit.

Between steps it saves: every few minutes or steps, after a signal, and at the end. A process that is killed loses the
steps since its last checkpoint; they are done again, in the same way.
"""

import logging
from contextlib import closing, suppress
from traceback import clear_frames

from xnas.io.errors import Interrupted, NonFinite, OutOfMemory, RankLost, RanksDiffer
from xnas.io.text import short_repr
from xnas.runs.callbacks import Callback, PhaseInfo
from xnas.runs.folder import RunFolder
from xnas.runs.history import read_history
from xnas.runs.signals import StopRequest
from xnas.train.checkpointing import CheckpointManager, ResumeKey
from xnas.train.device import LAST_BITS_DIFFER, prepare_kernels, what_computes
from xnas.train.distributed import process_group
from xnas.train.memory import MemoryNotice, is_out_of_memory, peak_memory, reset_peak_memory
from xnas.train.trainer import Trainer

log = logging.getLogger(__name__)


def fit(
    trainer: Trainer, *, key: ResumeKey, folder: RunFolder, callback: Callback, stop_request: StopRequest
) -> None:
    """Train from the newest checkpoint in `folder`, or the start, to the end.

    Every rank calls it, rank 0 reads and writes the folder. Raises ValueError if the checkpoints are of other settings
    or all damaged, Interrupted after a signal to any rank, NonFinite where the numbers break down, OutOfMemory,
    CannotWrite if the disk takes no checkpoint, RankLost if a rank is gone, RanksDiffer if one went another way.
    """
    group = process_group()
    reset_peak_memory(trainer.device)
    manager = CheckpointManager(trainer, key=key, folder=folder)

    def begin() -> int:
        manager.begin()
        _replay_warnings(trainer, folder)
        return trainer.step

    step = group.from_main(begin)
    prepare_kernels(trainer.device, check=stop_request.check)
    _start_together(trainer, step, folder=folder)
    stop_request.check()  # that may have taken long
    saving = trainer.config.activation_checkpointing
    lighter = trainer.memory_hints if saving else f"--activation-checkpointing, {trainer.memory_hints}"
    notice = MemoryNotice(trainer.device, remedies=lighter)
    try:
        callback.start(
            PhaseInfo(
                name=trainer.phase,
                epochs=trainer.epochs,
                steps_per_epoch=trainer.steps_per_epoch,
                steps_done=trainer.step,
                groups=trainer.groups(),
                multiply_adds=trainer.full_multiply_adds,
            )
        )
        with closing(trainer.remaining_batches()) as stream:
            for batches in stream:
                epoch, kind = trainer.epochs_done + 1, trainer.step_kind
                rows = trainer.training_step(*batches)
                if group.is_main:
                    manager.log(rows)
                    callback.step_done(
                        epoch=epoch,
                        step_in_epoch=trainer.step_in_epoch or trainer.steps_per_epoch,
                        values={"train loss": trainer.meters["train"].loss},
                    )
                    notice.after_step(kind, epoch_ends=trainer.step_in_epoch == 0)
                due = group.is_main and manager.due
                number, due = sync_after_step(trainer, signal=stop_request.number, due=due)
                if group.is_main:
                    if trainer.step_in_epoch == 0:
                        ended = trainer.epoch_row()
                        manager.log([ended])
                        callback.epoch_done(ended)
                        for line in trainer.warnings(ended):
                            log.warning(line)
                    manager.after_step(due=due, ending=number is not None)
                if number is not None:
                    raise Interrupted(number)
        if group.is_main:
            manager.end()
    except (NonFinite, RanksDiffer) as error:
        raise type(error)(f"{error}; last good checkpoint: {manager.last}") from error
    except Exception as error:
        if (lost := group.diagnose_loss(error)) is not None:
            if isinstance(lost, RankLost) and group.is_main:
                lost = RankLost(f"{lost}; last good checkpoint: {manager.last}", exit_code=lost.exit_code)
            raise lost from error
        if not is_out_of_memory(error):
            raise
        # The frames of the failed step hold what it has computed so far, and the report needs memory, too.
        clear_frames(error.__traceback__)
        raise OutOfMemory(
            f"out of memory at {trainer.where}, with batches of {trainer.settings.batch_size} images and a peak of "
            f"{peak_memory(trainer.device) / 2**30:.1f} GiB; continue this run "
            f"{'' if saving else 'with --activation-checkpointing, or '}where there is more memory, or start a new one "
            f"with {trainer.memory_hints}; last good checkpoint: {manager.last}"
        ) from error
    finally:
        callback.finish()
        if group.is_main:
            with suppress(ValueError):  # a note; what matters has been saved, or has failed already
                folder.add_timing(
                    trainer.phase,
                    seconds=manager.seconds(),
                    steps=trainer.step,
                    peak_memory_bytes=peak_memory(trainer.device),
                )


def _start_together(trainer: Trainer, step: int, *, folder: RunFolder) -> None:
    """Bring every rank to the state of rank 0, and note which kernels compute.

    Raises ValueError on every rank if one has other images, or another architecture, than rank 0.
    """
    group = process_group()
    kernels = what_computes(trainer.device)
    ranks = group.all_gather_object({"kernels": kernels, **trainer.fingerprints()})
    for rank, found in enumerate(ranks):
        if different := [name for name in trainer.fingerprints() if found[name] != ranks[0][name]]:
            raise ValueError(
                f"{different[0]} of rank {rank} differ from those of rank 0; give all ranks the same"
            )
    if group.is_main:
        if kernels is not None and (before := folder.note_kernels(kernels)) not in (None, kernels):
            log.warning(f"kernels was {short_repr(before)}, is {short_repr(kernels)}: {LAST_BITS_DIFFER}")
        for rank, found in enumerate(ranks):
            if found["kernels"] != kernels:
                log.warning(f"rank {rank} computes with other kernels: {short_repr(found['kernels'])}")
    if group.size > 1:
        group.init_process_group(trainer.config.distributed, trainer.device)
        state = group.broadcast_tensors(trainer.state_dict() if group.is_main else {})
        if not group.is_main:
            trainer.load_state_dict(state, step=step)


def sync_after_step(trainer: Trainer, *, signal: int | None, due: bool) -> tuple[int | None, bool]:
    """Return the signal that came to any rank, and whether rank 0 wants to save, after a step.

    Reduces the meters if either is so or an epoch has ended. Raises RanksDiffer.
    """
    number, wanted = process_group().all_reduce_max(signal or 0, int(due))
    if number or wanted or trainer.step_in_epoch == 0:
        trainer.reduce_meters()
    return number or None, bool(wanted)


def _replay_warnings(trainer: Trainer, folder: RunFolder) -> None:
    """Have a resumed trainer know which warnings it has given."""
    with suppress(ValueError):  # in a damaged file; then a warning may come twice
        for epoch in read_history(folder.path).search:
            trainer.warnings(epoch)
