"""A round of the search with all experts alive, plain against ours: time and memory."""

from benchmarks.figure import Figure
from benchmarks.memory import peak_ratio
from benchmarks.options import Options
from benchmarks.rounds import fast_search, plain_search, setting_of
from benchmarks.timing import in_turn, milliseconds, time_ratio

UNIT = "plain / fast"


def measure(options: Options) -> list[Figure]:
    """Both passes of both, in turn; then the peaks of fresh processes."""
    setting = setting_of(options.small)
    plain, fast = plain_search(setting), fast_search(setting)
    tasks = {
        "plain weight": plain.weight,
        "plain reward": plain.reward,
        "fast weight": fast.weight,
        "fast reward": fast.reward,
    }
    timings = in_turn(tasks, n=options.repeats(5))
    for kind in ("plain", "fast"):
        timings[f"{kind} round"] = timings[f"{kind} weight"] + timings[f"{kind} reward"]
    figures = []
    for part, target in (("round", 5), ("weight", None), ("reward", 6)):
        name = "time of a round" if part == "round" else f"time of the {part} pass"
        above, below = timings[f"plain {part}"], timings[f"fast {part}"]
        figures.append(time_ratio(name, UNIT, above, below, better="more", target=target))
    figures += [milliseconds(name, timing) for name, timing in timings.items()]
    figures += peak_ratio("a round", {"plain": "plain round", "fast": "fast round"}, UNIT, options, target=2)
    return figures
