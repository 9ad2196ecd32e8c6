"""XNAS: exponentiated gradient on the experts' rewards, with wipeout (algorithm 1).

Every group c of forecasters has its own horizon, T_c = validation samples x epochs x replicas when each sample's
reward counts as one feedback, and with it its own step size, eta_c* (section 3.1, "Multiple Learning Rates").
No weight decay and no momentum: the theory has no place for them (section 3.2.2).

E: indices of a group; K: experts of each; F: feedbacks of a round.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from xnas.experts.regret import RegretLedger, RegretSummary
from xnas.experts.scale import RewardScale, anytime_step_size, centred
from xnas.experts.state import ExpertRule, ExpertState, update_experts, update_experts_scaled
from xnas.experts.step_size import Feedback, check_positive, feedbacks_per_round, optimal_step_size
from xnas.optimizers.base import ArchitectureOptimizer
from xnas.optimizers.group_info import GroupInfo
from xnas.optimizers.learner import LEDGER, Learner
from xnas.optimizers.processes import ProcessGroup
from xnas.space.forecaster import ForecasterGroup


class XNASLearner(Learner):
    """Algorithm 1 for E forecasters with K experts each, and the ledger of their regret.

    `scaled` rewards are in units of their own size, and so is the rule (experts/scale.py).
    """

    def __init__(
        self, num_forecasters: int, num_experts: int, *, rule: ExpertRule, scaled: bool = False
    ) -> None:
        self.rule = rule
        self.state = ExpertState.initial(num_forecasters, num_experts)
        self.scale = RewardScale.initial(num_forecasters) if scaled else None
        self.ledger: RegretLedger | None = RegretLedger.initial(num_forecasters, num_experts)
        """None: no ledger is kept, as in games that need none."""

    @property
    def log_v_EK(self) -> Tensor:
        """log v; a wiped expert keeps its distance to the leader."""
        return self.state.log_v_EK

    @property
    def alive_EK(self) -> Tensor:
        """Mask of the experts that are still in the search: bool."""
        return self.state.alive_EK

    @property
    def leaves_experts_out(self) -> bool:
        """True if experts are wiped out."""
        return self.rule.zeta is not None

    @property
    def num_feedbacks(self) -> int:
        """t"""
        return self.state.num_feedbacks

    @property
    def regret(self) -> RegretSummary | None:
        """Regret and its bounds so far, if there is a ledger."""
        if self.ledger is None:
            return None
        return self.ledger.regret(self.alive_EK, rule=self.rule, scale=self.scale)

    def update(self, gradients_FEK: Tensor) -> None:
        """Reward the experts, R = -dloss/du; wipe out those that cannot win any more (lines 7-14)."""
        before, rewards_FEK, bound = self.state, -gradients_FEK, self.rule.reward_bound
        if self.scale is None:
            self.state = update_experts(before, rewards_FEK, rule=self.rule)
        else:
            bound = torch.inf
            rewards_FEK = centred(rewards_FEK.sum(dim=0), self.alive_EK)[None]
            self.state, self.scale = update_experts_scaled(before, self.scale, rewards_FEK[0], rule=self.rule)
        if self.ledger is not None:
            self.ledger = self.ledger.record(rewards_FEK, before=before, after=self.state, reward_bound=bound)

    def state_dict(self) -> dict[str, Tensor]:
        """log v, survivors and t, the size of rewards where they are scaled, and the ledger's sums."""
        scale = {} if self.scale is None else _as_tensors(self.scale)
        kept = {} if self.ledger is None else _as_tensors(self.ledger)
        ledger = {LEDGER + name: value for name, value in kept.items()}
        return _as_tensors(self.state) | scale | ledger

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state`."""
        ledger = {
            name.removeprefix(LEDGER): value for name, value in state.items() if name.startswith(LEDGER)
        }
        self.state = ExpertState(**_as_values(self.state, state))
        if self.scale is not None:
            self.scale = RewardScale(**_as_values(self.scale, state))
        if self.ledger is not None:
            self.ledger = RegretLedger(**_as_values(self.ledger, ledger))


def _as_tensors(value: ExpertState | RegretLedger | RewardScale) -> dict[str, Tensor]:
    return {item.name: torch.as_tensor(getattr(value, item.name)) for item in fields(value)}


def _as_values(
    own: ExpertState | RegretLedger | RewardScale, tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return the fields of a value like `own`, read from tensors."""
    values: dict[str, Any] = {}
    for item in fields(own):
        before, given = getattr(own, item.name), tensors[item.name]
        values[item.name] = given.to(before) if isinstance(before, Tensor) else int(given)
    return values


class XNAS(ArchitectureOptimizer):
    """The architecture optimizer of the paper.

    One round is `measure(closure)` on a validation batch, then `step()`. `rounds` says how many the search will
    make and `batch_size` how many validation samples each has: they set the horizon T of every group. A round may
    measure its batch in several parts, and several processes measure a part each: `batch_size` is all of them together.
    A round of more samples is refused, and so is one of fewer where T counts samples; elsewhere the first round must
    have them all.
    `reward_bound` is L; with None every forecaster takes its rewards in units of their own size, a feedback is all
    that a round tells, and nothing is clipped (experts/scale.py). `step_size` is eta, the same for all groups; None
    takes each group's eta* (equation 4), or sqrt(ln N) without a bound. `zeta` relaxes the wipeout; None turns it off.

    Raises ValueError for settings out of range, or a model without forecasters.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        rounds: int,
        batch_size: int,
        feedback: Feedback = "batch",
        reward_bound: float | None = None,
        zeta: float | None = 1.0,
        step_size: float | None = None,
        weight_optimizer: torch.optim.Optimizer | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1; got {rounds}")
        if step_size is not None:
            check_positive("step_size", step_size)
        if reward_bound is None and feedback != "batch":
            raise ValueError(
                f"without a reward bound nothing is clipped, so that feedback {feedback!r} is the same as 'batch'; "
                "choose that, or give a reward bound"
            )

        def build(group: ForecasterGroup) -> tuple[GroupInfo, XNASLearner]:
            horizon = rounds * feedbacks_per_round(
                feedback, batch_size=batch_size, num_replicas=group.num_replicas
            )
            scaled, bound = reward_bound is None, 1.0 if reward_bound is None else reward_bound
            eta = step_size
            if eta is None:
                eta = (
                    anytime_step_size(group.num_experts)
                    if scaled
                    else optimal_step_size(group.num_experts, horizon=horizon, reward_bound=bound)
                )
            rule = ExpertRule(step_size=eta, reward_bound=bound, horizon=horizon, zeta=zeta)
            settings = GroupInfo(
                name=group.name,
                method="xnas",
                edges=tuple(map(str, range(group.num_forecasters))),
                experts=group.experts,
                replicas=group.num_replicas,
                feedback=feedback,
                horizon=horizon,
                step_size=eta,
                reward_bound=bound,
                scaled=scaled,
                zeta=zeta,
            )
            return settings, XNASLearner(group.num_forecasters, group.num_experts, rule=rule, scaled=scaled)

        self.batch_size = batch_size
        super().__init__(
            model,
            build=build,
            feedback=feedback,
            weight_optimizer=weight_optimizer,
            process_group=process_group,
        )

    def _check_samples(self, samples: int) -> None:
        total = sum(self._num_samples) + samples
        if total > self.batch_size:
            raise ValueError(
                f"{total} samples were measured since the last step, and batch_size is {self.batch_size}; call step() "
                "after each batch, or give the batch_size of all that a step measures, on all devices together"
            )

    def _check_step(self) -> None:
        total = sum(self._num_samples)
        begins = not any(learner.num_feedbacks for learner in self.learners.values())
        if (
            self._num_samples
            and self.ranks is None
            and total < self.batch_size
            and (self.feedback == "sample" or begins)
        ):
            raise ValueError(
                f"{total} samples were measured since the last step, and batch_size is {self.batch_size}, by which T "
                "is counted; measure so many, drop an epoch's smaller last batch, or give another batch_size"
            )

    @property
    def states(self) -> dict[str, ExpertState]:
        """Weights and survivors of every group."""
        return {name: learner.state for name, learner in self._xnas_learners().items()}

    def regret(self, group: str) -> RegretSummary | None:
        """Regret of a group's forecasters and its bounds so far (theorem 1)."""
        return self._xnas_learners()[group].regret

    def _xnas_learners(self) -> dict[str, XNASLearner]:
        return {name: learner for name, learner in self.learners.items() if isinstance(learner, XNASLearner)}
