"""What the processes of one search tell each other in a round: bytes by purpose, and the time of two against one.

    python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.communication [--small]

prints as JSON what rank 0 of a search has given to collective operations in a round, and how long its rounds took.
"""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.data_share import coloured_images
from benchmarks.figure import Figure
from benchmarks.options import Options
from xnas import Config, SearchTrainer
from xnas.train.distributed import ProcessGroup, init_distributed, process_group, shutdown
from xnas.train.launch import launched

WARM_UP, ROUNDS = 2, 5
SPACES = {
    "default supernet, batch 32, feedback per batch": "batch",
    "the same, feedback per sample": "sample",
}


def measure(options: Options) -> list[Figure]:
    """Bytes and times of two processes with a core each, against one."""
    figures = []
    for name, feedback in list(SPACES.items())[: 1 if options.small else None]:
        together, alone = (told(processes, feedback, small=options.small) for processes in (2, 1))
        for purpose, count in together["bytes"].items():
            figures.append(Figure(name=f"{purpose}, {name}", values=(count / 2**10,), unit="KiB a round"))
        ratios = tuple(one / two for one, two in zip(alone["seconds"], together["seconds"], strict=True))
        figures.append(
            Figure(
                name=f"one process over two, a core each, {name}",
                values=ratios,
                unit="one / two",
                better="more",
            )
        )
    return figures


def told(processes: int, feedback: str, *, small: bool) -> dict:
    """What rank 0 of so many processes says."""
    words = ["-m", "benchmarks.communication", feedback, *(["--small"] if small else [])]
    if processes > 1:
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *words]
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{processes} processes failed:\n{done.stderr}")
    answer: dict = json.loads(done.stdout.splitlines()[-1])
    return answer


def main(feedback: str, *, small: bool) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    config = Config()
    config = replace(
        config,
        # The whole supernet to the end: in so few rounds most experts would leave.
        search=replace(
            config.search, batch_size=32, feedback=feedback, reward_bound=1.0, epochs=1, wipeout=False
        ),
    )
    if small:
        config = replace(config, space=replace(config.space, channels=4, cells=3, nodes=2))
    launch = launched()
    if launch is not None:
        init_distributed(launch).init_process_group(config.distributed, torch.device("cpu"))
    trainer = SearchTrainer(config, coloured_images(32 * 2 * (WARM_UP + ROUNDS)), device=torch.device("cpu"))
    seconds: list[float] = []
    started = time.perf_counter()
    for batches in trainer.remaining_batches():
        trainer.training_step(*batches)
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    ranks = process_group()
    count = {
        "gradients": sum(weight.numel() * weight.element_size() for weight in trainer.network.parameters())
    }
    if isinstance(ranks, ProcessGroup):
        count |= {name: size // len(seconds) for name, size in ranks.traffic.items()}
    if ranks.is_main:
        print(json.dumps({"bytes": count, "seconds": seconds[WARM_UP:]}))
    shutdown()


if __name__ == "__main__":
    main(sys.argv[1], small="--small" in sys.argv[2:])
