"""The picture of the wipeout: when experts go, what that saves, and what a relaxed threshold costs."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xnas.report.figures.style import GROUPS, MUTED, house_style
from xnas.theory.demonstration import Numbers
from xnas.theory.panels import PERCENT, head, legend, logarithmic, note, sheet

_LOOKS = (("clear lead", GROUPS[0], "o"), ("close race", GROUPS[1], "s"), ("late bloomer", GROUPS[3], "D"))
_SHOWN = ((1.0, "-", 2.2), (0.25, "-", 1.3), (0.03, "-", 0.7))
"""zeta whose survivors are drawn, with the width of the line."""


def draw_wipeout(numbers: Numbers) -> Figure:
    """Experts alive over time, then what is saved, lost and paid by zeta."""
    with house_style():
        figure, (alive, saved, lost, regret) = sheet(2, 2, foot=0.5)
        _draw_alive(alive, numbers)
        _draw_by_zeta(saved, numbers, "saved", spread="saved_10_50_90")
        head(saved, "What is saved", x="relaxation ζ", y="expert-rounds not computed")
        saved.yaxis.set_major_formatter(PERCENT)
        saved.set_ylim(0, 1)
        _draw_by_zeta(lost, numbers, "lost", spread="lost_95")
        head(
            lost, f"How often the best in hindsight is lost (n = {numbers['n']} each)",
            x="relaxation ζ", y="share of games",
        )  # fmt: skip
        lost.yaxis.set_major_formatter(PERCENT)
        lost.set_ylim(-0.02, 1.03)
        _draw_by_zeta(regret, numbers, "regret", spread="regret_10_50_90")
        bound = numbers["settings"]["bound"]
        regret.axhline(bound, color=MUTED, lw=0.8, ls=(0, (1, 2)))
        note(regret, "bound (equation 4)", (1.0, bound + 10))
        head(
            regret,
            "What is paid: regret against the true best",
            x="relaxation ζ",
            y=f"regret after {numbers['settings']['rounds']:,} rounds",
        )
        regret.set_ylim(0, 240)
        entries = [
            (f"{label}", Line2D([], [], color=colour, marker=marker, ms=4))
            for label, colour, marker in _LOOKS
        ]
        legend(figure, entries, place=(0.75, 0.2), columns=3)
        figure.text(
            0.53, 0.029, "bands: 80 % of the games; of the games lost, the 95 % interval (Wilson)",
            color=MUTED, fontsize=7.5,
        )  # fmt: skip
        return figure


def _draw_alive(axes: Axes, numbers: Numbers) -> None:
    experts = numbers["settings"]["experts"]
    for item in numbers["by_zeta"]:
        for zeta, dash, width in _SHOWN:
            if item["zeta"] == zeta:
                for (_, colour, _), found in zip(_LOOKS, item["by_kind"], strict=True):
                    alive = found["alive"]
                    axes.plot(
                        [i / (len(alive) - 1) for i in range(len(alive))],
                        alive,
                        color=colour,
                        ls=dash,
                        lw=width,
                    )
    axes.axvline(0.5, color=MUTED, lw=0.8, ls=(0, (1, 2)))
    head(
        axes, "Experts alive: ζ = 1 (thick lines), 0.25, 0.03 (thin)",
        x="rounds played, share of T", y="experts, mean of all games",
    )  # fmt: skip
    note(axes, "ζ = 1: nobody\ncan go before", (0.51, 0.4))
    axes.set_ylim(0, experts + 0.3)
    axes.xaxis.set_major_formatter(PERCENT)


def _draw_by_zeta(axes: Axes, numbers: Numbers, what: str, *, spread: str) -> None:
    zetas = [item["zeta"] for item in numbers["by_zeta"]]
    for kind, (_, colour, marker) in enumerate(_LOOKS):
        found = [item["by_kind"][kind] for item in numbers["by_zeta"]]
        low, high = [each[spread][0] for each in found], [each[spread][-1] for each in found]
        axes.fill_between(zetas, low, high, color=colour, alpha=0.12, lw=0)
        axes.plot(
            zetas, [each[what] for each in found], color=colour, marker=marker, ms=4, zorder=3, clip_on=False
        )
    logarithmic(axes, [0.003, 0.01, 0.03, 0.06, 0.12, 0.25, 0.5, 1])
    axes.set_xlim(1.12, 0.0027)
