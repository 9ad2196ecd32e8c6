"""A bench in words: by which protocol, a line for each method, and who is ahead."""

from collections.abc import Mapping

from xnas.report.ranking import Score, aligned, ranking
from xnas.study.nasbench201.score import Bench, BenchmarkEntry, Summary
from xnas.study.nasbench201.table import DATA_SETS


def protocol(bench: Bench) -> str:
    """How the numbers came about, whatever they are."""
    source = DATA_SETS.get(bench.source, bench.source)
    line = (
        f"Searched on training images of {source}, one search for each method and seed; the cells that they ended "
        f"with were looked up in {bench.table}: test accuracy in per cent after 200 epochs of training by the "
        "benchmark, mean over its own trainings of each cell. All runs count, none is chosen."
    )
    if bench.source != "cifar10":
        line += f" The benchmark's protocol is to search on CIFAR-10; {source} is another."
    return line


def format_bench(bench: Bench) -> str:
    """The table for a terminal, below what it says of itself, and above what it means."""
    table = aligned([head(bench), *(line(bench, entry) for entry in bench.entries)])
    return "\n".join((protocol(bench), "", *table, "", notes(bench), verdict(bench), *bench.missing))


def head(bench: Bench) -> tuple[str, ...]:
    """Names of the columns of `line`, the table's optimum in brackets."""
    best = {key: f"{name} ({getattr(bench.best, key):.2f})" for key, name in DATA_SETS.items()}
    return (
        "method",
        best["cifar10"],
        "worst",
        best["cifar100"],
        best["imagenet16_120"],
        "n",
        "skips",
        "minutes",
        "memory",
        other_title(bench),
        "worst",
    )


def other_title(bench: Bench) -> str:
    """Of the derivation that is not the result."""
    return "none barred" if bench.choose_none else "none allowed"


def line(bench: Bench, entry: BenchmarkEntry) -> tuple[str, ...]:
    """An method as text, below `head`."""
    found: Mapping[str, Summary] = entry.by_none.get(bench.choose_none, {})
    other: Mapping[str, Summary] = entry.by_none.get(not bench.choose_none, {})
    return (
        entry.method,
        accuracy_text(found.get("cifar10")),
        worst_text(found.get("cifar10")),
        accuracy_text(found.get("cifar100")),
        accuracy_text(found.get("imagenet16_120")),
        str(entry.n),
        "" if entry.skips is None else f"{entry.skips:.1f}",
        "" if entry.seconds is None else f"{entry.seconds / 60:.1f}",
        "" if entry.peak_memory_bytes is None else f"{entry.peak_memory_bytes / 2**30:.2f} GiB",
        accuracy_text(other.get("cifar10")),
        worst_text(other.get("cifar10")),
    )


def accuracy_text(summary: Summary | None) -> str:
    """Such as "94.22 ± 0.13"; without a spread where there is none."""
    if summary is None:
        return ""
    return f"{summary.mean:.2f}" + ("" if summary.spread is None else f" ± {summary.spread:.2f}")


def worst_text(summary: Summary | None) -> str:
    """Such as "94.05"; empty for none."""
    return "" if summary is None else f"{summary.worst:.2f}"


def notes(bench: Bench) -> str:
    """What the columns mean."""
    may, other = ("may", "may not") if bench.choose_none else ("may not", "may")
    return (
        "Mean ± sample standard deviation over n seeds, the lowest of them as worst, and the table's optimum in "
        f"brackets. Edges {may} end with none (space.choose_none); the last two columns are CIFAR-10 of the same "
        f"searches where they {other}. Skips are of six edges; minutes and memory of one search, means."
    )


def verdict(bench: Bench) -> str:
    """Who has the highest mean on CIFAR-10."""
    standings = []
    for entry in bench.entries:
        if found := entry.by_none.get(bench.choose_none):
            summary = found["cifar10"]
            standings.append(Score(name=entry.method, mean=summary.mean, spread=summary.spread, n=summary.n))
    return ranking(standings, what="accuracy on CIFAR-10")
