"""Late bloomers (section 3.2.1): the best expert pays nothing, or a penalty, for a time, and then most of all.

Nothing is drawn by chance. Of N experts one, the bloomer, pays `pays` until the delay has passed and 1 after it; one
pays a steady 0.25; the others pay nothing. In hindsight the bloomer is the best if the delay is a share of T below
(1 - 0.25) / (1 - pays).

A learner has found the bloomer if its weight is the largest at the end. D: delays.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from xnas.experts.step_size import optimal_step_size
from xnas.optimizers.learner import Learner
from xnas.report.figures.style import GRID, INK, MUTED, house_style
from xnas.theory.contenders import (
    CONTENDERS,
    DARTS_RATE,
    DARTS_ROUNDS,
    Contender,
    Name,
    at_eta,
    build_learner,
    contender,
    step_words,
    tournament,
    tried,
)
from xnas.theory.demonstration import Demonstration, Numbers, Table, rounded, share_text
from xnas.theory.game import Rewards, check_counts, play
from xnas.theory.panels import PERCENT, head, legend, note, sheet, step_axis

log = logging.getLogger(__name__)

BLOOMER, STEADY = 0, 1
"""Their places among the experts."""

STEADY_REWARD = 0.25


@dataclass(frozen=True, kw_only=True)
class Blooming:
    """The games that are played. Delays are shares of T."""

    experts: int = 8
    rounds: int = 1000
    darts_rounds: int = DARTS_ROUNDS
    """Of the games that Adam plays at DARTS' own rate and length."""
    curve_delay: float = 0.5
    """Of the game whose weights are kept round by round."""
    delays_by_pay: tuple[tuple[float, tuple[float, ...]], ...] = (
        (0.0, (*(i / 20 for i in range(15)), 0.74, 0.76, 0.8)),
        (-1.0, (*(i / 40 for i in range(15)), 0.37, 0.38, 0.4)),
    )
    """What the bloomer pays at first, and the delays."""
    zetas: tuple[float, ...] = (1.0, 0.375, 0.25, 0.18, 0.12, 0.06, 0.03)

    def __post_init__(self) -> None:
        check_counts(experts=self.experts, rounds=min(self.rounds, self.darts_rounds))
        if self.curve_delay not in dict(self.delays_by_pay).get(0.0, ()):
            raise ValueError(f"curve_delay must be one of the delays without pay; got {self.curve_delay}")


def last_delay(pays: float) -> float:
    """The share of T from which on the bloomer is not the best in hindsight any more."""
    return (1 - STEADY_REWARD) / (1 - pays)


def least_zeta(delay: float, *, pays: float) -> float:
    """The smallest zeta with which XNAS keeps the bloomer until it blooms, while that still makes it the best.

    At the delay D the steady expert leads by (0.25 - pays) D T, and goes on to 2 (1 - D) T zeta (line 12).
    """
    return (STEADY_REWARD - pays) * delay / (2 * (1 - delay))


def play_late_bloomers(
    seeds: int, *, games: Blooming | None = None, contenders: Sequence[Contender] = CONTENDERS
) -> Numbers:
    """All contenders with all step sizes, then XNAS with smaller zeta."""
    del seeds  # nothing is drawn by chance
    games = games or Blooming()
    pairs = [(pays, delay) for pays, delays in games.delays_by_pay for delay in delays]
    pays_D, delays_D = torch.tensor(pairs, dtype=torch.float64).unbind(dim=1)
    eta = optimal_step_size(games.experts, horizon=games.rounds)
    played = []
    for each, step_size, learner in tournament(
        contenders, games=len(delays_D), experts=games.experts, rounds=games.rounds
    ):
        found = _play(learner, games, delays_D, pays_D, rounds=games.rounds)
        played.append(
            {"learner": each.name, "step_size": step_size, "steps_of_eta": step_size / eta, **found}
        )
    darts = build_learner(
        "adam", games=len(delays_D), experts=games.experts, rounds=games.darts_rounds, step_size=DARTS_RATE
    )
    log.info(f"Adam at DARTS' own rate and length: {games.darts_rounds:,} rounds")
    as_darts = _play(darts, games, delays_D, pays_D, rounds=games.darts_rounds)
    kept = []
    for zeta in games.zetas:
        learner = build_learner(
            "xnas", games=len(delays_D), experts=games.experts, rounds=games.rounds, step_size=eta, zeta=zeta
        )
        by_pay = _play(learner, games, delays_D, pays_D, rounds=games.rounds)["by_pay"]
        kept.append({"zeta": zeta, "longest_delay_found": [item["longest_delay_found"] for item in by_pay]})
    return rounded(
        {
            "settings": {
                "experts": games.experts,
                "rounds": games.rounds,
                "eta": eta,
                "steady_reward": STEADY_REWARD,
                "pays": [pays for pays, _ in games.delays_by_pay],
                "delays": [list(delays) for _, delays in games.delays_by_pay],
                "best_in_hindsight_below": [last_delay(pays) for pays, _ in games.delays_by_pay],
                "curve_delay": games.curve_delay,
                "darts_rounds": games.darts_rounds,
            },
            "n": 1,
            "played": played,
            "adam_as_darts": {"learner": "adam", "step_size": DARTS_RATE, **as_darts},
            "xnas_by_zeta": kept,
        }
    )


