"""Peak memory of a task, each in a process of its own: what one leaves behind must not count for the next.

    python -m benchmarks.memory CASE [--small] [--threads T]

prints as JSON how many bytes the case held at most, beyond what the process held before the case was built.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.figure import Better, Figure
from benchmarks.options import Options
from xnas.train.memory import peak_memory

CPU = torch.device("cpu")
ROUNDS = 2
"""The second has the optimizer's state, which the first makes."""

Task = Callable[[], object]


def cases() -> dict[str, Callable[[bool], Task]]:
    """What can be measured: each builds a task, given whether sizes are small."""
    from benchmarks.retrain_step import Step  # which measures memory by this file
    from benchmarks.rounds import fast_search, plain_search, setting_of

    return {
        "plain round": lambda small: plain_search(setting_of(small)).round,
        "fast round": lambda small: fast_search(setting_of(small)).round,
        "fast round, activation_checkpointing": lambda small: (
            fast_search(replace(setting_of(small), activation_checkpointing=True)).round
        ),
        "plain retraining step": lambda small: Step(small=small, plain=True).step,
        "our retraining step": lambda small: Step(small=small).step,
        "our retraining step, activation_checkpointing": lambda small: (
            Step(small=small, activation_checkpointing=True).step
        ),
    }


def peak_in_a_fresh_process(case: str, *, small: bool) -> int:
    """Bytes that a case holds at most beyond the start of its process, with as many threads as here."""
    command = [sys.executable, "-m", "benchmarks.memory", case, "--threads", str(torch.get_num_threads())]
    done = subprocess.run(
        [*command, *(["--small"] if small else [])],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the case {case!r} failed in its own process:\n{done.stderr}")
    return int(json.loads(done.stdout)["bytes"])


def peak_ratio(
    name: str,
    measured: Mapping[str, str],
    unit: str,
    options: Options,
    *,
    better: Better = "more",
    target: float | None = None,
) -> list[Figure]:
    """The peak of the first of two cases over that of the second, and both, under the names that they are shown by."""
    peaks = {shown: peak_in_a_fresh_process(case, small=options.small) for shown, case in measured.items()}
    above, below = peaks.values()
    return [
        Figure(
            name=f"peak memory of {name}, beyond the start",
            values=(above / below,),
            unit=unit,
            better=better,
            target=target,
        ),
        *(
            Figure(name=f"peak memory of {name}, {shown}", values=(held / 2**20,), unit="MiB", better="less")
            for shown, held in peaks.items()
        ),
    ]


def main() -> None:
    """The command line of the fresh process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("case", choices=cases())
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    build = cases()[given.case]
    before = peak_memory(CPU)
    task = build(given.small)
    for _ in range(ROUNDS):
        task()
    print(json.dumps({"case": given.case, "bytes": peak_memory(CPU) - before}))


if __name__ == "__main__":
    main()
