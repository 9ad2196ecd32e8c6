"""The picture of weight decay: figure 2, what it costs in choices, and what plays its part in XNAS."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xnas.report.figures.style import MUTED, house_style
from xnas.theory.contenders import contender
from xnas.theory.demonstration import Numbers
from xnas.theory.panels import PERCENT, head, legend, logarithmic, note, sheet

_NONE = 2e-6
"""Where no decay is put on the logarithmic axis."""
_RED = "#c62828"
_DASHES = ("-", "--", ":")
_FITTING = 3.0
"""L over the rewards' standard deviation, of the level of XNAS that is drawn beside Adam."""


def draw_weight_decay(numbers: Numbers) -> Figure:
    """Entropy by decay, choices by decay, and entropy by L."""
    with house_style():
        figure, (entropy, choices, bound, words) = sheet(2, 2, foot=0.0)
        _draw_entropy(entropy, numbers)
        _draw_choices(choices, numbers)
        _draw_bound(bound, numbers)
        words.set_axis_off()
        scales = numbers["settings"]["scales"]
        adam = contender("adam").colour
        entries = [
            (f"Adam, mean rewards spread by {scale:g}", Line2D([], [], color=adam, ls=dash))
            for scale, dash in zip(scales, _DASHES, strict=False)
        ]
        decay = numbers["settings"]["darts_decay"]
        entries.append((f"DARTS' decay, {decay:g}", Line2D([], [], color=_RED, ls="", marker="o", ms=5)))
        entries.append(
            ("XNAS without wipeout", Line2D([], [], color=contender("xnas").colour, marker="o", ms=4))
        )
        legend(figure, entries, place=(6.0, 2.9), loc="upper left")
        note(words, "XNAS with wipeout ends with one expert: entropy 0", (0.02, 0.3))
        return figure


def fitting(numbers: Numbers) -> Numbers:
    """XNAS with an L that fits the rewards."""
    return min(numbers["xnas"], key=lambda item: abs(item["bound_over_reward"] - _FITTING))


def _draw_entropy(axes: Axes, numbers: Numbers) -> None:
    settings = numbers["settings"]
    for scale, dash in zip(settings["scales"], _DASHES, strict=False):
        places = [item["decay_over_scale"] * scale or _NONE for item in numbers["adam"]]
        values = [item["mean_normalised_entropy"] for item in numbers["adam"]]
        low, high = zip(*(item["forecasters_10_to_90"] for item in numbers["adam"]), strict=True)
        if dash == "-":
            axes.fill_between(places, low, high, color=contender("adam").colour, alpha=0.1, lw=0)
        axes.plot(places, values, color=contender("adam").colour, ls=dash, zorder=3)
        for place, value in zip(places, values, strict=True):
            if abs(place / settings["darts_decay"] - 1) < 1e-6:
                axes.plot(place, value, color=_RED, marker="o", ms=5, zorder=5)
    level = fitting(numbers)
    axes.axhline(level["mean_normalised_entropy"], color=contender("xnas").colour, zorder=2)
    note(
        axes, f"XNAS has no decay (L = {level['bound_over_reward']:g} standard\ndeviations of a reward)",
        (_NONE, level["mean_normalised_entropy"] + 0.09), colour=contender("xnas").colour,
    )  # fmt: skip
    head(
        axes, f"More decay, less of a choice: {settings['forecasters']} forecasters x n = {numbers['n']} searches",
        x="weight decay of Adam", y="mean normalised entropy",
    )  # fmt: skip
    _decay_axis(axes)
    axes.set_ylim(0, 1.05)
    note(axes, "band: 80 % of the forecasters", (1.0, 0.5), ha="right")


def _draw_choices(axes: Axes, numbers: Numbers) -> None:
    settings = numbers["settings"]
    for scale, dash in zip(settings["scales"], _DASHES, strict=False):
        places = [item["decay_over_scale"] * scale or _NONE for item in numbers["adam"]]
        values = [item["best_leads"] for item in numbers["adam"]]
        axes.plot(places, values, color=contender("adam").colour, ls=dash, zorder=3)
        for place, value in zip(places, values, strict=True):
            if abs(place / settings["darts_decay"] - 1) < 1e-6:
                axes.plot(place, value, color=_RED, marker="o", ms=5, zorder=5)
    axes.axhline(fitting(numbers)["best_leads"], color=contender("xnas").colour, zorder=2)
    axes.axhline(1 / settings["experts"], color=MUTED, lw=0.8, ls=(0, (1, 2)))
    note(axes, "by chance", (_NONE, 1 / settings["experts"] + 0.05))
    head(
        axes, "Choices suffer later: forecasters led by the best expert",
        x="weight decay of Adam", y="share of forecasters",
    )  # fmt: skip
    _decay_axis(axes)
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_formatter(PERCENT)


def _draw_bound(axes: Axes, numbers: Numbers) -> None:
    places = [item["bound_over_reward"] for item in numbers["xnas"]]
    values = [item["mean_normalised_entropy"] for item in numbers["xnas"]]
    low, high = zip(*(item["forecasters_10_to_90"] for item in numbers["xnas"]), strict=True)
    colour = contender("xnas").colour
    axes.fill_between(places, low, high, color=colour, alpha=0.1, lw=0)
    axes.plot(places, values, color=colour, marker="o", ms=4, zorder=3)
    head(
        axes, "What does the same to XNAS: a reward bound L far too large",
        x="L, in standard deviations of a reward", y="mean normalised entropy",
    )  # fmt: skip
    logarithmic(axes, places)
    axes.set_ylim(0, 1.05)


def _decay_axis(axes: Axes) -> None:
    logarithmic(axes, [_NONE, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1], words={_NONE: "none"})
