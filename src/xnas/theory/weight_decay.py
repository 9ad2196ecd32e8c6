"""No weight decay (section 3.2.2, figure 2): what the decay of alpha does to the mixtures of a search.

A search has 28 forecasters, as many as the edges of both of DARTS' cells, and 19,500 rounds. An expert's mean reward
is normal with standard deviation `scale`, drawn once; in every round normal noise of five times that is added. The
forecasters are softmaxes that Adam descends as in DARTS, with one coefficient of decay or another.

Adam does not see the size of its gradients: what decides is decay / scale. So that ratio is played, and one game stands
for all scales. XNAS likewise sees only rewards / L.

S: searches; F: forecasters of a search; E: forecasters of all searches, for every decay.
"""

import logging
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from xnas.experts.state import ExpertRule
from xnas.experts.step_size import optimal_step_size
from xnas.optimizers.learner import Learner
from xnas.optimizers.softmax import SoftmaxLearner
from xnas.optimizers.xnas import XNASLearner
from xnas.report.figures.style import MUTED, house_style
from xnas.theory.contenders import ADAM_BETAS, DARTS_DECAY, DARTS_RATE, DARTS_ROUNDS, contender
from xnas.theory.demonstration import Demonstration, Numbers, Table, rounded, share_text
from xnas.theory.entropy import normalised_entropy
from xnas.theory.game import check_counts, play
from xnas.theory.panels import PERCENT, head, legend, logarithmic, note, sheet

log = logging.getLogger(__name__)

NOISE = 5.0
"""Of a round, in units of the spread of the means."""

_AT_ONCE = 4
"""Searches whose noise is in memory at the same time."""


@dataclass(frozen=True, kw_only=True)
class Decays:
    """The searches that are played."""

    experts: int = 8
    forecasters: int = 28
    rounds: int = DARTS_ROUNDS
    ratios: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0)
    """Weight decay over the spread of the experts' mean rewards."""
    bounds: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
    """XNAS' L over the standard deviation of a reward."""
    scales: tuple[float, ...] = (0.1, 0.01, 0.001)
    """Spreads of the mean rewards that the picture has a curve for."""

    def __post_init__(self) -> None:
        check_counts(experts=self.experts, rounds=self.rounds)


class DecayedSoftmax(SoftmaxLearner):
    """Softmaxes under Adam, each with its own coefficient of weight decay, decay_E1.

    torch's Adam takes one coefficient and adds decay * alpha to the gradient; here that is done before, row by row.
    """

    decay_E1: Tensor

    def alpha_gradient(self, gradients_EK: Tensor) -> Tensor:
        """dloss/dalpha, plus what pulls alpha to zero."""
        return super().alpha_gradient(gradients_EK) + self.decay_E1 * self.alpha_EK


def play_weight_decay(seeds: int, *, games: Decays | None = None) -> Numbers:
    """All decays, and XNAS with all bounds, on the same rewards."""
    games = games or Decays()
    check_counts(experts=games.experts, rounds=games.rounds, seeds=seeds)
    adam: list[dict[str, Tensor]] = []
    xnas: list[dict[str, Tensor]] = []
    for first in range(0, seeds, _AT_ONCE):
        some = range(first, min(first + _AT_ONCE, seeds))
        log.info(f"searches {some[0] + 1} to {some[-1] + 1} of {seeds}: {games.rounds:,} rounds each")
        means, rewards_TSFK = _rewards(some, games)
        if games.ratios:
            adam.append(_play_adam(means, rewards_TSFK, games))
        xnas.append(_play_xnas(means, rewards_TSFK, games))
    return rounded(
        {
            "settings": {
                "experts": games.experts,
                "forecasters": games.forecasters,
                "rounds": games.rounds,
                "rate": DARTS_RATE,
                "betas": list(ADAM_BETAS),
                "darts_decay": DARTS_DECAY,
                "noise": NOISE,
                "scales": list(games.scales),
            },
            "n": seeds,
            "adam": [
                {"decay_over_scale": ratio, **_summary(adam, row)} for row, ratio in enumerate(games.ratios)
            ],
            "xnas": [
                {"bound_over_reward": bound, **_summary(xnas, row)} for row, bound in enumerate(games.bounds)
            ],
        }
    )


def table_weight_decay(numbers: Numbers) -> Table:
    """Entropy, and forecasters led by their best expert, by what decides."""
    head = [
        "learner",
        "what decides",
        "mean normalised entropy",
        "lowest to highest search",
        "led by the best expert",
    ]
    rows = []
    for label, key, unit, items in (
        (
            "softmax, Adam, betas of DARTS",
            "decay_over_scale",
            "decay / spread of mean rewards",
            numbers["adam"],
        ),
        ("XNAS without wipeout", "bound_over_reward", "L / standard deviation of a reward", numbers["xnas"]),
    ):
        for item in items:
            low, high = item["lowest_and_highest_search"]
            entropy = f"{item['mean_normalised_entropy']:.3f}"
            rows.append(
                [
                    label,
                    f"{unit} = {item[key]:g}",
                    entropy,
                    f"{low:.3f} to {high:.3f}",
                    share_text(item["best_leads"]),
                ]
            )
    return head, rows


