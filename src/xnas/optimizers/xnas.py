"""XNAS: exponentiated gradient on the experts' rewards, with wipeout (algorithm 1).

Every group c of forecasters has its own horizon, T_c = validation samples x epochs x replicas when each sample's
reward counts as one feedback, and with it its own step size, eta_c* (section 3.1, "Multiple Learning Rates").
No weight decay and no momentum: the theory has no place for them (section 3.2.2). The experts' weights are a few
hundred numbers in float64; they stay on the CPU, whatever device the network is on.

E: indices of a group; K: experts of each; F: feedbacks of a round.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from xnas.experts.state import ExpertRule, ExpertState, advance
from xnas.experts.step_size import Feedback, feedbacks_per_round, optimal_step_size
from xnas.optimizers.base import ArchitectureOptimizer, Wipeout


@dataclass(frozen=True, kw_only=True)
class GroupSettings:
    """What a group's search is fixed by; printed when a search starts."""

    group: str
    num_forecasters: int
    num_experts: int
    """N"""
    num_replicas: int
    """r_c"""
    feedback: Feedback
    rule: ExpertRule

    def __str__(self) -> str:
        zeta = "no wipeout" if self.rule.zeta is None else f"zeta = {self.rule.zeta:g}"
        return (
            f"{self.group}: {self.num_forecasters} forecasters, N = {self.num_experts} experts, "
            f"{self.num_replicas} replicas, feedback per {self.feedback}, T = {self.rule.horizon:,} feedbacks, "
            f"eta = {self.rule.step_size:.3g}, L = {self.rule.reward_bound:g}, {zeta}"
        )


class XNAS(ArchitectureOptimizer):
    """The architecture optimizer of the paper.

    One round is `measure(closure)` on a validation batch, then `step()`. `rounds` says how many the search will
    make and `batch_size` how many validation samples each has: they set the horizon T of every group.
    `step_size` is eta, the same for all groups; None takes each group's eta* (equation 4). `zeta` relaxes the
    wipeout; None turns it off.

    Raises ValueError for settings out of range, or a model without forecasters.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        rounds: int,
        batch_size: int,
        feedback: Feedback = "sample",
        reward_bound: float = 1.0,
        zeta: float | None = 1.0,
        step_size: float | None = None,
        weight_optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        super().__init__(model, feedback=feedback, weight_optimizer=weight_optimizer)
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1; got {rounds}")
        self.settings: dict[str, GroupSettings] = {}
        self.states: dict[str, ExpertState] = {}
        for name, group in self.groups.items():
            num_experts = len(self.names(name))
            horizon = rounds * feedbacks_per_round(
                feedback, batch_size=batch_size, num_replicas=group.num_replicas
            )
            eta = step_size
            if eta is None:
                eta = optimal_step_size(num_experts, horizon=horizon, reward_bound=reward_bound)
            self.settings[name] = GroupSettings(
                group=name,
                num_forecasters=len(group.members_ER),
                num_experts=num_experts,
                num_replicas=group.num_replicas,
                feedback=feedback,
                rule=ExpertRule(step_size=eta, reward_bound=reward_bound, horizon=horizon, zeta=zeta),
            )
            self.states[name] = ExpertState.initial(len(group.members_ER), num_experts)

    def alive(self, group: str) -> Tensor:
        """Which experts of a group are still in the search: bool, shape (E, K)."""
        return self.states[group].alive_EK

    def mixture(self, group: str) -> Tensor:
        """The mixture weights u of a group: float64, shape (E, K), zero for wiped experts (equation 1)."""
        return self.states[group].mixture_EK

    def best(self, group: str) -> tuple[str, ...]:
        """The leading expert of each forecaster of a group."""
        leaders = self.mixture(group).argmax(dim=-1).tolist()
        return tuple(self.names(group)[leader] for leader in leaders)

    def step(self) -> list[Wipeout]:
        """Reward the experts for the gathered feedback, R = -dloss/du; wipe out those that cannot win (lines 7-14)."""
        rewards_FEK = {name: -self.gradients(name) for name in self.groups}
        for name, rewards in rewards_FEK.items():
            self.states[name] = advance(self.states[name], rewards, rule=self.settings[name].rule)
        self.zero_grad()
        return [
            Wipeout(group=group, index=index, expert=expert, num_feedbacks=self.states[group].num_feedbacks)
            for group, index, expert in self._publish()
        ]

    def state_dict(self) -> dict[str, Tensor]:
        """log v, survivors and t of every group, and the order of its experts' names is that of the model."""
        tensors = {}
        for name, state in self.states.items():
            tensors[f"{name}.log_v_EK"] = state.log_v_EK.clone()
            tensors[f"{name}.alive_EK"] = state.alive_EK.clone()
            tensors[f"{name}.num_feedbacks"] = torch.tensor(state.num_feedbacks)
        return tensors

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`; experts that were wiped in it are removed from the model.

        Raises ValueError if groups or shapes differ from this search's, a weight is not finite, an expert would
        come back, or a forecaster would be left without experts.
        """
        loaded = {name: _checked(name, own, state) for name, own in self.states.items()}
        known = {
            f"{name}.{field}" for name in self.states for field in ("log_v_EK", "alive_EK", "num_feedbacks")
        }
        if unknown := sorted(set(state) - known):
            raise ValueError(f"the state holds {unknown[0]!r}, which this search has no group for")
        self.states = loaded
        self.zero_grad()
        self._publish()


def _checked(name: str, own: ExpertState, state: dict[str, Tensor]) -> ExpertState:
    missing = [field for field in ("log_v_EK", "alive_EK", "num_feedbacks") if f"{name}.{field}" not in state]
    if missing:
        raise ValueError(f"the state has no '{name}.{missing[0]}'; it belongs to another search space")
    log_v_EK, alive_EK = state[f"{name}.log_v_EK"], state[f"{name}.alive_EK"].bool()
    if log_v_EK.shape != own.log_v_EK.shape or alive_EK.shape != own.alive_EK.shape:
        raise ValueError(
            f"group {name!r} has weights of shape {tuple(own.log_v_EK.shape)}; the state's is {tuple(log_v_EK.shape)}"
        )
    if not log_v_EK.isfinite().all():
        raise ValueError(f"the state's weights of group {name!r} are not all finite")
    if not alive_EK.any(dim=-1).all():
        raise ValueError(f"in the state a forecaster of group {name!r} has no expert alive")
    if (alive_EK & ~own.alive_EK.to(alive_EK.device)).any():
        raise ValueError(
            f"an expert of group {name!r} was wiped out here but is alive in the state; build the model anew"
        )
    return replace(
        own,
        log_v_EK=log_v_EK.to(own.log_v_EK),
        alive_EK=alive_EK.to(own.alive_EK.device),
        num_feedbacks=int(state[f"{name}.num_feedbacks"]),
    )
