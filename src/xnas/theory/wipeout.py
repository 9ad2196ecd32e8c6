"""The wipeout (section 2.2, lemmas 1 and 2) and its relaxation by zeta (section 3.2.1).

Three kinds of games with N experts, all with normal noise of standard deviation 0.5, clipped to [-1, 1] before anyone
sees it. Clear: one expert pays 0.3 in the mean, the others nothing. Close: 0.05. Bloomer: one pays 0.25 all along,
another nothing in the first half and 1 in the second. All rewards stay observable, those of wiped experts too, so that
the best in hindsight is known: it is lost if it was wiped out.

S: seeds; E: games, kind by seed. An expert-round is one expert alive in one round.
"""

# ruff: noqa: RUF001

import logging
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from xnas.experts.regret import log_wipeout_factor, regret_bound
from xnas.experts.step_size import optimal_step_size
from xnas.optimizers.learner import Learner
from xnas.optimizers.xnas import XNASLearner
from xnas.report.figures.style import GROUPS, MUTED, house_style
from xnas.report.stats import wilson_interval
from xnas.theory.contenders import build_learner
from xnas.theory.demonstration import Demonstration, Numbers, Table, rounded
from xnas.theory.game import Rewards, check_counts, play, standard_noise
from xnas.theory.panels import PERCENT, head, legend, logarithmic, note, sheet

log = logging.getLogger(__name__)

SIGMA = 0.5
KINDS = ("clear", "close", "bloomer")
_POINTS = 100
"""At which the number of experts alive is kept."""


@dataclass(frozen=True, kw_only=True)
class WipeoutGames:
    """The games that are played."""

    experts: int = 8
    rounds: int = 1000
    zetas: tuple[float, ...] = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06, 0.03, 0.01, 0.003)
    means: tuple[float, float] = (0.3, 0.05)
    """Mean rewards of the best expert in the clear and the close games."""

    def __post_init__(self) -> None:
        check_counts(experts=self.experts, rounds=self.rounds)


def play_wipeout(seeds: int, *, games: WipeoutGames | None = None) -> Numbers:
    """All zeta, at eta*, on the same noise."""
    games = games or WipeoutGames()
    check_counts(experts=games.experts, rounds=games.rounds, seeds=seeds)
    rewards = _rewards(standard_noise(seeds, rounds=games.rounds, experts=games.experts), games)
    eta = optimal_step_size(games.experts, horizon=games.rounds)
    log.info(f"{len(games.zetas)} zeta, {len(KINDS) * seeds:,} games each")
    by_zeta = []
    for zeta in games.zetas:
        learner = build_learner(
            "xnas",
            games=len(KINDS) * seeds,
            experts=games.experts,
            rounds=games.rounds,
            step_size=eta,
            zeta=zeta,
        )
        by_zeta.append({"zeta": zeta, "by_kind": _play(learner, rewards, games, seeds)})
    return rounded(
        {
            "settings": {
                "experts": games.experts,
                "rounds": games.rounds,
                "eta": eta,
                "sigma": SIGMA,
                "kinds": list(KINDS),
                "best_means": list(games.means),
                "bound": regret_bound(
                    games.experts, step_size=eta, reward_bound=1.0, squared_feedbacks=games.rounds
                ),
            },
            "n": seeds,
            "by_zeta": by_zeta,
        }
    )


def table_wipeout(numbers: Numbers) -> Table:
    """Saved, lost and paid by zeta, in the order of the kinds."""
    kinds = ", ".join(numbers["settings"]["kinds"])
    head = ["ζ", "first expert gone", "saved", "best lost", "regret", "γ_T"]
    head = [head[0], *(f"{what}: {kinds}" if what == "first expert gone" else what for what in head[1:])]
    rows = []
    for item in numbers["by_zeta"]:
        found = item["by_kind"]
        rows.append(
            [
                f"{item['zeta']:g}",
                ", ".join(f"{100 * each['first_gone']:.0f}" for each in found) + " % of T",
                ", ".join(f"{100 * each['saved']:.0f}" for each in found) + " %",
                ", ".join(f"{100 * each['lost']:.1f}" for each in found) + " %",
                ", ".join(f"{each['regret']:.0f}" for each in found),
                ", ".join(f"{each['gamma']:.2f}" for each in found),
            ]
        )
    return head, rows


