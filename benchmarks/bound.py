"""The least time of a search round on this machine, part by part, and the share of it that is reached: docs/speed.md.

A part takes at least the time to move its bytes at the copy bandwidth, and at least that of its multiply-adds at the
rate of a matrix product. Part after part these add up; if all ran at once it would be the larger of the two sums.
"""

from functools import reduce

from benchmarks.figure import Figure
from benchmarks.machine import COPY, PRODUCT, UNITS, probes, rate_figure
from benchmarks.options import Options
from benchmarks.rounds import fast_search, plain_search, setting_of
from benchmarks.timing import in_turn
from benchmarks.traffic import Parts, Work, pass_work
from xnas.space.darts.supernet import Supernet


def least_seconds(work: Work, *, bandwidth: float, multiply_rate: float) -> float:
    """Of a part, with bytes and multiply-adds per second."""
    return max(work.num_bytes / bandwidth, work.multiply_adds / multiply_rate)


def measure(options: Options) -> list[Figure]:
    """The machine's rates and both rounds in turn, so that a share has both from the same moment."""
    setting = setting_of(options.small)
    plain, fast = plain_search(setting), fast_search(setting)
    assert isinstance(fast.model, Supernet)
    passes = {
        "weight": pass_work(fast.model, setting, learns=True),
        "reward": pass_work(fast.model, setting, learns=False),
    }
    whole: Parts = {
        part: work + passes["reward"].get(part, Work()) for part, work in passes["weight"].items()
    }
    machine = {name: probe for name, probe in probes(small=options.small).items() if name in (COPY, PRODUCT)}
    tasks = {
        "plain weight": plain.weight,
        "plain reward": plain.reward,
        "fast weight": fast.weight,
        "fast reward": fast.reward,
    }
    timings = in_turn({name: probe.task for name, probe in machine.items()} | tasks, n=options.repeats(3))
    rates = {name: probe.rates(timings[name]) for name, probe in machine.items()}

    def least(parts: Parts) -> tuple[float, ...]:
        """Seconds of one part after the other, at the rates of each repetition."""
        return tuple(
            sum(least_seconds(work, bandwidth=copy, multiply_rate=product) for work in parts.values())
            for copy, product in zip(rates[COPY], rates[PRODUCT], strict=True)
        )

    figures = [rate_figure(name, values, unit=UNITS[name]) for name, values in rates.items()]
    for part, work in whole.items():
        figures.append(_milliseconds(f"least time of {part}, {_words(work)}", least({part: work})))
    bounds = {name: least(parts) for name, parts in (passes | {"round": whole}).items()}
    for name, seconds in bounds.items():
        figures.append(_milliseconds(f"least time of a {_called(name)}, part after part", seconds))
    total = reduce(Work.__add__, whole.values())
    figures.append(
        _milliseconds(f"least time of a round, all at once, {_words(total)}", least({"all": total}))
    )
    for kind in ("plain", "fast"):
        timings[f"{kind} round"] = timings[f"{kind} weight"] + timings[f"{kind} reward"]
        for name, seconds in bounds.items():
            wall = timings[f"{kind} {name}"].wall
            figures.append(
                Figure(
                    name=f"least time of a {_called(name)} over {kind}",
                    values=tuple(100 * a / b for a, b in zip(seconds, wall, strict=True)),
                    unit="%",
                    better="more",
                )
            )
    return figures


def _called(name: str) -> str:
    return name if name == "round" else f"{name} pass"


def _words(work: Work) -> str:
    return f"{work.num_bytes / 1e9:.2f} GB and {work.multiply_adds / 1e9:.2f} G multiply-adds"


def _milliseconds(name: str, seconds: tuple[float, ...]) -> Figure:
    return Figure(name=name, values=tuple(1e3 * value for value in seconds), unit="ms")