def _rewards(seeds: range, games: Decays) -> tuple[Tensor, Tensor]:
    """Mean rewards, shape (S, F, K) with F forecasters, and the rewards of all rounds, of scale 1."""
    means, rewards = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        shape = (games.forecasters, games.experts)
        mean_FK = torch.randn(shape, generator=generator, dtype=torch.float64)
        noise_TFK = torch.randn((games.rounds, *shape), generator=generator, dtype=torch.float64)
        means.append(mean_FK)
        rewards.append(noise_TFK.mul_(NOISE).add_(mean_FK))
    return torch.stack(means), torch.stack(rewards, dim=1)


def _play_adam(means_SFK: Tensor, rewards_TSFK: Tensor, games: Decays) -> dict[str, Tensor]:
    num_decays, experts = len(games.ratios), games.experts
    num_rows = means_SFK[..., 0].numel()
    learner = DecayedSoftmax(
        num_decays * num_rows,
        experts,
        descent=lambda parameters: torch.optim.Adam(parameters, lr=DARTS_RATE, betas=ADAM_BETAS),
    )
    learner.decay_E1 = torch.tensor(games.ratios).double().repeat_interleave(num_rows)[:, None]
    rewards_TEK = rewards_TSFK.view(games.rounds, num_rows, experts)
    play(learner, lambda t: rewards_TEK[t].repeat(num_decays, 1), rounds=games.rounds)
    return _found(learner, means_SFK, num_decays)


def _play_xnas(means_SFK: Tensor, rewards_TSFK: Tensor, games: Decays) -> dict[str, Tensor]:
    """XNAS without wipeout, so that there is a mixture left: with it one expert has all at the end."""
    parts = []
    reward_size = (1 + NOISE**2) ** 0.5
    for bound in games.bounds:
        reward_bound = bound * reward_size
        rule = ExpertRule(
            step_size=optimal_step_size(games.experts, horizon=games.rounds, reward_bound=reward_bound),
            reward_bound=reward_bound,
            horizon=games.rounds,
            zeta=None,
        )
        learner = XNASLearner(means_SFK[..., 0].numel(), games.experts, rule=rule)
        learner.ledger = None
        # Rewards do not depend on the weights here, and a sum does not on its order but for the last bits: all at once.
        learner.update(-rewards_TSFK.view(games.rounds, -1, games.experts))
        parts.append(_found(learner, means_SFK, 1))
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _found(learner: Learner, means_SFK: Tensor, num_rows: int) -> dict[str, Tensor]:
    """Entropy of every forecaster, and whether the expert with the best mean leads it: shape (rows, S, F)."""
    shape = (num_rows, *means_SFK.shape[:2])
    best_SF = means_SFK.argmax(dim=-1)
    leader = learner.log_v_EK.argmax(dim=-1).view(shape)
    return {
        "entropy": normalised_entropy(learner.mixture_EK).view(shape),
        "best_leads": (leader == best_SF).double(),
    }


def _summary(parts: list[dict[str, Tensor]], row: int) -> Numbers:
    """Means over all forecasters, with the lowest and highest search, and the middle 80 % of the forecasters."""
    entropy_SF = torch.cat([part["entropy"][row] for part in parts])
    leads_SF = torch.cat([part["best_leads"][row] for part in parts])
    search_S = entropy_SF.mean(dim=-1)
    low, high = torch.quantile(entropy_SF, torch.tensor([0.1, 0.9], dtype=torch.float64)).tolist()
    return {
        "mean_normalised_entropy": float(entropy_SF.mean()),
        "lowest_and_highest_search": [float(search_S.min()), float(search_S.max())],
        "forecasters_10_to_90": [low, high],
        "best_leads": float(leads_SF.mean()),
    }


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


WEIGHT_DECAY = Demonstration(
    name="weight-decay",
    title="Weight decay",
    claim=(
        "Section 3.2.2 and figure 2: weight decay encourages uniform, dense mixtures: the mean normalised entropy "
        "increases with its coefficient. XNAS does without."
    ),
    setting=(
        "Searches of 28 forecasters with eight experts and 19,500 rounds of synthetic rewards, under Adam with "
        "the settings of DARTS and one coefficient of decay or another. XNAS hears the same rewards."
    ),
    to_see=(
        "The entropy rises with the decay, as figure 2 has it. Where it rises depends on the size of the rewards: "
        "DARTS' coefficient changes little if mean rewards differ by 0.1, and all if they differ by 0.001. "
        "Even without decay Adam's mixtures stay dense at DARTS' rate. Which expert leads suffers much later than "
        "the entropy. XNAS has no decay, but a reward bound L far above the rewards does the same to it."
    ),
    seeds=3,
    play=play_weight_decay,
    draw=draw_weight_decay,
    table=table_weight_decay,
)
