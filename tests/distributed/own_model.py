"""A process of an engineer's own program, in which several share every batch: tells what came of it.

Nothing of a sample's features depends on another's, and all is float64: one process with whole batches must come to the
same, to rounding.
"""

import hashlib
import json
import math
import os
import runpy
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from xnas.optimizers.base import ArchitectureOptimizer
from xnas.optimizers.registry import baseline
from xnas.optimizers.xnas import XNAS
from xnas.space.forecaster import Forecaster

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model_together.py"
BATCH, ROUNDS = 8, 14
NAMES = ("batch", "sample", "replica", "asap", "gdas", "darts-2nd", "gaea")


class Net(nn.Module):
    """Replicas, a choice within a choice, and blocks that a pass may leave out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)

        def twin() -> Forecaster:
            return Forecaster({"a": nn.Linear(4, 4), "b": nn.Tanh(), "c": nn.Identity()}, group="twins")

        self.first, self.second = twin(), twin()
        inner = Forecaster({"x": nn.Linear(4, 4), "y": nn.Tanh()})
        self.outer = Forecaster({"nest": nn.Sequential(nn.Linear(4, 4), inner), "id": nn.Identity()})
        self.head = nn.Linear(4, 3)
        self.skipped = False
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.second(torch.tanh(self.first(inputs)))
        if not self.skipped:
            features = self.outer(features)
        outputs: Tensor = self.head(features)
        return outputs


def build(name: str, model: nn.Module, sgd: torch.optim.SGD, **more: Any) -> ArchitectureOptimizer:
    if name in ("batch", "sample", "replica"):
        feedback: Any = name
        return XNAS(
            model,
            rounds=ROUNDS,
            batch_size=BATCH,
            feedback=feedback,
            reward_bound=None if name == "batch" else 0.2,
            zeta=0.5,
            weight_optimizer=sgd,
            **more,
        )
    return baseline(name)(model, rounds=ROUNDS, step_size=0.3, weight_optimizer=sgd, **more)


class Program:
    """A training loop with a search in it."""

    def __init__(self, name: str, *, rank: int, world: int, wrapped: bool, **more: Any) -> None:
        self.net = Net()
        self.model: nn.Module = self.net
        if world > 1:
            self.model = DistributedDataParallel(self.net, find_unused_parameters=True)
        self.part = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
        self.sgd = torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        self.optimizer = build(name, self.model if wrapped else self.net, self.sgd, **more)

    def losses(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(BATCH, 4, generator=generator, dtype=torch.float64)
        labels = torch.randint(3, (BATCH,), generator=generator)
        return F.cross_entropy(self.model(inputs[self.part]), labels[self.part], reduction="none")

    def round(self, seed: int) -> list[str]:
        self.sgd.zero_grad()
        self.losses(seed).mean().backward()
        self.sgd.step()
        self.optimizer.measure(lambda: self.losses(100 + seed), training=lambda: self.losses(seed))
        return [f"{gone.group}: {gone.expert}" for gone in self.optimizer.step()]

    def bits(self) -> str:
        digest = hashlib.sha256()
        for name, value in {**self.optimizer.state_dict(), **self.net.state_dict()}.items():
            digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()

    def told(self) -> dict[str, Any]:
        wiped = [gone for seed in range(ROUNDS) for gone in self.round(seed)]
        return {
            "wiped": wiped,
            "groups": list(self.optimizer.groups),
            "log_v": [self.optimizer.log_weights(group).tolist() for group in self.optimizer.groups],
            "feedbacks": [self.optimizer.learners[group].num_feedbacks for group in self.optimizer.groups],
            "bits": self.bits(),
            "stepped": sum(len(group["params"]) for group in self.sgd.param_groups),
            "left": len(list(self.net.parameters())),
        }


def line_of(call: Callable[[], object]) -> str:
    """What a call is refused with."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def mistakes(rank: int, world: int) -> dict[str, Any]:
    """What goes wrong on one process, or differs between them."""
    told: dict[str, Any] = {}
    for name in ("batch", "sample", "darts-2nd"):
        program = Program(name, rank=rank, world=world, wrapped=True)
        before = program.bits()

        def spoilt(seed: int = 0, program: Program = program) -> Tensor:
            losses_B = program.losses(seed)
            return losses_B * torch.tensor([1.0, *[math.nan] * (rank == 1), 1.0, 1.0, 1.0][: len(losses_B)])

        def raising(program: Program = program) -> Tensor:
            losses_B = program.losses(0)
            if rank == 1:
                raise KeyError("mine")
            return losses_B

        def fewer(program: Program = program) -> Tensor:
            return program.losses(0)[: 4 - rank]

        whole = program.losses
        told[name] = [
            line_of(lambda: program.optimizer.measure(bad, training=lambda: whole(1)))  # noqa: B023
            for bad in (spoilt, raising, fewer)
        ]
        told[f"{name} same"] = program.bits() == before
        program.round(0)
        told[f"{name} goes on"] = program.bits()
    odd = Program("gdas", rank=rank, world=world, wrapped=False, seed=rank)
    told["seeds"] = line_of(lambda: odd.optimizer.measure(lambda: odd.losses(0)))
    wrapped = DistributedDataParallel(Net())
    told["unused"] = line_of(lambda: build("sample", wrapped, torch.optim.SGD(wrapped.parameters())))
    told["all used"] = line_of(lambda: build("gaea", wrapped, torch.optim.SGD(wrapped.parameters())))
    return told


def has_unused_parameters(rank: int, world: int) -> list[Any]:
    """Passes that skip a choice on one process only, or on all."""
    told = []
    for name in ("batch", "sample"):
        program = Program(name, rank=rank, world=world, wrapped=False)
        for seed, skips in enumerate([(True, False), (True, True), (False, True)]):
            program.net.skipped = skips[rank % 2] if world > 1 else skips[0] and skips[1]
            program.optimizer.measure(lambda: program.losses(seed))  # noqa: B023
            program.optimizer.step()
        told.append([program.optimizer.learners[group].num_feedbacks for group in program.optimizer.groups])
        told.append(program.bits())
    return told


def alone(rank: int, world: int) -> list[str]:
    """Processes that each search by themselves."""
    groups = [dist.new_group([i]) for i in range(world)]
    net = Net()
    optimizer = build("batch", net, torch.optim.SGD(net.parameters()), process_group=groups[rank])
    inputs = torch.full((BATCH, 4), 1.0 + rank, dtype=torch.float64)
    optimizer.measure(lambda: net(inputs).square().sum(dim=1))
    optimizer.step()
    return [str(optimizer.log_weights(group).tolist()) for group in optimizer.groups]


def main(folder: str) -> None:
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    told: dict[str, Any] = {
        f"{name}, {'wrapped' if wrapped else 'bare'}": Program(
            name, rank=rank, world=world, wrapped=wrapped
        ).told()
        for name in NAMES
        for wrapped in ((True, False) if world > 1 else (False,))
    }
    if world > 1:
        told |= {
            "mistakes": mistakes(rank, world),
            "uneven": has_unused_parameters(rank, world),
            "alone": alone(rank, world),
        }
        told["example"] = runpy.run_path(str(EXAMPLE))["search"](rounds=4, batch_size=20)
        dist.destroy_process_group()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
