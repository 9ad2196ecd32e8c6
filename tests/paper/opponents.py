"""Who plays against the experts' forecaster: chance, habit and malice.

E: games; K: experts of each. Rewards are in units of L.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .games import QUANTUM, Moment, Opponent


@dataclass(frozen=True, kw_only=True)
class Table:
    """What an opponent may prepare for."""

    games: int
    experts: int
    horizon: int
    generator: torch.Generator

    def uniform_EK(self) -> Tensor:
        """Fresh numbers in [-1, 1)."""
        return 2 * torch.rand(self.games, self.experts, dtype=torch.float64, generator=self.generator) - 1

    def normal_EK(self) -> Tensor:
        """Fresh standard normal numbers."""
        return torch.randn(self.games, self.experts, dtype=torch.float64, generator=self.generator)

    def integers_EK(self, high: int) -> Tensor:
        """Fresh integers in [0, high)."""
        return torch.randint(high, (self.games, self.experts), generator=self.generator)


def uniform(table: Table) -> Opponent:
    return lambda _: table.uniform_EK()


def coins(table: Table) -> Opponent:
    return lambda _: table.uniform_EK().sign()


def heavy_tails(table: Table) -> Opponent:
    """Cauchy: about 19 % of the rewards are clipped."""
    return lambda _: 0.3 * table.normal_EK() / table.normal_EK().abs().clamp_min(1e-3)


def rare(table: Table) -> Opponent:
    """Mostly nothing: experts tie for long."""
    return lambda _: table.uniform_EK() * (table.uniform_EK() > 0.95)


def biased(table: Table) -> Opponent:
    """Experts of different merit, under noise."""
    bias_EK = 0.3 * table.normal_EK()
    return lambda _: bias_EK + 0.5 * table.normal_EK()


def constant(table: Table) -> Opponent:
    rewards_EK = table.uniform_EK()
    return lambda _: rewards_EK


def alike(table: Table) -> Opponent:
    """All experts earn the same: nobody ever leads."""
    return lambda _: table.uniform_EK()[:, :1].expand(-1, table.experts)


def late_switch(table: Table) -> Opponent:
    """What was good turns bad, somewhere in the second half."""
    rewards_EK = table.uniform_EK()
    at_E1 = table.horizon * (0.5 + 0.5 * table.uniform_EK()[:, :1].abs())
    return lambda now: torch.where(now.t < at_E1, rewards_EK, -rewards_EK)


def blocks(table: Table) -> Opponent:
    """+1 and -1 in blocks, of a length and a phase of each expert's own."""
    length_EK = 1 + table.integers_EK(max(table.horizon // 4, 1))
    phase_EK = table.integers_EK(2)
    return lambda now: 1.0 - 2.0 * ((now.t // length_EK + phase_EK) % 2)


def shuffled(table: Table) -> Opponent:
    """Every expert earns the same rewards, in an order of its own: at the horizon all are equally good, exactly."""
    rewards_ET = (
        2 * torch.rand(table.games, table.horizon, dtype=torch.float64, generator=table.generator) - 1
    )
    shift_EK = table.integers_EK(table.horizon)
    return lambda now: rewards_ET.gather(1, (shift_EK + now.t) % table.horizon)


def punish_the_leader(table: Table) -> Opponent:
    """The best so far that is alive gets -1, all others +1."""

    def rewards(now: Moment) -> Tensor:
        leader_E1 = now.totals_EK.masked_fill(~now.alive_EK, -torch.inf).argmax(dim=-1, keepdim=True)
        return torch.ones_like(now.totals_EK).scatter(1, leader_E1, -1.0)

    return rewards


def punish_the_mixture(table: Table) -> Opponent:
    """The half of the experts that has more of the weight gets -1, the other half +1."""

    def rewards(now: Moment) -> Tensor:
        rank_EK = now.mixture_EK.argsort(dim=-1, stable=True).argsort(dim=-1)
        return 1.0 - 2.0 * (rank_EK >= table.experts // 2)

    return rewards


def pull_one_away(table: Table) -> Opponent:
    """First half the experts +1, half -1, and the other way round, so that nobody gains; then one wins every time."""
    odd_K = torch.arange(table.experts) % 2
    first_K = torch.arange(table.experts) == 0

    def rewards(now: Moment) -> Tensor:
        signs_K = 1.0 - 2.0 * ((odd_K + now.t) % 2)
        return (signs_K if now.t < 0.8 * table.horizon else 2.0 * first_K - 1.0).expand(table.games, -1)

    return rewards


def brink(table: Table, *, margin: float) -> Opponent:
    """One expert lags as far as it can without being wiped, and catches up at the horizon, to lead by `margin`.

    For a while rewards are random. Then the lag is widened as fast as can be up to 2 (T - t) - margin, and kept there:
    from then on only the largest rewards for that expert and the smallest for the others bring it back.
    """
    noise_until = int(0.3 * table.horizon)

    def rewards(now: Moment) -> Tensor:
        if now.t < noise_until:
            return table.uniform_EK()
        lag_E = now.totals_EK[:, 1:].amax(dim=-1) - now.totals_EK[:, 0]
        widen_E = (2 * (now.horizon - now.t - 1) - margin - lag_E).clamp(-2, 2)
        # Both parts are multiples of the quantum, so that the lag is met exactly.
        half_E = (widen_E / 2 / QUANTUM).floor() * QUANTUM
        others_E1 = (widen_E - half_E).unsqueeze(1).expand(-1, table.experts - 1)
        return torch.cat([-half_E.unsqueeze(1), others_E1], dim=1)

    return rewards


OPPONENTS: dict[str, Callable[[Table], Opponent]] = {
    "uniform": uniform,
    "coins": coins,
    "heavy tails": heavy_tails,
    "rare": rare,
    "biased": biased,
    "constant": constant,
    "alike": alike,
    "late switch": late_switch,
    "blocks": blocks,
    "shuffled": shuffled,
    "punish the leader": punish_the_leader,
    "punish the mixture": punish_the_mixture,
    "pull one away": pull_one_away,
    "brink, to a tie": lambda table: brink(table, margin=0.0),
    "brink, to a lead of one quantum": lambda table: brink(table, margin=QUANTUM),
    "brink, to a lead": lambda table: brink(table, margin=0.125),
}


def all_opponents(*, games_each: int, experts: int, horizon: int, seed: int) -> tuple[Opponent, int]:
    """An opponent that plays `games_each` games in each of these ways, and how many games that makes."""
    generator = torch.Generator().manual_seed(seed)
    table = Table(games=games_each, experts=experts, horizon=horizon, generator=generator)
    parts = [prepare(table) for prepare in OPPONENTS.values()]

    def rewards(now: Moment) -> Tensor:
        return torch.cat(
            [part(now.of(slice(i * games_each, (i + 1) * games_each))) for i, part in enumerate(parts)]
        )

    return rewards, games_each * len(parts)
