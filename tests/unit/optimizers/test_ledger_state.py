"""The regret ledger goes with the state of its learner, and states from before there were ledgers still load."""

import pytest
import torch
from torch import Tensor

from xnas.experts.state import ExpertRule
from xnas.optimizers.learner import LEDGER, check_state
from xnas.optimizers.xnas import XNASLearner

RULE = ExpertRule(step_size=0.3, reward_bound=0.9, horizon=60)


def learner() -> XNASLearner:
    return XNASLearner(2, 3, rule=RULE)


def gradients(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drift = torch.tensor([-0.4, 0.1, 0.6])
    return torch.randn(3, 2, 3, dtype=torch.float64, generator=generator) + drift


def taught(updates: int) -> XNASLearner:
    pupil = learner()
    for seed in range(updates):
        pupil.update(gradients(seed))
    return pupil


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_ledger_goes_on_where_it_was_and_ends_as_if_nothing_had_happened() -> None:
    whole, first = taught(20), taught(12)
    assert not whole.alive_EK.all()
    later = learner()
    kept = first.state_dict()
    check_state(later.state_dict(), kept, alive_EK=later.alive_EK)
    later.load_state_dict(kept)
    assert later.ledger is not None
    assert (later.ledger.num_feedbacks, later.ledger.squared_feedbacks) == (36, 12 * 9)
    assert same(later.state_dict(), kept)
    for seed in range(12, 20):
        later.update(gradients(seed))
    assert same(later.state_dict(), whole.state_dict())
    assert later.regret is not None
    assert whole.regret is not None
    assert torch.equal(later.regret.regret_E, whole.regret.regret_E)
    assert later.regret.holds_E.all()


def test_half_a_ledger_is_refused() -> None:
    state, later = taught(3).state_dict(), learner()
    del state[LEDGER + "log_gamma_E"]
    with pytest.raises(
        ValueError, match="the state has no 'ledger_log_gamma_E'; it belongs to another search"
    ):
        check_state(later.state_dict(), state, alive_EK=later.alive_EK)
