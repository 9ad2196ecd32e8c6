# ruff: noqa: RUF001
"""The picture of regret against selection: a panel for each noise, a curve over step sizes for each learner."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xnas.report.figures.style import INK, MUTED, house_style
from xnas.theory.contenders import CONTENDERS, step_words, tried
from xnas.theory.demonstration import Numbers
from xnas.theory.panels import PERCENT, head, legend, note, sheet


def draw_regret_selection(numbers: Numbers) -> Figure:
    """A panel for each noise; the last place is the legend's."""
    with house_style():
        figure, axes = sheet(2, 2)
        for which in range(len(numbers["settings"]["sigmas"])):
            _draw_noise(axes[which], numbers, which)
        axes[3].set_axis_off()
        legend(figure, _entries(numbers), place=(6.0, 2.9), loc="upper left")
        words = "A curve joins the step sizes of a learner, from the\nsmallest to the largest. Better is up and left."
        note(axes[3], words, (0.02, 0.15))
        return figure


def _entries(numbers: Numbers) -> Iterator[tuple[str, Line2D]]:
    for each in CONTENDERS:
        first, *_, last = tried(numbers, each.name)
        line = Line2D([], [], color=each.colour, marker=each.marker, ms=4, lw=1)
        yield f"{each.label}, {step_words(first)} to {step_words(last).removeprefix('rate ')}", line
    yield "η*", Line2D([], [], color=MUTED, ls="", marker="o", ms=9, mfc="none")
    yield "the smallest step size", Line2D([], [], color=MUTED, ls="", marker="x", ms=7)
    bar = Line2D([], [], color=MUTED, ls="", marker="|", ms=9)
    yield "95 % interval of the rate (Wilson)", bar


def _draw_noise(axes: Axes, numbers: Numbers, which: int) -> None:
    settings = numbers["settings"]
    for each in CONTENDERS:
        games = tried(numbers, each.name)
        spots = [item["by_sigma"][which] for item in games]
        regrets = [spot["mean_regret"] for spot in spots]
        shares = [spot["picked_best"] for spot in spots]
        low = [spot["picked_best"] - spot["interval_95"][0] for spot in spots]
        high = [spot["interval_95"][1] - spot["picked_best"] for spot in spots]
        axes.errorbar(
            regrets, shares, yerr=(low, high), fmt="none", ecolor=each.colour, elinewidth=0.7, alpha=0.6
        )
        axes.plot(
            regrets, shares, color=each.colour, marker=each.marker, ms=4, lw=1,
            zorder=4 if each.name == "xnas" else 3,
        )  # fmt: skip
        axes.plot(regrets[0], shares[0], color=INK, marker="x", ms=7, mew=0.9, zorder=5)
        for item, regret, share in zip(games, regrets, shares, strict=True):
            if each.name != "adam" and item["steps_of_eta"] == 1:
                axes.plot(regret, share, color=each.colour, marker="o", ms=10, mfc="none", zorder=5)
    ceiling = numbers["best_mean_is_best_in_hindsight"][which]
    axes.axhline(ceiling, color=MUTED, lw=0.8, ls=(0, (1, 2)))
    axes.axhline(1 / settings["experts"], color=MUTED, lw=0.8, ls=(0, (1, 2)))
    note(axes, "by chance", (0.5, 1 / settings["experts"] - 0.04))
    if ceiling < 0.97:
        note(axes, "it is also the best in hindsight", (0.5, ceiling - 0.05))
    head(
        axes, f"Noise σ = {settings['sigmas'][which]:g}, lead of the best {settings['gap']:g} (n = {numbers['n']})",
        x=f"mean regret after {settings['rounds']:,} rounds", y="runs that pick the best expert",
    )  # fmt: skip
    axes.set_ylim(0, 1.05)
    axes.set_xlim(
        0, 1.05 * max(spot["mean_regret"] for item in numbers["played"] for spot in item["by_sigma"])
    )
    axes.yaxis.set_major_formatter(PERCENT)
