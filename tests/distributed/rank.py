"""The command line as one rank of several. Rank 1 may be odd, as ODD says; no rank but 0 may touch the folder RUNS."""

import os
import sys
from typing import Any

import torch

from xnas.cli import main
from xnas.data.images import DataSet
from xnas.kernels import build
from xnas.optimizers import xnas
from xnas.train import context, device
from xnas.train.launch import launched
from xnas.train.search import SearchTrainer

ODD = os.environ.get("ODD", "")


def other_rewards() -> None:
    """The experts of this rank learn from other rewards than all the others, once."""
    update, count = xnas.update_experts, 0

    def otherwise(before: Any, rewards_FEK: torch.Tensor, **more: Any) -> Any:
        nonlocal count
        count += 1
        return update(before, -rewards_FEK if count == 3 else rewards_FEK, **more)

    xnas.update_experts = otherwise


def dies_once() -> None:
    """This rank is killed in a step, unless torchrun has started it again."""
    step = SearchTrainer.training_step

    def training_step(trainer: SearchTrainer, *batches: Any) -> Any:
        if trainer.step == 3:
            os.kill(os.getpid(), 9)
        return step(trainer, *batches)

    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        SearchTrainer.training_step = training_step  # type: ignore[method-assign]


def other_images() -> None:
    """This rank has other images on its disk."""
    DataSet.fingerprint = lambda data: "other"  # type: ignore[method-assign]


def no_images() -> None:
    """This rank has none."""

    def missing(*words: Any, **values: Any) -> DataSet:
        raise ValueError("there are no images on this machine")

    context.build_dataset = missing


def no_numbers() -> None:
    """What the supernet computes on this rank are no numbers."""
    logits = SearchTrainer.logits
    SearchTrainer.logits = lambda *words: logits(*words) * torch.nan  # type: ignore[method-assign]


def no_kernels() -> None:
    """This rank has no compiler."""
    build.missing = lambda: "no C++ compiler"
    device.kernels.version = lambda: None


def stopped_compiling() -> None:
    """A signal comes to this rank while kernels are compiled."""

    def interrupted(*, check: Any, **values: Any) -> None:
        os.kill(os.getpid(), 15)
        check()

    device.kernels.prepare = interrupted


def keep_out(event: str, words: tuple[Any, ...]) -> None:
    """Refuse whatever touches the folder of runs."""
    if event.startswith(("open", "os.", "shutil.")) and any(
        isinstance(word, str | os.PathLike) and os.fspath(word).startswith(os.environ["RUNS"])
        for word in words
    ):
        raise AssertionError(f"{event} of {words}")


if __name__ == "__main__":
    launch = launched()
    assert launch is not None
    if launch.rank == 1 and ODD:
        globals()[ODD]()
    if launch.rank > 0 and "RUNS" in os.environ:
        sys.addaudithook(keep_out)
    sys.exit(main(sys.argv[1:]))
