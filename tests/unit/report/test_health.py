"""The health of a search and its promise, on numbers worked by hand."""

import dataclasses
import math

import pytest

from xnas.optimizers.group_info import GroupInfo
from xnas.report.health import FAR_BELOW, concerns, health_of, scale_of, scale_words
from xnas.report.regret import check_regret
from xnas.runs.history import GroupWeights, Ledger, SearchEpoch
from xnas.space.published import PUBLISHED

GROUP = GroupInfo(
    method="xnas",
    name="normal",
    experts=("skip_connect", "max_pool_3x3", "sep_conv_3x3", "dil_conv_3x3"),
    edges=("0→2", "1→2"),
    replicas=1,
    feedback="batch",
    horizon=100,
    step_size=0.1,
    reward_bound=0.5,
    zeta=1.0,
)
"""2 eta L = 0.1: after t feedbacks (100 - t) / 10 nats can still change."""


def weights(
    *log_v_EK: tuple[float, ...], feedbacks: int = 50, ledger: Ledger | None = None, gone: int = 0
) -> GroupWeights:
    """Of forecasters of which the last `gone` experts were wiped out."""
    alive = (True,) * (4 - gone) + (False,) * gone
    v_EK = [[math.exp(log_v) * lives for log_v, lives in zip(row, alive, strict=True)] for row in log_v_EK]
    return GroupWeights(
        feedbacks=feedbacks,
        u_EK=tuple([v / sum(row) for v in row] for row in v_EK),
        log_v_EK=log_v_EK,
        alive_EK=(alive,) * len(log_v_EK),
        ledger=ledger,
    )


def ledger(**changes: list[float]) -> Ledger:
    plain = Ledger(
        regret_E=[1.0, 3.0],
        theorem_E=[4.0, 4.0],
        bound_E=[9.0, 8.0],
        bound_without_wipeout_E=[9.5, 9.5],
        log_gamma_E=[math.log(2), math.log(8)],
        clip_rate_E=[0.0, 0.1],
        reward_size_E=[0.2, 0.4],
    )
    return dataclasses.replace(plain, **changes)


def epoch(**groups: GroupWeights) -> SearchEpoch:
    return SearchEpoch(
        epoch=1, step=1, parameters=1, multiply_adds=None,
        train_loss=1.0, train_accuracy=0.5, val_loss=1.0, val_accuracy=0.5,
        groups=groups,
    )  # fmt: skip


def test_equal_experts_have_entropy_one_and_share_the_lead() -> None:
    health = health_of(GROUP, weights((0, 0, 0, 0), (2, 2, 2, 2), feedbacks=0))
    assert health is not None
    assert health.entropy == pytest.approx(1)
    assert (health.skip, health.pooling) == (0.25, 0.25)
    assert (health.decided, health.lead) == (0, 0)


def test_entropy_is_that_of_the_mixture_over_the_logarithm_of_all_experts() -> None:
    # u = (1/2, 1/2, 0, 0): ln 2 / ln 4 = 1/2; a lone survivor has none: (1/2 + 0) / 2
    half, lone = weights((0, 0, -99, -99), gone=2), weights((5, 0, 0, 0), gone=3)
    both = GroupWeights(
        feedbacks=50,
        u_EK=(half.u_EK[0], lone.u_EK[0]),
        log_v_EK=(half.log_v_EK[0], lone.log_v_EK[0]),
        alive_EK=(half.alive_EK[0], lone.alive_EK[0]),
    )
    health = health_of(GROUP, both)
    assert health is not None
    assert health.entropy == pytest.approx(0.25)


def test_a_forecaster_of_one_expert_has_no_entropy_and_is_decided() -> None:
    group = dataclasses.replace(GROUP, experts=("skip_connect",))
    one = GroupWeights(feedbacks=5, u_EK=((1.0,),), log_v_EK=((0.0,),), alive_EK=((True,),))
    health = health_of(group, one)
    assert health is not None
    assert (health.entropy, health.skip, health.decided, health.lead) == (0, 1, 1, 1)
    assert concerns({"normal": group}, epoch(normal=one)) == {}


def test_leads_are_measured_by_what_can_still_change() -> None:
    # At t = 50, 5 nats can still change: leads of 6 and 1 are decided and a fifth of it.
    health = health_of(GROUP, weights((6, 0, 0, 0), (0, 1, 0, 2)))
    assert health is not None
    assert health.decided == 0.5
    assert health.lead == pytest.approx((1 + 0.2) / 2)
    assert (health.skip, health.pooling) == (0.5, 0)
    # At the end nothing can: any lead decides, a tie does not.
    health = health_of(GROUP, weights((1e-9, 0, 0, 0), (1, 1, 0, 0), feedbacks=100))
    assert health is not None
    assert (health.decided, health.lead) == (0.5, 0.5)
    # A lead of exactly what can still change may yet be caught up with.
    health = health_of(GROUP, weights((5, 0, 0, 0)))
    assert health is not None
    assert (health.decided, health.lead) == (0, 1)


