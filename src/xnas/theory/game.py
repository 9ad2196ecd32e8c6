"""Games between experts, many at once.

E: games, which are the forecasters of one learner; K: experts of each, N of them; T: rounds, with one feedback each.
In a round the learner forecasts with the weights u, expert i earns R_i, and the mixture earns u . R.

The loss is L - u . R: not negative, convex, and with rewards bounded by L, as theorem 1 asks. Its gradient by u is -R
whatever u is, so all learners play the same game. In a network R also depends on the mixture; that is not shown here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xnas.optimizers.learner import Learner

Rewards = Callable[[int], Tensor]
"""The rewards of a round, counted from 0: float64, shape (E, K)."""

Watch = Callable[[int, Learner], None]
"""Is shown the learner after every round, counted from 0."""

NOBODY = -1


@dataclass(frozen=True, kw_only=True)
class GameResult:
    """What E games of T rounds came to. Rewards are sums over all rounds, in units of reward."""

    rewards_EK: Tensor
    """Of every expert, whether it was wiped out or not."""
    mixture_rewards_E: Tensor
    leader_E: Tensor
    """The expert with the largest weight at the end; NOBODY where several share it."""
    mixture_EK: Tensor
    """u at the end."""

    @property
    def best_E(self) -> Tensor:
        """The best expert in hindsight."""
        return self.rewards_EK.argmax(dim=-1)

    @property
    def regret_E(self) -> Tensor:
        """What the best expert in hindsight earned more than the mixture (equation 2)."""
        return self.rewards_EK.amax(dim=-1) - self.mixture_rewards_E


def play(learner: Learner, rewards: Rewards, *, rounds: int, watch: Watch | None = None) -> GameResult:
    """Play all games of a learner to their end."""
    rewards_EK = torch.zeros_like(learner.log_v_EK)
    mixture_rewards_E = torch.zeros_like(rewards_EK[:, 0])
    for t in range(rounds):
        earned_EK = rewards(t)
        rewards_EK += earned_EK
        mixture_rewards_E += (learner.mixture_EK * earned_EK).sum(dim=-1)
        learner.update(-earned_EK[None])
        if watch is not None:
            watch(t, learner)
    return GameResult(
        rewards_EK=rewards_EK,
        mixture_rewards_E=mixture_rewards_E,
        leader_E=leaders(learner),
        mixture_EK=learner.mixture_EK,
    )


def leaders(learner: Learner) -> Tensor:
    """The expert with the largest weight in every game; NOBODY where several share it."""
    log_v_EK = learner.log_v_EK.masked_fill(~learner.alive_EK, -torch.inf)
    is_best_EK = log_v_EK == log_v_EK.amax(dim=-1, keepdim=True)
    return torch.where(is_best_EK.sum(dim=-1) == 1, is_best_EK.int().argmax(dim=-1), NOBODY)


def standard_noise(seeds: int, *, rounds: int, experts: int) -> Tensor:
    """Standard normal numbers, float64, shape (T, seeds, K); a seed has the same whatever the others are."""
    return torch.stack(
        [
            torch.randn(rounds, experts, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            for seed in range(seeds)
        ],
        dim=1,
    )


def check_counts(*, experts: int, rounds: int, seeds: int = 1) -> None:
    """Raises ValueError for fewer than two experts, a game without rounds, or no seed."""
    if experts < 2:
        raise ValueError(f"experts must be at least 2, or there is nothing to choose; got {experts}")
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1; got {rounds}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1; got {seeds}")
