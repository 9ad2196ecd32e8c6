"""Runs one benchmark: says what it finds, and writes it down with what it was measured on."""

import datetime
import gc
import importlib
import time
from pathlib import Path

import torch

from benchmarks.options import Options
from benchmarks.results import BUSY, Result, write_result
from xnas.runs.environment import environment
from xnas.train.device import busy_cores, use_threads


def run(
    name: str, about: str, options: Options, *, threads: int | None, out: Path | None, command: str
) -> None:
    """Measure, print, and write into the folder `out` if there is one. `name` is a module of this package."""
    use_threads(threads)
    busy = busy_cores()
    print(f"{name}: {about}", flush=True)
    if busy >= BUSY:
        print(f"  other work keeps {busy:.1f} cores busy: times will be off", flush=True)
    started = time.perf_counter()
    figures = importlib.import_module(f"benchmarks.{name}").measure(options)
    for figure in figures:
        print(f"  {figure}")
    print(f"  took {time.perf_counter() - started:.0f} s", flush=True)
    gc.collect()  # supernets hold references in circles; the next benchmark shall not pay for them
    if out is None or not figures:
        return
    device = torch.device("cuda" if name == "gpu" else "cpu")
    where = environment(device)
    del where["command"]  # it is this file's; `command` says it better
    result = Result(
        benchmark=name + options.variant if name == "gpu" else name,
        about=about,
        figures=tuple(figures),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        command=command,
        small=options.small,
        busy_cores=round(busy, 2),
        environment=where,
    )
    print(f"  written to {write_result(result, out)}", flush=True)
