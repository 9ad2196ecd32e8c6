"""Numbers that are not finite, memory that is not there: the run stops before anything is spoiled, and can go on."""

import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from xnas import DataSet, RunFolder, SearchTrainer
from xnas.cli import main
from xnas.io.errors import NonFinite, OutOfMemory
from xnas.optimizers.base import mixture_gradients
from xnas.runs.checkpoint import read_checkpoint
from xnas.train.build import resolve_stems
from xnas.train.retrain import RetrainTrainer, fit_retrain
from xnas.train.trainer import Trainer

from ..helpers.outcomes import differing, outcome
from ..helpers.smallest_run import CPU, run_job, run_search, smallest

VALUES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
BAD = [1, 5]
"""The samples of a batch that are spoiled."""
KINDS = ("loss", "gradient", "validation loss", "reward")


def spoil(trainer: Trainer, kind: str, value: float, *, after: int, patch: pytest.MonkeyPatch) -> None:
    """Let a number of the round after `after` rounds not be finite."""

    def cross_entropy(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        if trainer.step != after:
            return F.cross_entropy(logits, labels, reduction=reduction)
        losses_B = F.cross_entropy(logits, labels, reduction="none").index_fill(0, torch.tensor(BAD), value)
        return losses_B if reduction == "none" else losses_B.mean()

    def gradients(*given: Any, **named: Any) -> Tensor:
        gradients_RBEK = mixture_gradients(*given, **named)
        if trainer.step == after:
            gradients_RBEK[0, BAD, -1, 0] = -value
        return gradients_RBEK

    match kind:
        case "loss":
            for module in ("trainer", "retrain"):
                patch.setattr(f"xnas.train.{module}.F", SimpleNamespace(cross_entropy=cross_entropy))
        case "validation loss":
            patch.setattr("xnas.train.search.F", SimpleNamespace(cross_entropy=cross_entropy))
        case "reward":
            patch.setattr("xnas.optimizers.base.mixture_gradients", gradients)
        case "gradient":
            next(trainer.network.parameters()).register_hook(
                lambda gradient: torch.full_like(gradient, value) if trainer.step == after else gradient
            )


def changed(trainer: Trainer, checkpoint: Path, *parts: str) -> list[str]:
    """What of a course is not as it was saved."""
    saved, now = read_checkpoint(checkpoint).tensors, trainer.state_dict()
    parameters = {f"network/{name}" for name, _ in trainer.network.named_parameters()}
    names = [
        name
        for name in saved
        if name.startswith(parts) and (name in parameters or not name.startswith("network/"))
    ]
    assert names
    return [name for name in names if not torch.equal(saved[name], now[name])]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_number_of_a_search_that_is_not_finite_stops_it_before_the_update(
    kind: str, value: str, data: DataSet, tmp_path: Path
) -> None:
    config = smallest('[search]\nfeedback = "sample"\nreward_bound = 1.0')
    run = tmp_path / "run"
    trainer = SearchTrainer(config, data, device=CPU)
    train, validation = next(trainer.epoch_batches(2))
    checkpoint = run / "checkpoints" / "search-0000000002"
    with pytest.MonkeyPatch.context() as patch:
        spoil(trainer, kind, VALUES[value], after=2, patch=patch)
        with pytest.raises(NonFinite) as stop:
            run_search(config, data, run, trainer=trainer)
    named = {"gradient": "gradient norm", "reward": "reward in group 'normal'"}.get(kind, kind)
    shown = value if kind != "gradient" else "(nan|inf)"
    batch = train if kind in ("loss", "gradient") else validation
    part = trainer.parts.train if batch is train else trainer.parts.validation
    places = [part.place(int(batch.ids_B[i])) for i in BAD]
    who = ", ".join(map(str, places)) if kind != "gradient" else r"(\d+, ){7}\d+ and 4 more"
    assert re.fullmatch(
        f"the {named} is {shown} at step 1 of search epoch 2, with the training images {who}, the first image "
        r"\d+ \(class '\w+'\); nothing was updated by it; "
        f"lower the learning rate, or look at the data; last good checkpoint: {checkpoint}",
        str(stop.value),
    )
    assert changed(trainer, checkpoint, "experts/") == []
    if batch is train:
        assert changed(trainer, checkpoint, "network/", "method.") == []
    run_search(config, data, run)
    run_search(config, data, tmp_path / "other")
    assert differing(outcome(run), outcome(tmp_path / "other")) == []


def test_where_a_feedback_is_a_batch_all_its_samples_are_named(data: DataSet, tmp_path: Path) -> None:
    config = smallest('[search]\nfeedback = "batch"')
    trainer = SearchTrainer(config, data, device=CPU)

    def gradients(*given: Any, **named: Any) -> Tensor:
        return mixture_gradients(*given, **named).fill_(math.inf)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xnas.optimizers.base.mixture_gradients", gradients)
        with pytest.raises(
            NonFinite, match=r"the reward in group 'normal' is -inf .*, with .* and 4 more, the first "
        ):
            run_search(config, data, tmp_path / "run", trainer=trainer)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_number_of_a_retraining_that_is_not_finite_stops_it_before_the_update(
    kind: str, value: str, data: DataSet, tmp_path: Path
) -> None:
    config, run = smallest(), tmp_path / "run"
    run_search(config, data, run)
    made: list[Trainer] = []
    with pytest.MonkeyPatch.context() as patch:

        def make(*given: Any, **named: Any) -> RetrainTrainer:
            trainer = RetrainTrainer(*given, **named)
            spoil(trainer, kind, VALUES[value], after=1, patch=patch)
            made.append(trainer)
            return trainer

        patch.setattr("xnas.train.retrain.RetrainTrainer", make)
        folder = RunFolder(run)
        with pytest.raises(
            NonFinite, match=r"the (loss|gradient norm) is (-?inf|nan) at step 1 of retrain epoch 2"
        ) as stop:
            fit_retrain(folder.genotype(), config, data, name="found", device=CPU, folder=folder)
    checkpoint = run / "checkpoints" / "retrain-0000000001"
    assert str(stop.value).endswith(f"; last good checkpoint: {checkpoint}")
    assert changed(made[0], checkpoint, "network/", "method.") == []
    run_job(config, data, run)
    run_job(config, data, tmp_path / "other")
    assert differing(outcome(run), outcome(tmp_path / "other")) == []


@pytest.mark.parametrize("saving", [False, True], ids=["", "saving already"])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("could not create a primitive"),
        MemoryError(),
    ],
    ids=["device", "CPU", "CPU's code", "Python"],
)
def test_out_of_memory_names_batch_peak_remedy_and_checkpoint_and_changes_no_setting(
    error: Exception, saving: bool, data: DataSet, tmp_path: Path
) -> None:
    config, run = smallest("activation_checkpointing = true" if saving else ""), tmp_path / "run"
    trainer = SearchTrainer(config, data, device=CPU)

    def fail(module: object, given: object) -> None:
        if trainer.step == 2:
            raise error

    trainer.network.register_forward_pre_hook(fail)
    with pytest.raises(
        OutOfMemory,
        match=r"out of memory at step 1 of search epoch 2, with batches of 12 images and a peak of \d+\.\d GiB; "
        f"continue this run {'' if saving else 'with --activation-checkpointing, or '}where there is more memory, "
        "or start a new "
        r"one with a smaller --search.batch-size or fewer --space.channels; last good checkpoint: "
        r".*/search-0000000002$",
    ):
        run_search(config, data, run, trainer=trainer)
    assert (run / "config.toml").read_text() == resolve_stems(config, data.image_shape).to_toml()
    run_search(config, data, run)
    run_search(config, data, tmp_path / "other")
    assert differing(outcome(run), outcome(tmp_path / "other")) == []


