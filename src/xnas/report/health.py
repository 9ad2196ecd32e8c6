"""How healthy a search is: how far it has decided, for which kind of operation, and whether its L suits its rewards.

E: forecasters of a group; K: experts of each, N of them; u, v: mixture and expert weights; t: feedbacks so far, T of
them in the whole search; eta: step size; L: bound on |R|.

A lead is the difference of the two largest ln v of a forecaster. A feedback changes it by 2 eta L at most, so that
2 eta L (T - t) can still change: with a larger lead the forecaster has decided.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from xnas.optimizers.group_info import GroupInfo
from xnas.runs.history import GroupWeights, SearchEpoch

SKIP = ("skip_connect",)
POOLING = ("max_pool_3x3", "avg_pool_3x3")

MOST_SKIP = 0.5
"""Share of skip connections among the leaders of a group above which a search is said to collapse.

In searches that collapse, operations without weights take over, skip connections above all (Zela et al. 2020,
"Understanding and Robustifying Differentiable Architecture Search"). Of the 28 published cells that come with xnas one
consists of them by more than half. By chance more than 7 of 14 leaders are skip connections in 1 of 4,300 draws from
seven experts.
"""

FAR_ABOVE = 0.01
"""Mean |R| / L below which, if nothing was clipped either, L is far above the rewards.

With rewards of the mean's size a lead grows by up to 2 |R| eta a feedback, and the wipeout's threshold falls by
2 L eta zeta: at this ratio and zeta = 1 they do not meet before 99 % of the search, and no weight goes further than a
hundredth of what eta was chosen for. Single rewards may be larger.
"""

FAR_BELOW = 0.25
"""Share of clipped rewards above which L is far below them.

