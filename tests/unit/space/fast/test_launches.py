"""What a round launches on an accelerator, and that the host runs ahead of it: counted on torch's `meta` device."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.accelerator import Counted, HostWaits, Round, grouped, plain_launches
from benchmarks.rounds import USUAL, Setting
from xnas.experts.step_size import Feedback
from xnas.space.names import EXPERTS

SMALL = Setting(channels=4, cells=3, batch=4, size=8, nodes=2)


def test_a_round_launches_less_than_a_quarter_of_what_a_plain_one_does() -> None:
    plain = plain_launches(USUAL)
    # On the CPU the update of the experts counts too, and constants: there are more than on an accelerator.
    with grouped():
        ours = Round(replace(USUAL, batch=2, size=8), device="cpu").ours().totals()
    assert set(plain) < set(ours)
    assert 4 * sum(ours.values()) < sum(plain.values())
    assert all(4 * ours[part] < plain[part] for part in plain if part != "weights, step")


def leave(a_round: Round, gone: Sequence[str], *, edges: slice = slice(None)) -> None:
    """The experts named leave the edges, as after a wipeout."""
    state = a_round.experts.state_dict()
    for group in a_round.experts.groups:
        for name in gone:
            state[f"{group}.alive_EK"][edges, EXPERTS.index(name)] = False
    a_round.experts.load_state_dict(state)


@pytest.mark.parametrize("feedback", ["sample", "batch"])
@pytest.mark.parametrize("gone", [(), EXPERTS[:1], EXPERTS[2:6]], ids=["all", "six", "three"])
def test_the_host_waits_once_in_a_round_for_the_rewards(feedback: Feedback, gone: tuple[str, ...]) -> None:
    a_round = Round(SMALL, feedback=feedback)
    leave(a_round, gone, edges=slice(0, None, 2))
    with grouped():
        counted = a_round.ours()
    assert counted.to_host == {"experts": 1}


def test_experts_that_left_launch_nothing() -> None:
    launched = []
    for number in (0, 2, 4, 6):
        a_round = Round(SMALL)
        leave(a_round, EXPERTS[:number])
        with grouped():
            launched.append(sum(a_round.ours().totals().values()))
    assert launched == sorted(launched, reverse=True)
    assert launched[-1] < launched[0] / 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: bool(x[0] > 0),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: x.masked_fill_(x > 0, 0)[x > 1],
    ],
    ids=range(7),
)
def test_it_is_found_out_when_the_host_asks_for_numbers(ask: Callable[[Tensor], object]) -> None:
    with Counted() as counted, suppress(HostWaits):
        ask(torch.empty(3, device="meta"))
        assert counted.to_host
