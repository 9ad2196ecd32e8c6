"""The picture of the late bloomers: one game, who finds the bloomer when, and at which price."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xnas.report.figures.style import GRID, INK, MUTED, house_style
from xnas.theory.contenders import CONTENDERS, Contender, at_eta, contender, step_words, tried
from xnas.theory.demonstration import Numbers
from xnas.theory.late_bloomers import least_zeta, shown
from xnas.theory.panels import PERCENT, head, legend, note, sheet, step_axis

_NEVER = 1.09
"""Height of the line for those that never take the lead."""
_PAPER_T = 25_000 * 50 * 6


def draw_late_bloomers(numbers: Numbers) -> Figure:
    """Six panels."""
    with house_style():
        figure, (game, nothing, penalty, price, steps, zeta) = sheet(3, 2, foot=0.95)
        _draw_game(game, numbers)
        _draw_leads(nothing, numbers, 0)
        _draw_leads(penalty, numbers, 1)
        _draw_price(price, numbers)
        _draw_steps(steps, numbers)
        _draw_zeta(zeta, numbers)
        legend(figure, _entries(numbers), place=(0.75, 0.12), columns=2)
        return figure


def _lines(numbers: Numbers) -> Iterator[tuple[Contender, Numbers, str]]:
    """What is drawn, and how: at the least regret whole, at eta* dashed, as in DARTS dotted; XNAS whole."""
    dashes = {"least regret": "-", "at η*": "--", "as in DARTS": ":"}
    for why, item in shown(numbers):
        yield contender(item["learner"]), item, "-" if item["learner"] == "xnas" else dashes[why]


def _entries(numbers: Numbers) -> Iterator[tuple[str, Line2D]]:
    whys = {
        "-": ": its least regret",
        "--": "",
        ":": f", {numbers['settings']['darts_rounds']:,} rounds: as in DARTS",
    }
    for each, item, dash in _lines(numbers):
        why = ": with any other it leads as soon" if each.name == "xnas" else whys[dash]
        yield f"{each.label}, {step_words(item)}{why}", Line2D([], [], color=each.colour, ls=dash)


def _draw_game(axes: Axes, numbers: Numbers) -> None:
    delay = numbers["settings"]["curve_delay"]
    for each, item, dash in _lines(numbers):
        points = item["curve"]
        axes.plot(
            [i / (len(points) - 1) for i in range(len(points))], points, color=each.colour, ls=dash, zorder=3
        )
    axes.axvline(delay, color=MUTED, lw=0.8, ls=(0, (1, 2)))
    head(
        axes, "One game: the bloomer pays nothing, then most",
        x="rounds played, share of T", y="weight u of the bloomer",
    )  # fmt: skip
    note(axes, "it blooms", (delay - 0.01, 0.98), ha="right")
    axes.set_ylim(-0.02, 1.05)
    axes.xaxis.set_major_formatter(PERCENT)


def _draw_leads(axes: Axes, numbers: Numbers, which: int) -> None:
    settings = numbers["settings"]
    delays, last = settings["delays"][which], settings["best_in_hindsight_below"][which]
    axes.axvspan(last, delays[-1] * 1.02, color=GRID, alpha=0.55, lw=0, zorder=0)
    for place, (each, item, dash) in enumerate(_lines(numbers)):
        since = item["by_pay"][which]["leads_from"]
        found = [(delay, first) for delay, first in zip(delays, since, strict=True) if first is not None]
        lost = [delay for delay, first in zip(delays, since, strict=True) if first is None]
        axes.plot(*zip(*found, strict=True), color=each.colour, ls=dash, zorder=3 + (each.name == "xnas"))
        axes.plot(*found[-1], color=each.colour, marker=each.marker, ms=4, zorder=5)
        if lost:
            height = _NEVER + 0.035 * place
            axes.plot([lost[0], delays[-1]], [height, height], color=each.colour, ls=dash, lw=1.3)
    pays = "nothing" if settings["pays"][which] == 0 else f"{settings['pays'][which]:g}"
    head(
        axes, f"When the bloomer takes the lead for good (pays {pays} at first)",
        x="delay before it blooms, share of T", y="it leads from this share of T on",
    )  # fmt: skip
    axes.axhline(1.03, color=MUTED, lw=0.6)
    axes.set_ylim(0, 1.36)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1, 1.2], ["0 %", "25 %", "50 %", "75 %", "100 %", "never"])
    axes.set_xlim(0, delays[-1] * 1.02)
    axes.xaxis.set_major_formatter(PERCENT)
    note(axes, "grey: not the best in hindsight", (last * 0.985, 0.07), ha="right")


def _draw_price(axes: Axes, numbers: Numbers) -> None:
    for each in CONTENDERS:
        points = [(item["mean_regret"], item["found_of_due"]) for item in tried(numbers, each.name)]
        axes.plot(
            *zip(*points, strict=True),
            color=each.colour,
            marker=each.marker,
            ms=4,
            lw=1,
            zorder=3,
            clip_on=False,
        )
        if each.name != "adam":
            axes.plot(
                *_spot(at_eta(numbers, each.name)), color=each.colour, marker="o", ms=10, mfc="none", zorder=4
            )
    darts = numbers["adam_as_darts"]
    axes.plot(*_spot(darts), color=contender("adam").colour, marker="*", ms=9, zorder=4)
    head(
        axes, "The price: every step size, all delays together",
        x="mean regret per round", y="bloomers found, of those that are best",
    )  # fmt: skip
    axes.set_ylim(0, 1.05)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(PERCENT)
    note(axes, "ring: η*   star: DARTS' own", (0.01, 0.04))


def _spot(item: Numbers) -> tuple[float, float]:
    return item["mean_regret"], item["found_of_due"]


def _draw_steps(axes: Axes, numbers: Numbers) -> None:
    rounds = numbers["settings"]["rounds"]
    for each in CONTENDERS:
        points = [
            (item["steps_of_eta"], item["by_pay"][0]["longest_delay_found"])
            for item in tried(numbers, each.name)
        ]
        axes.plot(*zip(*points, strict=True), color=each.colour, marker=each.marker, ms=4, zorder=3)
    head(
        axes, "The longest delay that is made good (pays nothing at first)",
        x="step size, multiples of η*", y="longest delay, share of T",
    )  # fmt: skip
    step_axis(axes)
    axes.set_ylim(0, 0.82)
    axes.yaxis.set_major_formatter(PERCENT)
    paper = (_PAPER_T / rounds) ** 0.5
    axes.axvline(paper, color=MUTED, lw=0.8, ls=(0, (1, 2)))
    words = f"gradient descent\nwith η* at the\npaper's T acts as\nit does here\nat {paper:.0f} η*"
    note(axes, words, (paper * 0.93, 0.49), ha="right")


def _draw_zeta(axes: Axes, numbers: Numbers) -> None:
    settings = numbers["settings"]
    colour = contender("xnas").colour
    for which, (pays, dash) in enumerate(zip(settings["pays"], ("-", "--"), strict=True)):
        last = settings["best_in_hindsight_below"][which]
        delays = [last * i / 200 for i in range(1, 201)]
        axes.plot(delays, [least_zeta(delay, pays=pays) for delay in delays], color=colour, ls=dash)
        dots = [(item["longest_delay_found"][which], item["zeta"]) for item in numbers["xnas_by_zeta"]]
        axes.plot(
            *zip(*dots, strict=True), color=colour, ls="", marker="o", ms=4, mfc="none" if which else colour
        )
        axes.plot([last, last], [least_zeta(last, pays=pays), 1], color=colour, ls=dash)
        said = "nothing" if pays == 0 else f"{pays:g}"
        note(axes, f"pays {said}\nat first", (last + 0.01, 0.85), colour=INK)
    note(axes, "right of it, it is wiped\nout before it blooms", (0.53, 0.06))
    note(
        axes,
        "left of its line the\nbloomer is found\n(line: worked out,\ndots: played)",
        (0.03, 0.7),
        colour=colour,
    )
    head(
        axes, "XNAS with a relaxed wipeout: the ζ that a late bloomer needs",
        x="delay before it blooms, share of T", y="relaxation ζ of the wipeout",
    )  # fmt: skip
    axes.set_ylim(0, 1.03)
    axes.set_xlim(0, 0.9)
    axes.xaxis.set_major_formatter(PERCENT)