def test_another_error_is_not_taken_for_want_of_memory(data: DataSet, tmp_path: Path) -> None:
    trainer = SearchTrainer(smallest(), data, device=CPU)

    def fail(module: object, given: object) -> None:
        raise RuntimeError("shapes do not fit")

    trainer.network.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        run_search(smallest(), data, tmp_path / "run", trainer=trainer)


LIMITED = """
import resource, sys
from pathlib import Path
from xnas.cli import main
from xnas.train import context
open_data, more = context.open_data, int(sys.argv[1])
def load(*given, **named):
    data = open_data(*given, **named)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + more * 2**20, held + more * 2**20))
    return data
context.open_data = load
sys.exit(main(sys.argv[2:]))
"""
"""The command line, which has so many MiB and no more once it has read the images."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit of a process's memory")
@pytest.mark.parametrize(
    ("channels", "more", "said"),
    [
        (192, 150, r"out of memory at step 1 of search epoch 1, with batches of 30 images"),
        (192, 40, r"out of memory at step 1 of search epoch 1, with batches of 30 images"),
        (4096, 150, "out of memory: "),
    ],
)
def test_a_process_with_too_little_memory_ends_with_3(
    channels: int, more: int, said: str, words: list[str], tmp_path: Path
) -> None:
    words = [*words, "--search.batch-size", "30", "--space.channels", str(channels)]
    done = subprocess.run([sys.executable, "-c", LIMITED, str(more), *words], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    if channels == 192:
        run = tmp_path / "runs" / "mine"
        assert f"last good checkpoint: {run}/checkpoints/search-0000000000" in done.stderr
        # Pictures multiply matrices; where numpy's BLAS finds no memory then, it ends the process with 1.
        assert (run / "report.html").exists()
        assert main(words) == 0  # with the memory that there is
        assert "batch_size = 30" in (run / "config.toml").read_text()