def _rewards(noise_TSK: Tensor, games: WipeoutGames) -> Rewards:
    means_TK = torch.zeros(len(KINDS), games.rounds, 1, games.experts, dtype=torch.float64)
    means_TK[0, ..., 0], means_TK[1, ..., 0] = games.means
    means_TK[2, ..., 1] = 0.25
    means_TK[2, games.rounds // 2 :, :, 0] = 1
    rewards = (means_TK + SIGMA * noise_TSK).clamp_(-1, 1).transpose(0, 1)
    return lambda t: rewards[t].reshape(-1, games.experts)


def _play(learner: Learner, rewards: Rewards, games: WipeoutGames, seeds: int) -> list[Numbers]:
    assert isinstance(learner, XNASLearner)
    num_games = len(KINDS) * seeds
    alive_rounds_E = torch.zeros(num_games, dtype=torch.float64)
    log_gamma_E = torch.zeros(num_games, dtype=torch.float64)
    first_E = torch.full((num_games,), games.rounds)
    every = max(1, games.rounds // _POINTS)
    alive_curve = [torch.full((len(KINDS),), float(games.experts), dtype=torch.float64)]
    before = learner.state

    def watch(t: int, _: Learner) -> None:
        nonlocal before, alive_rounds_E, log_gamma_E, first_E
        alive_rounds_E += before.alive_EK.sum(dim=-1)  # who was computed in this round
        after = learner.state
        if not torch.equal(before.alive_EK, after.alive_EK):
            log_gamma_E += log_wipeout_factor(before, after)
            is_first_E = (first_E == games.rounds) & ~after.alive_EK.all(dim=-1)
            first_E = torch.where(is_first_E, t + 1, first_E)
        if (t + 1) % every == 0:
            alive_curve.append(after.alive_EK.sum(dim=-1).double().view(len(KINDS), seeds).mean(dim=-1))
        before = after

    outcome = play(learner, rewards, rounds=games.rounds, watch=watch)
    lost_E = ~learner.alive_EK.gather(1, outcome.best_E[:, None])[:, 0]
    saved_E = 1 - alive_rounds_E / (games.rounds * games.experts)
    curve = torch.stack(alive_curve)

    def of(kind: int, values_E: Tensor) -> Tensor:
        return values_E.double().view(len(KINDS), seeds)[kind]

    quantiles = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    found = []
    for kind, name in enumerate(KINDS):
        lost = float(of(kind, lost_E).mean())
        found.append(
            {
                "kind": name,
                "lost": lost,
                "lost_95": list(wilson_interval(lost, samples=seeds)),
                "saved": float(of(kind, saved_E).mean()),
                "saved_10_50_90": of(kind, saved_E).quantile(quantiles).tolist(),
                "regret": float(of(kind, outcome.regret_E).mean()),
                "regret_10_50_90": of(kind, outcome.regret_E).quantile(quantiles).tolist(),
                "first_gone": float(of(kind, first_E).mean() / games.rounds),
                "earliest_gone": float(of(kind, first_E).min() / games.rounds),
                "gamma": float(of(kind, log_gamma_E).exp().mean()),
                "largest_gamma": float(of(kind, log_gamma_E).exp().max()),
                "alive": curve[:, kind].tolist(),
            }
        )
    return found


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


WIPEOUT = Demonstration(
    name="wipeout",
    title="Wipeout",
    claim=(
        "Lemma 1: the best expert in hindsight cannot be wiped out. Section 3.2.1: a threshold relaxed by "
        "ζ < 1 saves more, at the price of a violation of the theoretical regret."
    ),
    setting=(
        "XNAS at η*, eight experts, 1,000 rounds with normal noise of 0.5, clipped to [-1, 1]. In the clear "
        "games one expert leads by 0.3 per round, in the close ones by 0.05; the bloomer pays nothing in the "
        "first half and 1 in the second, against a steady 0.25."
    ),
    to_see=(
        "With ζ = 1 the best is never lost, and little is saved: nobody can go in the first half of the search. "
        "Where the lead is clear the saving grows as ζ falls and costs nothing. In a close race the best is "
        "lost now and then, and a late bloomer always once ζ is small, with a regret far above the bound."
    ),
    seeds=200,
    play=play_wipeout,
    draw=draw_wipeout,
    table=table_wipeout,
)
