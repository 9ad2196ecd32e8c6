"""The published cells: all are there, valid, and build networks."""

import pytest
import torch

from xnas.space.backbone import NetworkSpec
from xnas.space.darts.network import Network
from xnas.space.genotype import Genotype
from xnas.space.published import PUBLISHED, published_genotype, published_names, published_source

PLAN = NetworkSpec(image_channels=3, num_classes=5, channels=4, cells=3)


def test_the_published_cells_are_these() -> None:
    assert published_names() == (
        "xnas",
        "darts_v1",
        "darts_v2",
        "nasnet_a",
        "amoebanet_a",
        "snas_mild",
        "pdarts",
        "asap",
        "gdas_v1",
        "enas",
        "pnas",
        "pc_darts_cifar",
        "pc_darts_imagenet",
        "drnas_cifar10",
    )
    assert tuple(PUBLISHED) == published_names()


@pytest.mark.parametrize("name", published_names())
def test_a_published_cell_has_a_source_and_makes_a_network_that_learns(name: str) -> None:
    genotype = published_genotype(name)
    assert isinstance(genotype, Genotype)
    assert published_source(name)
    network = Network(genotype, PLAN)
    logits = network(torch.randn(2, 3, 8, 8))
    assert logits.shape == (2, 5)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.classifier.parameters())


def test_only_spaces_with_repeated_predecessors_are_said_to_be_so() -> None:
    repeating = {
        name
        for name in published_names()
        if published_genotype(name).normal.repeating_nodes
        or published_genotype(name).reduction.repeating_nodes
    }
    assert {name for name in published_names() if published_genotype(name).space == "nasnet"} == repeating
    assert repeating == {"nasnet_a", "amoebanet_a", "enas", "pnas"}


def test_a_name_is_found_in_any_case_and_with_dashes() -> None:
    assert published_genotype(" PC-DARTS-CIFAR ") is published_genotype("pc_darts_cifar")
    assert published_source("XNAS") == published_source("xnas")


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(
        ValueError, match=r"^unknown published genotype 'dart_v2'; did you mean 'darts_v2'\? Known: xnas"
    ):
        published_genotype("Dart-V2")
    with pytest.raises(ValueError, match=r"^unknown published genotype ''"):
        published_source("")
