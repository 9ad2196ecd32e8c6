"""Whichever way nodes are computed, by kernels or grouped, a supernet gives what the plain one does."""

import random
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch

from benchmarks.accelerator import grouped
from benchmarks.plain import plain_logits
from xnas.space.names import EXPERTS, SEARCHABLE

from ....helpers.equal_supernets import check_equal, forecasters_of, images, supernet


@pytest.fixture(autouse=True, params=["native", "grouped"])
def _path(request: pytest.FixtureRequest) -> Iterator[None]:
    with grouped() if request.param == "grouped" else nullcontext():
        yield


@pytest.mark.parametrize("size", [(6, 6), (7, 5), (8, 3), (2, 2), (1, 4)])
@pytest.mark.parametrize("experts", [EXPERTS, SEARCHABLE], ids=["seven", "all"])
def test_all_experts_on_every_edge_of_both_cells(experts: tuple[str, ...], size: tuple[int, int]) -> None:
    check_equal(supernet(experts, nodes=3), images(size))


@pytest.mark.parametrize("seed", range(12))
def test_any_survivors(seed: int) -> None:
    model = supernet(SEARCHABLE, nodes=3, seed=seed, partial=(1, 1, 2, 4)[seed % 4])
    chance = random.Random(seed)
    for forecaster in forecasters_of(model):
        for name in chance.sample(SEARCHABLE, chance.randint(0, len(SEARCHABLE) - 1)):
            forecaster.remove(name)
    check_equal(model, images((5 + seed % 3, 6)))


@pytest.mark.parametrize("name", SEARCHABLE)
def test_the_same_survivor_everywhere(name: str) -> None:
    model = supernet(SEARCHABLE)
    for forecaster in forecasters_of(model):
        for other in SEARCHABLE:
            if other != name:
                forecaster.remove(other)
    if name == "none":
        assert torch.equal(model(images()), plain_logits(model, images())[0])
    else:
        check_equal(model, images())
