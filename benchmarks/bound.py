"""The least time of a search round on this machine, part by part, and the share of it that is reached: docs/speed.md.

A part takes at least the time to move its bytes at the copy bandwidth, and at least that of its multiply-adds at the
rate of a matrix product. Part after part these add up; if all ran at once it would be the larger of the two sums.
"""

from functools import reduce

from benchmarks.figure import Figure
from benchmarks.machine import rates
from benchmarks.options import Options
from benchmarks.rounds import fast_search, plain_search, setting_of
from benchmarks.timing import in_turn
from benchmarks.traffic import Parts, Work, pass_work
from xnas.space.supernet import Supernet


def least_seconds(work: Work, *, bandwidth: float, multiply_rate: float) -> float:
    """Of a part, with bytes and multiply-adds per second."""
    return max(work.num_bytes / bandwidth, work.multiply_adds / multiply_rate)


def measure(options: Options) -> list[Figure]:
    """The machine's rates, the least times that they give, and both rounds in turn."""
    setting = setting_of(options.small)
    plain, fast = plain_search(setting), fast_search(setting)
    assert isinstance(fast.model, Supernet)
    passes = {
        "weight": pass_work(fast.model, setting, learns=True),
        "reward": pass_work(fast.model, setting, learns=False),
    }
    found = rates(n=options.repeats(10), small=options.small)
    copy = Figure(name="copy bandwidth", values=tuple(v / 1e9 for v in found.copied), unit="GB/s")
    product = Figure(
        name="matrix rate", values=tuple(v / 1e9 for v in found.multiplied), unit="G multiply-adds/s"
    )

    def least(work: Work) -> float:
        return least_seconds(work, bandwidth=1e9 * copy.value, multiply_rate=1e9 * product.value)

    whole: Parts = {
        part: passes["weight"].get(part, Work()) + passes["reward"].get(part, Work())
        for part in passes["weight"]
    }
    figures = [copy, product]
    for part, work in whole.items():
        figures.append(_milliseconds(f"least time of {part}, {_words(work)}", least(work)))
    total = reduce(Work.__add__, whole.values())
    bounds = {name: sum(map(least, parts.values())) for name, parts in passes.items()}
    bounds["round"] = sum(map(least, whole.values()))
    for name, seconds in bounds.items():
        figures.append(_milliseconds(f"least time of a {_called(name)}, part after part", seconds))
    figures.append(_milliseconds(f"least time of a round, all at once, {_words(total)}", least(total)))
    tasks = {
        "plain weight": plain.weight,
        "plain reward": plain.reward,
        "fast weight": fast.weight,
        "fast reward": fast.reward,
    }
    timings = in_turn(tasks, n=options.repeats(3))
    for kind in ("plain", "fast"):
        timings[f"{kind} round"] = timings[f"{kind} weight"] + timings[f"{kind} reward"]
        for name, seconds in bounds.items():
            shares = tuple(100 * seconds / value for value in timings[f"{kind} {name}"].wall)
            figures.append(
                Figure(
                    name=f"share of the least time that the {kind} {_called(name)} reaches", values=shares,
                    unit="%", better="more",
                )
            )  # fmt: skip
    return figures


def _called(name: str) -> str:
    return name if name == "round" else f"{name} pass"


def _words(work: Work) -> str:
    return f"{work.num_bytes / 1e9:.2f} GB and {work.multiply_adds / 1e9:.2f} G multiply-adds"


def _milliseconds(name: str, seconds: float) -> Figure:
    return Figure(name=name, values=(1e3 * seconds,), unit="ms")