def test_the_wiped_out_neither_lead_nor_are_second() -> None:
    # The last expert's weight is on record as it was when it left.
    health = health_of(GROUP, weights((0, 7, 1, 6.9), gone=1))
    assert health is not None
    assert health.pooling == 1
    assert health.decided == 1


def test_of_rivals_nothing_bounds_what_can_still_change() -> None:
    group = dataclasses.replace(GROUP, reward_bound=None, method="gd")
    health = health_of(group, weights((6, 0, 0, 0)))
    assert health is not None
    assert (health.skip, health.decided, health.lead) == (1, None, None)
    assert scale_of(group, weights((6, 0, 0, 0))) is None
    assert scale_words(group, weights((6, 0, 0, 0))) == ""


def test_a_group_without_forecasters_has_no_health() -> None:
    assert health_of(GROUP, GroupWeights(feedbacks=0, u_EK=(), log_v_EK=(), alive_EK=())) is None
    empty = ledger(**{field.name: [] for field in dataclasses.fields(Ledger)})
    assert check_regret(empty) is None


@pytest.mark.parametrize(
    ("sizes", "clipped", "scale"),
    [
        ([0.2, 0.4], [0.0, 0.1], "fine"),
        ([0.002, 0.004], [0.0, 0.0], "far above"),
        ([0.006, 0.006], [0.0, 0.0], "fine"),  # 1.2 % of L
        ([0.002, 0.004], [0.0, 1e-4], "fine"),  # some are large
        ([2.0, 4.0], [FAR_BELOW, FAR_BELOW], "fine"),
        ([2.0, 4.0], [0.3, 0.3], "far below"),
    ],
)
def test_l_is_judged_by_the_rewards(sizes: list[float], clipped: list[float], scale: str) -> None:
    told = weights((0, 0, 1, 0), ledger=ledger(reward_size_E=sizes, clip_rate_E=clipped))
    assert scale_of(GROUP, told) == scale
    assert list(concerns({"normal": GROUP}, epoch(normal=told))) == [scale] * (scale != "fine")


def test_the_words_about_l_give_the_reach_of_leads_and_the_time_of_wipeouts() -> None:
    told = weights((1, 0, 0, 0), ledger=ledger(reward_size_E=[0.004, 0.004], clip_rate_E=[0.0, 0.0]))
    # 2 eta T |R| = 0.08 nats; 2 |R| t = 2 zeta L (T - t) from t / T = 0.5 / 0.504 on.
    words = scale_words(GROUP, told)
    assert (
        "(mean |R| 0.004, none clipped): with rewards of that size leads reach about 0.08 nats by the end"
        in words
    )
    assert words.endswith("no expert is wiped out before the last 0.79 % of the search")
    assert "wiped" not in scale_words(dataclasses.replace(GROUP, zeta=None), told)
    assert scale_of(GROUP, dataclasses.replace(told, feedbacks=0)) is None


def test_more_than_half_of_a_groups_leaders_being_skip_connections_is_a_concern() -> None:
    half, all_ = weights((6, 0, 0, 0), (0, 1, 0, 2)), weights((6, 0, 0, 0), (3, 1, 0, 2))
    groups = {"normal": GROUP, "reduction": dataclasses.replace(GROUP, name="reduction")}
    assert concerns(groups, epoch(normal=half, reduction=half)) == {}
    found = concerns(groups, epoch(normal=half, reduction=all_))
    assert list(found) == ["skip"]
    assert found["skip"].startswith("skip connections lead 100% of group reduction's forecasters: ")
    assert concerns(groups, epoch(reduction=dataclasses.replace(all_, feedbacks=0))) == {}


def test_one_published_cell_in_28_has_more_skip_connections_than_that() -> None:
    cells = [
        cell for entry in PUBLISHED.values() for cell in (entry.genotype.normal, entry.genotype.reduction)
    ]
    shares = [
        sum(edge.operation == "skip_connect" for edge in cell.edges) / len(cell.edges) for cell in cells
    ]
    assert (len(shares), sum(share > 0.5 for share in shares)) == (28, 1)


def test_a_promise_is_told_of_the_forecaster_nearest_to_its_bound() -> None:
    promise = check_regret(ledger())
    assert promise is not None
    assert (promise.mean_regret, promise.regret, promise.bound, promise.gap) == (2, 3, 8, 5)
    assert (promise.bound_without_wipeout, promise.theorem) == (9.5, 4)
    assert promise.gamma == pytest.approx(4)  # the geometric mean of 2 and 8
    assert (promise.clip_rate, promise.reward_size) == (0.05, pytest.approx(0.3))
    assert (promise.kept, promise.forecasters) == (2, 2)
    assert promise.several_at_once
    broken = check_regret(ledger(regret_E=[10.0, 8.0 + 1e-9], theorem_E=[9.0, 8.0]))
    assert broken is not None
    assert (broken.kept, broken.gap, broken.several_at_once) == (1, -1, False)
