# ruff: noqa: RUF001
"""The picture of the initial weights: who ends at the best expert, from which start, at which step size."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xnas.report.figures.style import MUTED, house_style
from xnas.theory.contenders import CONTENDERS, Contender, contender, step_words, tried
from xnas.theory.demonstration import Numbers
from xnas.theory.initialisation import shown
from xnas.theory.panels import PERCENT, head, legend, logarithmic, note, sheet, step_axis


def draw_initialisation(numbers: Numbers) -> Figure:
    """A panel for each noise, and one for the step sizes."""
    with house_style():
        sigmas = numbers["settings"]["sigmas"]
        figure, axes = sheet(2, 2, foot=0.25)
        for which in range(len(sigmas)):
            _draw_starts(axes[which], numbers, which)
        _draw_steps(axes[2], numbers)
        axes[3].set_axis_off()
        legend(figure, _entries(numbers), place=(6.0, 2.95), loc="upper left")
        note(axes[3], "bands: 95 % intervals of the shares (Wilson)", (0.02, 0.2))
        return figure


def _lines(numbers: Numbers) -> Iterator[tuple[Contender, Numbers, str]]:
    """What is drawn, and how: at eta* dashed, where most runs end at the best whole."""
    for why, item in shown(numbers):
        yield contender(item["learner"]), item, "--" if why == "at η*" else "-"


def _entries(numbers: Numbers) -> Iterator[tuple[str, Line2D]]:
    for each, item, dash in _lines(numbers):
        why = "" if dash == "--" else ": finds most of all its step sizes"
        line = Line2D([], [], color=each.colour, ls=dash, marker=each.marker, ms=4)
        yield f"{each.label}, {step_words(item)}{why}", line


def _draw_starts(axes: Axes, numbers: Numbers, which: int) -> None:
    settings = numbers["settings"]
    for each, item, dash in _lines(numbers):
        low, high = zip(*item["interval_95"][which], strict=True)
        axes.fill_between(settings["v0s"], low, high, color=each.colour, alpha=0.1, lw=0)
        wide = each.name == "xnas"  # it shares its place with Adam, and lies below
        axes.plot(
            settings["v0s"], item["found"][which], color=each.colour, ls=dash, marker=each.marker, clip_on=False,
            ms=7 if wide else 3.5, lw=3 if wide and dash == "-" else 1.5, zorder=3,
        )  # fmt: skip
    enough = settings["v0_that_xnas_makes_good"][which]
    if enough > settings["v0s"][0]:
        axes.axvline(enough, color=MUTED, lw=0.8, ls=(0, (1, 2)))
        words = "dotted: to the right of it,\nη* T times the lead is more\nthan XNAS lacks at first"
        note(axes, words, (3e-5, 0.25))
    head(
        axes, f"Runs that end at the best expert, noise σ = {settings['sigmas'][which]:g} (n = {numbers['n']})",
        x="initial weight v₀ of the best expert; the others have 1", y="share of runs",
    )  # fmt: skip
    logarithmic(axes, settings["v0s"])
    axes.set_ylim(-0.02, 1.05)
    axes.yaxis.set_major_formatter(PERCENT)


def _draw_steps(axes: Axes, numbers: Numbers) -> None:
    for each in CONTENDERS:
        points = [(item["steps_of_eta"], item["mean_found"]) for item in tried(numbers, each.name)]
        axes.plot(
            *zip(*points, strict=True), color=each.colour, marker=each.marker, ms=4, zorder=3, clip_on=False
        )
    head(
        axes, "Every step size: mean of all v₀ and both noises",
        x="step size, multiples of η*", y="share of runs that end at the best",
    )  # fmt: skip
    step_axis(axes)
    axes.set_ylim(-0.02, 1.05)
    axes.yaxis.set_major_formatter(PERCENT)