def least_regret(numbers: Numbers, learner: Name) -> Numbers:
    """The step size of a learner that had the least regret in the mean of all games."""
    return min(tried(numbers, learner), key=lambda item: item["mean_regret"])


def shown(numbers: Numbers) -> Iterator[tuple[str, Numbers]]:
    """The games that are drawn and tabled, and why: at eta*, at the least regret, and at DARTS' own rate."""
    for each in CONTENDERS:
        if each.name != "adam":
            yield "at η*", at_eta(numbers, each.name)
        if each.name != "xnas":
            yield "least regret", least_regret(numbers, each.name)
    yield "as in DARTS", numbers["adam_as_darts"]


def table_late_bloomers(numbers: Numbers) -> Table:
    """Regret, bloomers found, and the longest delays that were made good."""
    head = ["learner", "step size", "mean regret per round", "bloomers found"]
    head += [f"longest delay (pays {pays:g})" for pays in numbers["settings"]["pays"]]
    rows = []
    for why, item in shown(numbers):
        rows.append(
            [
                contender(item["learner"]).label,
                f"{step_words(item)} ({why})" if why != "at η*" else "η*",
                f"{item['mean_regret']:.3f}",
                share_text(item["found_of_due"]),
                *(share_text(found["longest_delay_found"]) for found in item["by_pay"]),
            ]
        )
    return head, rows


def _play(learner: Learner, games: Blooming, delays_D: Tensor, pays_D: Tensor, *, rounds: int) -> Numbers:
    """Rewards that bloom after the delays: who found the bloomer, since when it leads, and the regret per round."""
    blooms_at_D = (delays_D * rounds).round()
    leads_since_D = torch.zeros_like(delays_D)
    drawn = int(torch.nonzero((pays_D == 0) & (delays_D == games.curve_delay))[0])
    every = max(1, rounds // 100)
    curve = [1 / games.experts]

    def watch(t: int, learner: Learner) -> None:
        log_v_DK = learner.log_v_EK  # a wiped expert stays behind the leader
        leads_since_D[log_v_DK[:, BLOOMER] <= log_v_DK[:, BLOOMER + 1 :].amax(dim=-1)] = t + 1
        if (t + 1) % every == 0:
            curve.append(float(learner.mixture_EK[drawn, BLOOMER]))

    rewards = _blooming(blooms_at_D, pays_D, experts=games.experts)
    outcome = play(learner, rewards, rounds=rounds, watch=watch)
    regret_D = outcome.regret_E / rounds
    by_pay: list[Numbers] = []
    for pays, delays in games.delays_by_pay:
        mine = pays_D == pays
        since = [share if share < 1 else None for share in (leads_since_D[mine] / rounds).tolist()]
        due = [first for first, delay in zip(since, delays, strict=True) if delay < last_delay(pays)]
        found = [delay for first, delay in zip(since, delays, strict=True) if first is not None]
        by_pay.append(
            {
                "pays": pays,
                "leads_from": since,
                "weight": outcome.mixture_EK[mine, BLOOMER].tolist(),
                "regret": regret_D[mine].tolist(),
                "found_of_due": len([first for first in due if first is not None]) / len(due),
                "longest_delay_found": max(found, default=None),
            }
        )
    found_of_due = fmean([item["found_of_due"] for item in by_pay])
    return {
        "mean_regret": float(regret_D.mean()),
        "found_of_due": found_of_due,
        "curve": curve,
        "by_pay": by_pay,
    }


def _blooming(blooms_at_D: Tensor, pays_D: Tensor, *, experts: int) -> Rewards:
    before_DK = torch.zeros(len(pays_D), experts, dtype=torch.float64)
    before_DK[:, STEADY] = STEADY_REWARD
    before_DK[:, BLOOMER] = pays_D
    after_DK = before_DK.clone()
    after_DK[:, BLOOMER] = 1
    blooms_at_D1 = blooms_at_D[:, None]
    return lambda t: torch.where(blooms_at_D1 <= t, after_DK, before_DK)


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


LATE_BLOOMERS = Demonstration(
    name="late-bloomers",
    title="Late bloomers",
    claim=(
        "Section 3.2.1: gradient descent with softmax, and its variants as in DARTS, make it hard for an expert "
        "to recover whose weight is weak at some point, for the gradient reaches it through that weight "
        "(equation 6). XNAS does not hinder late bloomers."
    ),
    setting=(
        "Eight experts, 1,000 rounds, nothing drawn by chance. The bloomer pays nothing, or -1, until a delay has "
        "passed and 1 after it; another expert pays 0.25 all along. Every learner plays at a whole range of step "
        "sizes."
    ),
    to_see=(
        "The leader of XNAS is the expert that has earned most so far, whatever its step size, so it finds the "
        "bloomer as soon as that is the best and whenever it is the best. Gradient descent, with and without "
        "momentum, finds it late or never, unless its steps are so small that the mixture stays nearly uniform "
        "and the regret is high. Adam divides by the size of its gradients and so undoes the hindrance: with a "
        "rate that is large enough it does almost as well as XNAS. A relaxed wipeout, with a small ζ, removes "
        "the bloomer before it blooms."
    ),
    seeds=None,
    play=play_late_bloomers,
    draw=draw_late_bloomers,
    table=table_late_bloomers,
)
