"""Robustness to the initial weights (section 3.2.1): the best expert starts with v_0, the others with 1.

Of N experts the best pays `gap` in the mean, the others nothing; normal noise of standard deviation sigma is added
and the sum is clipped to [-1, 1] before anyone sees it. A run has found the best expert if that has the largest weight
at the end.

XNAS adds eta times all rewards to ln v, so that it makes good what ln v_0 lacks as long as eta T g > -ln v_0, with g
the mean lead of the best expert per round, after clipping. S: seeds; E: games, noise by v_0 by seed.
"""

# ruff: noqa: RUF001

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from xnas.experts.step_size import optimal_step_size
from xnas.report.figures.style import MUTED, house_style
from xnas.report.stats import wilson_interval
from xnas.theory.contenders import (
    CONTENDERS,
    Contender,
    Name,
    at_eta,
    contender,
    step_words,
    tournament,
    tried,
)
from xnas.theory.demonstration import Demonstration, Numbers, Table, power, rounded, share_text
from xnas.theory.game import Rewards, check_counts, play, standard_noise
from xnas.theory.panels import PERCENT, head, legend, logarithmic, note, sheet, step_axis

BEST = 0
"""Its place among the experts."""


@dataclass(frozen=True, kw_only=True)
class Starts:
    """The games that are played."""

    experts: int = 8
    rounds: int = 1000
    gap: float = 0.3
    sigmas: tuple[float, ...] = (0.5, 1.0)
    v0s: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """Initial weight of the best expert, where the others have 1."""

    def __post_init__(self) -> None:
        check_counts(experts=self.experts, rounds=self.rounds)
        if min(self.v0s) <= 0:
            raise ValueError(f"v_0 must be positive; got {min(self.v0s)}")


def play_initialisation(
    seeds: int, *, games: Starts | None = None, contenders: Sequence[Contender] = CONTENDERS
) -> Numbers:
    """All contenders with all step sizes, on the same noise."""
    games = games or Starts()
    check_counts(experts=games.experts, rounds=games.rounds, seeds=seeds)
    num_sigmas, num_v0s = len(games.sigmas), len(games.v0s)
    noise_TSK = standard_noise(seeds, rounds=games.rounds, experts=games.experts)
    num_games = num_sigmas * num_v0s * seeds
    log_v0_EK = torch.zeros(num_games, games.experts, dtype=torch.float64)
    log_v0_EK[:, BEST] = torch.tensor(games.v0s).double().log().repeat_interleave(seeds).repeat(num_sigmas)
    rewards = _noisy(noise_TSK, games)
    eta = optimal_step_size(games.experts, horizon=games.rounds)
    leads: list[float] = []
    played = []
    for each, step_size, learner in tournament(
        contenders, games=num_games, experts=games.experts, rounds=games.rounds, log_v0_EK=log_v0_EK
    ):
        outcome = play(learner, rewards, rounds=games.rounds)
        if not leads:  # the same for everyone
            others_E = outcome.rewards_EK[:, BEST + 1 :].mean(dim=-1)
            lead_E = (outcome.rewards_EK[:, BEST] - others_E) / games.rounds
            leads = lead_E.view(num_sigmas, -1).mean(dim=-1).tolist()
        found_E = (outcome.leader_E == BEST).double()
        share = found_E.view(num_sigmas, num_v0s, seeds).mean(dim=-1)
        regret = (outcome.regret_E / games.rounds).view(num_sigmas, num_v0s, seeds).mean(dim=-1)
        played.append(
            {
                "learner": each.name,
                "step_size": step_size,
                "steps_of_eta": step_size / eta,
                "found": share.tolist(),
                "interval_95": [
                    [wilson_interval(value, samples=seeds) for value in row] for row in share.tolist()
                ],
                "mean_found": float(share.mean()),
                "mean_regret": float(regret.mean()),
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
                "v0s": list(games.v0s),
                "lead_per_round": leads,
                "v0_that_xnas_makes_good": [math.exp(-eta * games.rounds * lead) for lead in leads],
            },
            "n": seeds,
            "played": played,
        }
    )


def most_found(numbers: Numbers, learner: Name) -> Numbers:
    """The step size of a learner with which the most runs ended at the best expert, over all v_0 and noise."""
    return max(tried(numbers, learner), key=lambda item: (item["mean_found"], -item["mean_regret"]))


def shown(numbers: Numbers) -> Iterator[tuple[str, Numbers]]:
    """The games that are drawn and tabled, and why: at eta*, and where most runs end at the best."""
    for each in CONTENDERS:
        if each.name != "adam":
            yield "at η*", at_eta(numbers, each.name)
        yield "most found", most_found(numbers, each.name)


def table_initialisation(numbers: Numbers) -> Table:
    """Shares of the runs by v_0, for both noises."""
    settings = numbers["settings"]
    head = ["learner", "step size", "noise", *(f"v₀ = {power(v0)}" for v0 in settings["v0s"])]
    rows = []
    for which, sigma in enumerate(settings["sigmas"]):
        for why, item in shown(numbers):
            step = "η*" if why == "at η*" else f"{step_words(item)} ({why})"
            shares = [share_text(share) for share in item["found"][which]]
            rows.append([contender(item["learner"]).label, step, f"σ = {sigma:g}", *shares])
    return head, rows


def _noisy(noise_TSK: Tensor, games: Starts) -> Rewards:
    means_K = torch.zeros(games.experts, dtype=torch.float64)
    means_K[BEST] = games.gap
    sigmas = torch.tensor(games.sigmas).double()[:, None, None, None]
    # By round, noise, v_0 and seed; all v_0 have the same rewards.
    rewards = (means_K + sigmas * noise_TSK[:, None, None]).clamp_(-1, 1)
    shape = (-1, len(games.v0s), -1, -1)
    return lambda t: rewards[t].expand(shape).reshape(-1, games.experts)


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


INITIALISATION = Demonstration(
    name="initialisation",
    title="Initial weights",
    claim=(
        "Section 3.2.1: XNAS is more robust to the initialisation of the weights than gradient descent with "
        "softmax and its variants."
    ),
    setting=(
        "Eight experts, 1,000 rounds. The best pays 0.3 in the mean, the others nothing, with normal noise, "
        "clipped to [-1, 1]. The best starts with the weight v₀, the others with 1."
    ),
    to_see=(
        "Gradient descent, with and without momentum, ends at another expert as soon as v₀ is a hundredth, "
        "whatever its step size. XNAS with η* makes good what η* T times the mean lead covers, which is "
        "less where noise is clipped; with twice η* and more it always does here. Adam with a fitting rate is "
        "as robust, with a rate too small or too large it is not."
    ),
    seeds=50,
    play=play_initialisation,
    draw=draw_initialisation,
    table=table_initialisation,
)
