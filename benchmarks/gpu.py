"""The search round on a CUDA device, plain against ours: time by events, memory by torch's allocator, kernels launched.

    python -m benchmarks gpu [--bfloat16] [--compile]

With --bfloat16 both run under autocast, with --compile ours goes through torch.compile. Each set of flags has a result
file of its own.
"""

import time
from collections.abc import Callable, Mapping

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.figure import Figure
from benchmarks.options import Options
from benchmarks.rounds import fast_search, plain_search, setting_of

LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")
"""How the calls begin that a profile shows where the processor launches something on the device."""
UNIT = "plain / fast"
Task = Callable[[], object]


def measure(options: Options) -> list[Figure]:
    """The figures of the first CUDA device; none where there is no device, which it says."""
    if not torch.cuda.is_available():
        print("  no CUDA device is there: nothing measured")
        return []
    return figures_of("cuda", options)


def figures_of(device: str, options: Options) -> list[Figure]:
    """Times of both passes in turn, then peaks and launches; on a processor, times alone."""
    setting = setting_of(options.small)
    plain = plain_search(setting, device=device, bfloat16=options.bfloat16)
    fast = fast_search(setting, device=device, bfloat16=options.bfloat16, compiled=options.compile)
    tasks = {
        "plain weight": plain.weight,
        "plain reward": plain.reward,
        "fast weight": fast.weight,
        "fast reward": fast.reward,
    }
    seconds = in_turn_on(device, tasks, n=options.repeats(20), warm_up=1 if options.small else 3)
    for kind in ("plain", "fast"):
        both = zip(seconds[f"{kind} weight"], seconds[f"{kind} reward"], strict=True)
        seconds[f"{kind} round"] = [weight + reward for weight, reward in both]
    figures = [
        Figure(
            name=f"time of a {_called(part)} on the device",
            values=tuple(
                a / b for a, b in zip(seconds[f"plain {part}"], seconds[f"fast {part}"], strict=True)
            ),
            unit=UNIT,
            better="more",
        )
        for part in ("round", "weight", "reward")
    ]
    figures += [
        Figure(name=f"{name} on the device", values=tuple(1e3 * v for v in values), unit="ms", better="less")
        for name, values in seconds.items()
    ]
    if device == "cpu":
        return figures
    for name, unit, found in (
        (
            "peak memory of a round on the device",
            "MiB",
            [peak(task) / 2**20 for task in (plain.round, fast.round)],
        ),
        (
            "kernels launched in a round",
            "launches",
            [float(launches(task)) for task in (plain.round, fast.round)],
        ),
    ):
        figures.append(Figure(name=name, values=(found[0] / found[1],), unit=UNIT, better="more"))
        for kind, value in zip(("plain", "fast"), found, strict=True):
            figures.append(Figure(name=f"{name}, {kind}", values=(value,), unit=unit, better="less"))
    return figures


def in_turn_on(device: str, tasks: Mapping[str, Task], *, n: int, warm_up: int) -> dict[str, list[float]]:
    """Seconds of each task over `n` rounds, in which every task runs once, after `warm_up` that do not count."""
    clock = _seconds_by_events if device == "cuda" else _seconds
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(-warm_up, n):
        for name, task in tasks.items():
            taken = clock(task)
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def _seconds_by_events(task: Task) -> float:
    """From the first kernel's start to the last one's end: what is launched too late shows as time, too."""
    started, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    started.record()
    task()
    ended.record()
    torch.cuda.synchronize()
    return float(started.elapsed_time(ended)) / 1e3


def _seconds(task: Task) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def peak(task: Task) -> int:
    """Bytes that a task allocates at most on the device, beyond what is held before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    task()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - held


def launches(task: Task) -> int:
    """Kernels and graphs of kernels that a task launches."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        task()
        torch.cuda.synchronize()
    return sum(event.count for event in seen.key_averages() if event.key.startswith(LAUNCHES))


def _called(part: str) -> str:
    return part if part == "round" else f"{part} pass"
