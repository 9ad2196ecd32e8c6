"""Regret against the rate of picking the best expert (sections 3.1 and 8.3), with rewards drawn by chance.

Of N experts the best pays `gap` in the mean, the others nothing; normal noise of standard deviation sigma is added
and the sum is clipped to [-1, 1] before anyone sees it. Picked is the expert with the largest weight at the end. The
best is the one with the largest mean, which noise may hide; the regret is against the best in hindsight (equation 2).

S: seeds; E: games, noise by seed.
"""

# ruff: noqa: RUF001

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from xnas.experts.regret import regret_bound
from xnas.experts.step_size import optimal_step_size
from xnas.report.figures.style import INK, MUTED, house_style
from xnas.report.stats import wilson_interval
from xnas.theory.contenders import CONTENDERS, Contender, at_eta, step_words, tournament, tried
from xnas.theory.demonstration import Demonstration, Numbers, Table, rounded
from xnas.theory.entropy import normalised_entropy
from xnas.theory.game import Rewards, check_counts, play, standard_noise
from xnas.theory.panels import PERCENT, head, legend, note, sheet

BEST = 0
"""Its place among the experts."""


@dataclass(frozen=True, kw_only=True)
class NoisyGames:
    """The games that are played."""

    experts: int = 8
    rounds: int = 1000
    gap: float = 0.05
    sigmas: tuple[float, ...] = (0.25, 0.5, 1.0)

    def __post_init__(self) -> None:
        check_counts(experts=self.experts, rounds=self.rounds)


def play_regret_selection(
    seeds: int, *, games: NoisyGames | None = None, contenders: Sequence[Contender] = CONTENDERS
) -> Numbers:
    """All contenders with all step sizes, on the same noise."""
    games = games or NoisyGames()
    check_counts(experts=games.experts, rounds=games.rounds, seeds=seeds)
    noise_TSK = standard_noise(seeds, rounds=games.rounds, experts=games.experts)
    rewards = _noisy(noise_TSK, games)
    num_sigmas = len(games.sigmas)
    eta = optimal_step_size(games.experts, horizon=games.rounds)
    hindsight: list[float] = []
    played = []
    for each, step_size, learner in tournament(
        contenders, games=num_sigmas * seeds, experts=games.experts, rounds=games.rounds
    ):
        outcome = play(learner, rewards, rounds=games.rounds)
        if not hindsight:  # the same for everyone
            hindsight = _by_sigma(outcome.best_E == BEST, num_sigmas).mean(dim=-1).tolist()
        picked = _by_sigma(outcome.leader_E == BEST, num_sigmas).mean(dim=-1).tolist()
        regret = _by_sigma(outcome.regret_E, num_sigmas)
        entropy = _by_sigma(normalised_entropy(outcome.mixture_EK), num_sigmas).mean(dim=-1)
        quantiles = torch.quantile(regret, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), dim=-1)
        played.append(
            {
                "learner": each.name,
                "step_size": step_size,
                "steps_of_eta": step_size / eta,
                "by_sigma": [
                    {
                        "picked_best": picked[i],
                        "interval_95": list(wilson_interval(picked[i], samples=seeds)),
                        "mean_regret": float(regret[i].mean()),
                        "regret_10_50_90": quantiles[:, i].tolist(),
                        "normalised_entropy": float(entropy[i]),
                    }
                    for i in range(num_sigmas)
                ],
            }
        )
    return rounded(
        {
            "settings": {
                "experts": games.experts,
                "rounds": games.rounds,
                "eta": eta,
                "gap": games.gap,
                "sigmas": list(games.sigmas),
                "bound": regret_bound(
                    games.experts, step_size=eta, reward_bound=1.0, squared_feedbacks=games.rounds
                ),
            },
            "n": seeds,
            "best_mean_is_best_in_hindsight": hindsight,
            "played": played,
        }
    )


def least_regret(numbers: Numbers, learner: str, which: int) -> Numbers:
    """The step size of a learner with the least regret at one of the noise levels."""
    return min(tried(numbers, learner), key=lambda item: item["by_sigma"][which]["mean_regret"])


def table_regret_selection(numbers: Numbers) -> Table:
    """Of each learner: the least regret of all its step sizes and how often that picks the best; the same at eta*."""
    head = [
        "noise",
        "learner",
        "least regret",
        "with step size",
        "picks the best",
        "regret at η*",
        "picks the best",
    ]
    rows = []
    for which, sigma in enumerate(numbers["settings"]["sigmas"]):
        for each in CONTENDERS:
            least, plain = least_regret(numbers, each.name, which), at_eta(numbers, each.name)
            best, usual = least["by_sigma"][which], plain["by_sigma"][which]
            rows.append(
                [
                    f"σ = {sigma:g}",
                    each.label,
                    f"{best['mean_regret']:.1f}",
                    step_words(least),
                    f"{100 * best['picked_best']:.1f} %",
                    "" if each.name == "adam" else f"{usual['mean_regret']:.1f}",
                    "" if each.name == "adam" else f"{100 * usual['picked_best']:.1f} %",
                ]
            )
    return head, rows


def _by_sigma(values_E: Tensor, num_sigmas: int) -> Tensor:
    return values_E.double().view(num_sigmas, -1)


def _noisy(noise_TSK: Tensor, games: NoisyGames) -> Rewards:
    means_K = torch.zeros(games.experts, dtype=torch.float64)
    means_K[BEST] = games.gap
    sigmas = torch.tensor(games.sigmas).double()[:, None, None]
    rewards = (means_K + sigmas * noise_TSK[:, None]).clamp_(-1, 1)
    return lambda t: rewards[t].view(-1, games.experts)


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


REGRET_SELECTION = Demonstration(
    name="regret-vs-selection",
    title="Regret against selection",
    claim=(
        "Section 3.1: XNAS achieves a better regret than a generic optimizer, and regret goes with the rate of "
        "picking the right expert."
    ),
    setting=(
        "Eight experts, 1,000 rounds. The best pays 0.05 in the mean, the others nothing, with normal noise, "
        "clipped to [-1, 1]. Each point is one step size of one learner; the curves join them in order."
    ),
    to_see=(
        "Up and to the left is better. XNAS picks as well as the rewards themselves tell, at any step size, and "
        "its regret falls as the step size grows beyond η*: η* guards against the worst case, which this "
        "is not. Softmax learners pick as well where their steps are small and the regret is high; with larger "
        "steps the regret falls, and then the rate of picking falls too."
    ),
    seeds=200,
    play=play_regret_selection,
    draw=draw_regret_selection,
    table=table_regret_selection,
)
