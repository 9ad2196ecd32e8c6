"""Late bloomers (section 3.2.1): the best expert pays nothing, or a penalty, for a time, and then most of all.

Nothing is drawn by chance. Of N experts one, the bloomer, pays `pays` until the delay has passed and 1 after it; one
pays a steady 0.25; the others pay nothing. In hindsight the bloomer is the best if the delay is a share of T below
(1 - 0.25) / (1 - pays).

A learner has found the bloomer if its weight is the largest at the end. D: delays.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xnas.experts.step_size import optimal_step_size
from xnas.optimizers.learner import Learner
from xnas.report.stats import mean
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
from xnas.theory.demonstration import Numbers, Table, rounded, share_text
from xnas.theory.game import Rewards, check_counts, play

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
    found_of_due = mean([item["found_of_due"] for item in by_pay])
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