The paper's settings (per sample, L = 1) clip about a tenth (7 to 12 % on NAS-Bench-201 cells). A clipped reward says no
more than its sign, and the regret that is bounded is no longer that of the losses.
"""

Scale = Literal["fine", "far above", "far below"]
"""Where L is, seen from the rewards."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """How a group stands at the end of an epoch. All are shares, in [0, 1]."""

    entropy: float
    """Mean over the forecasters of -sum u ln u / ln N: 1 while all experts are equal, 0 where one has it all."""
    skip: float
    """Of the forecasters, those led by a skip connection. Experts that are level share the lead."""
    pooling: float
    """The same of poolings."""
    decided: float | None
    """Of the forecasters, those whose lead exceeds what can still change. None where nothing bounds what can."""
    lead: float | None
    """Median over the forecasters of the lead as a share of what can still change, 1 where decided."""


def health_of(group: GroupInfo, weights: GroupWeights) -> Health | None:
    """The health of a group with these weights; None if it has nothing to choose between."""
    num_experts = len(group.experts)
    forecasters = [
        (u_K, [log_v for log_v, lives in zip(log_v_K, alive_K, strict=True) if lives], log_v_K, alive_K)
        for u_K, log_v_K, alive_K in zip(weights.u_EK, weights.log_v_EK, weights.alive_EK, strict=True)
        if any(alive_K)
    ]
    if not forecasters:
        return None
    led_by = {"skip": 0.0, "pooling": 0.0}
    for _, living, log_v_K, alive_K in forecasters:
        best = max(living)
        leaders = [
            name
            for name, log_v, lives in zip(group.experts, log_v_K, alive_K, strict=True)
            if lives and log_v == best
        ]
        led_by["skip"] += sum(name in SKIP for name in leaders) / len(leaders)
        led_by["pooling"] += sum(name in POOLING for name in leaders) / len(leaders)
    count = len(forecasters)
    leads = _lead_shares([living for _, living, _, _ in forecasters], group, feedbacks=weights.feedbacks)
    return Health(
        entropy=sum(_entropy(u_K, num_experts=num_experts) for u_K, _, _, _ in forecasters) / count,
        skip=led_by["skip"] / count,
        pooling=led_by["pooling"] / count,
        decided=None if leads is None else sum(share > 1 for share in leads) / count,
        lead=None if leads is None else statistics.median(min(1.0, share) for share in leads),
    )


def scale_of(group: GroupInfo, weights: GroupWeights) -> Scale | None:
    """Where L is, seen from the rewards so far. None where there are none, or no ledger of them."""
    size, clip_rate = reward_size(weights), clip_share(weights)
    if not group.reward_bound or group.scaled or not weights.feedbacks or size is None or clip_rate is None:
        return None
    if clip_rate > FAR_BELOW:
        return "far below"
    return "far above" if clip_rate == 0 and size < FAR_ABOVE * group.reward_bound else "fine"


def scale_words(group: GroupInfo, weights: GroupWeights) -> str:
    """The same as the rest of a sentence about L; empty where `scale_of` is None."""
    size, clip_rate = reward_size(weights), clip_share(weights)
    match scale_of(group, weights):
        case "far below":
            return f"clips {clip_rate:.0%} of the rewards: of those only the sign counts"
        case "far above":
            assert size is not None
            reach = 2 * group.step_size * group.horizon * size
            late = "" if group.zeta is None else _last_share(group, size)
            return (
                f"is far above the rewards (mean |R| {size:.2g}, none clipped): with rewards of that size leads reach "
                f"about {reach:.2g} nats by the end{late}"
            )
        case "fine":
            return f"suits the rewards (mean |R| {size:.2g}, {clip_rate:.1%} clipped)"
        case _:
            return ""


def concerns(groups: Mapping[str, GroupInfo], epoch: SearchEpoch) -> dict[str, str]:
    """Return health warnings for an epoch, one line per kind."""
    said: dict[str, list[str]] = {}
    for name, weights in epoch.groups.items():
        group, health = groups[name], health_of(groups[name], weights)
        if len(group.experts) < 2 or not weights.feedbacks or health is None:
            continue
        if health.skip > MOST_SKIP:
            said.setdefault("skip", []).append(f"{health.skip:.0%} of group {name}'s")
        match scale_of(group, weights):
            case "far above":
                line = f"group {name}: L = {group.reward_bound:g}, mean |R| {reward_size(weights):.2g}"
                said.setdefault("far above", []).append(line)
            case "far below":
                line = f"group {name}: L = {group.reward_bound:g}, {clip_share(weights):.0%} clipped"
                said.setdefault("far below", []).append(line)
    lines = {
        "skip": "skip connections lead {} forecasters: a search that collapses ends so; compare what it finds with "
        "controls",
        "far above": "L is far above the rewards ({}), none of which was clipped: the weights move little, and by "
        "rewards of that size nobody is wiped out before the end; a new search with a smaller --search.reward-bound "
        "would do more",
        "far below": "L is far below the rewards ({}): of those that are clipped only the sign counts; a new search "
        "with a larger --search.reward-bound would hear more",
    }
    return {
        kind: line.format((" and " if kind == "skip" else "; ").join(said[kind]))
        for kind, line in lines.items()
        if kind in said
    }


def reward_size(weights: GroupWeights) -> float | None:
    """Mean |R| over the forecasters, before clipping; None without a ledger."""
    return _mean(weights.ledger.reward_size_E) if weights.ledger else None


def clip_share(weights: GroupWeights) -> float | None:
    """Share of the rewards that were clipped; None without a ledger."""
    return _mean(weights.ledger.clip_rate_E) if weights.ledger else None


def _lead_shares(living: list[list[float]], group: GroupInfo, *, feedbacks: int) -> list[float] | None:
    """Every forecaster's lead as a multiple of what can still change, of the ln v of its living experts."""
    if group.reward_bound is None or group.scaled:
        return None
    changeable = 2 * group.step_size * group.reward_bound * max(0, group.horizon - feedbacks)
    shares = []
    for log_v in living:
        best, second, *_ = [*sorted(log_v, reverse=True), -math.inf]
        lead = best - second
        shares.append(lead / changeable if changeable > 0 else math.inf if lead > 0 else 0.0)
    return shares


def _entropy(u_K: Sequence[float], *, num_experts: int) -> float:
    if num_experts < 2:
        return 0.0
    entropy = -sum(u * math.log(u) for u in u_K if u > 0) / math.log(num_experts)
    return min(1.0, max(0.0, entropy))


def _last_share(group: GroupInfo, size: float) -> str:
    """From when on somebody can be wiped out by rewards of that size, as the end of a sentence."""
    threshold = (group.zeta or 0.0) * (group.reward_bound or 0.0)
    last = size / (size + threshold) if threshold > 0 else 1.0
    return f", and no expert is wiped out before the last {100 * last:.2g} % of the search"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
