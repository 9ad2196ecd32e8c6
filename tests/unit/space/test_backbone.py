"""Stacks of any geometry: where the reductions stand, what the stems give, what cannot be built."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xnas.space.backbone import NetworkSpec, SqueezeExcite
from xnas.space.darts.network import Network, build_network
from xnas.space.darts.space import DartsSpace
from xnas.space.nasbench201.space import Nasbench201Space
from xnas.space.published import published_genotype


def plan(**changes: Any) -> NetworkSpec:
    settings: dict[str, Any] = {"image_channels": 3, "num_classes": 4, "channels": 4, "cells": 3, **changes}
    return NetworkSpec(**settings)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.array, torch.tensor])
def test_numbers_of_numpy_and_torch_are_like_pythons_own(kind: Callable[[int], Any]) -> None:
    given = plan(
        channels=kind(4), cells=kind(3), reductions=kind(2), stem_channels=kind(8), num_classes=kind(4)
    )
    assert repr(given) == repr(plan(stem_channels=8))
    for space, plain in (
        (
            DartsSpace(num_nodes=kind(2), partial_channels=kind(2)),
            DartsSpace(num_nodes=2, partial_channels=2),
        ),
        (Nasbench201Space(partial_channels=kind(2)), Nasbench201Space(partial_channels=2)),
    ):
        assert repr(space) == repr(plain)
        assert space.random_genotype(kind(7)) == plain.random_genotype(7)


@pytest.mark.parametrize("wrong", [True, 4.0, np.float32(4), "4", None, np.arange(2)])
def test_what_is_no_whole_number_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="channels must be a whole number; got "):
        plan(channels=wrong)
    with pytest.raises(ValueError, match="num_nodes must be a whole number; got "):
        DartsSpace(num_nodes=wrong)


def test_a_network_is_built_of_a_genotype_and_not_of_its_name() -> None:
    with pytest.raises(
        ValueError, match="a network is built of a genotype; got 'xnas'; read_genotype reads names"
    ):
        build_network("xnas", plan())  # type: ignore[arg-type]


@settings(max_examples=200, derandomize=True)
@given(st.integers(1, 40), st.data())
def test_reductions_are_different_cells_evenly_spread(cells: int, data: st.DataObject) -> None:
    reductions = data.draw(st.integers(0, cells))
    places = plan(cells=cells, reductions=reductions).reduction_cells
    assert len(set(places)) == reductions
    assert all(0 <= place < cells for place in places)
    steps = [after - before for before, after in zip((0, *places), (*places, cells), strict=True)]
    assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"image_channels": 0}, "image_channels must be at least 1; got 0"),
        ({"num_classes": 1}, "num_classes must be at least 2; got 1"),
        ({"cells": 0, "reductions": 0}, "cells must be at least 1; got 0"),
        ({"reductions": -1}, "reductions must be at least 0; got -1"),
        ({"reductions": 4}, "4 reductions do not fit into 3 cells; use at most 3 reductions or more cells"),
        ({"channels": 0}, "channels must be at least 1 for the stem 'cifar'; got 0"),
        ({"channels": 1, "stem": "imagenet"}, "channels must be at least 2 for the stem 'imagenet'; got 1"),
        ({"stem_channels": 0}, "stem_channels must be at least 1 for the stem 'cifar'; got 0"),
        (
            {"stem_channels": 1, "stem": "imagenet"},
            "stem_channels must be at least 2 for the stem 'imagenet'; got 1",
        ),
        (
            {"stem": "stridet"},
            "unknown stem 'stridet'; did you mean 'strided'? Known: cifar, strided, imagenet",
        ),
    ],
)
def test_a_stack_that_cannot_be_built_is_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError) as caught:
        plan(**changes)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("stem", "channels", "sides"),
    [("cifar", (12, 12), (32, 32)), ("strided", (12, 12), (16, 16)), ("imagenet", (4, 4), (8, 4))],
)
def test_a_stem_gives_its_channels_and_size(
    stem: str, channels: tuple[int, int], sides: tuple[int, int]
) -> None:
    network = Network(published_genotype("xnas"), plan(stem=stem))
    features = network.stem(torch.randn(2, 3, 32, 32))
    assert [tuple(part.shape[1:]) for part in features] == [
        (width, side, side) for width, side in zip(channels, sides, strict=True)
    ]
    wider = Network(published_genotype("xnas"), plan(stem=stem, stem_channels=6))
    assert wider.stem.out_channels == (6, 6)
    assert wider(torch.randn(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize("stem", ["cifar", "strided", "imagenet"])
def test_the_narrowest_stack_works(stem: str) -> None:
    narrow = plan(stem=stem, channels=2 if stem == "imagenet" else 1, squeeze_excite=True, image_channels=1)
    assert Network(published_genotype("asap"), narrow)(torch.randn(2, 1, 33, 35)).shape == (2, 4)


def test_width_doubles_where_height_and_width_halve() -> None:
    network = Network(published_genotype("darts_v1"), plan(cells=6))
    shapes: list[tuple[int, ...]] = []
    for cell in network.cells:
        cell.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    network(torch.randn(2, 3, 16, 16))
    assert network.spec.reduction_cells == (2, 4)
    assert shapes == [(16, 16, 16)] * 2 + [(32, 8, 8)] * 2 + [(64, 4, 4)] * 2


def test_squeeze_and_excitation_stands_after_the_cells_up_to_two_thirds_of_the_depth() -> None:
    network = Network(published_genotype("xnas"), plan(cells=14, squeeze_excite=True))
    excited = [isinstance(module, SqueezeExcite) for module in network.excitations]
    assert excited == [index <= 9 for index in range(14)]
    plain = Network(published_genotype("xnas"), plan(cells=14))
    assert all(isinstance(module, nn.Identity) for module in plain.excitations)


def test_squeeze_and_excitation_scales_each_channel_by_a_gate_between_0_and_1() -> None:
    torch.manual_seed(0)
    module = SqueezeExcite(8, reduction=4)
    features = torch.rand(2, 8, 3, 3) + 0.1
    gates = module(features) / features
    torch.testing.assert_close(gates, gates[:, :, :1, :1].expand_as(gates))
    assert ((gates > 0) & (gates < 1)).all()
