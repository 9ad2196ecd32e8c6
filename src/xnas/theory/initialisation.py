# ruff: noqa: RUF001
"""Robustness to the initial weights (section 3.2.1): the best expert starts with v_0, the others with 1.

Of N experts the best pays `gap` in the mean, the others nothing; normal noise of standard deviation sigma is added
and the sum is clipped to [-1, 1] before anyone sees it. A run has found the best expert if that has the largest weight
at the end.

XNAS adds eta times all rewards to ln v, so that it makes good what ln v_0 lacks as long as eta T g > -ln v_0, with g
the mean lead of the best expert per round, after clipping. S: seeds; E: games, noise by v_0 by seed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xnas.experts.step_size import optimal_step_size
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
from xnas.theory.demonstration import Numbers, Table, power, rounded, share_text
from xnas.theory.game import Rewards, check_counts, play, standard_noise

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
