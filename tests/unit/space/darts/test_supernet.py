"""The DARTS space: its supernet, which shrinks as experts leave, and its random genotypes, which all build."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas.space.backbone import NetworkSpec
from xnas.space.cost import count_parameters
from xnas.space.darts.network import build_network
from xnas.space.darts.space import DartsSpace
from xnas.space.darts.supernet import GROUPS, cell_edges
from xnas.space.forecaster import forecaster_groups
from xnas.space.genotype import Genotype
from xnas.space.genotype_text import from_darts_text, to_darts_text
from xnas.space.names import EXPERTS, Stem

SPACE = DartsSpace(num_nodes=2)
PLAN = NetworkSpec(image_channels=3, num_classes=5, channels=4, cells=4)


def test_the_edges_of_a_cell_are_numbered_node_by_node() -> None:
    assert cell_edges(2) == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert len(cell_edges(4)) == 14
    assert SPACE.edge_labels("normal") == ("0→2", "1→2", "0→3", "1→3", "2→3")
    assert SPACE.edge_labels("reduction") == SPACE.edge_labels("normal")


def test_cells_of_one_type_are_the_replicas_of_a_group() -> None:
    groups = forecaster_groups(SPACE.supernet(PLAN))
    assert set(groups) == set(GROUPS)
    assert {name: (len(group.replicas_ER), group.num_replicas) for name, group in groups.items()} == {
        "normal": (5, 2),
        "reduction": (5, 2),
    }
    assert all(member.names == EXPERTS for group in groups.values() for member in group)


def test_the_paper_has_six_normal_and_two_reduction_cells() -> None:
    with torch.device("meta"):
        supernet = DartsSpace().supernet(NetworkSpec(image_channels=3, num_classes=10, channels=16, cells=8))
    groups = forecaster_groups(supernet)
    assert (groups["normal"].num_replicas, groups["reduction"].num_replicas) == (6, 2)
    assert len(groups["normal"].replicas_ER) == 14


@settings(max_examples=12, derandomize=True, deadline=None)
@given(st.data())
def test_a_supernet_of_any_geometry_classifies(data: st.DataObject) -> None:
    torch.manual_seed(0)
    cells = data.draw(st.integers(2, 4))
    stem: Stem = data.draw(st.sampled_from(("cifar", "strided", "imagenet")))
    plan = NetworkSpec(
        image_channels=data.draw(st.integers(1, 4)),
        num_classes=data.draw(st.integers(2, 7)),
        channels=data.draw(st.integers(2, 5)),
        cells=cells,
        reductions=data.draw(st.integers(1, cells - 1)),
        stem=stem,
    )
    space = DartsSpace(num_nodes=data.draw(st.integers(1, 3)), experts=("none", *EXPERTS))
    height, width = (data.draw(st.integers(9, 20)) for _ in range(2))
    logits = space.supernet(plan)(torch.randn(2, plan.image_channels, height, width))
    assert logits.shape == (2, plan.num_classes)
    assert logits.isfinite().all()


def test_the_supernet_shrinks_as_experts_leave_until_one_is_left_on_each_edge() -> None:
    torch.manual_seed(0)
    supernet = SPACE.supernet(PLAN)
    images = torch.randn(2, 3, 8, 8)
    sizes = [count_parameters(supernet)]
    for name in ("sep_conv_5x5", "dil_conv_5x5", "sep_conv_3x3", "dil_conv_3x3"):
        for group in forecaster_groups(supernet).values():
            for member in group:
                member.remove(name)
        sizes.append(count_parameters(supernet))
        assert supernet(images).shape == (2, 5)
    assert all(after < before for before, after in pairwise(sizes))
    for group in forecaster_groups(supernet).values():
        for member in group:
            member.remove("max_pool_3x3")
            member.remove("avg_pool_3x3")
            assert member.names == ("skip_connect",)
            assert member.mixture_K.tolist() == [1.0]
    assert supernet(images).isfinite().all()


@pytest.mark.parametrize(("cells", "reductions"), [(3, 0), (3, 3), (1, 1), (1, 0)])
def test_a_search_needs_cells_of_both_kinds(cells: int, reductions: int) -> None:
    plan = NetworkSpec(image_channels=3, num_classes=5, channels=4, cells=cells, reductions=reductions)
    with pytest.raises(
        ValueError, match=f"^a search needs normal and reduction cells; {cells} cells with {reductions}"
    ):
        SPACE.supernet(plan)


def test_a_space_that_offers_no_choice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a cell needs at least 1 node; got 0$"):
        DartsSpace(num_nodes=0)
    with pytest.raises(ValueError, match=r"^unknown operation 'skip'"):
        DartsSpace(experts=("skip",))
    with pytest.raises(ValueError, match=r"^the operation 'skip_connect' is listed twice among the experts$"):
        DartsSpace(experts=("skip_connect", "skip_connect"))
    for experts in ((), ("none",)):
        with pytest.raises(ValueError, match=r"^the experts must hold an operation other than 'none'"):
            DartsSpace(experts=experts)


def test_random_genotypes_repeat_with_their_seed_and_differ_between_seeds() -> None:
    space = DartsSpace(experts=("none", *EXPERTS))
    drawn = [space.random_genotype(seed) for seed in range(50)]
    assert drawn == [space.random_genotype(seed) for seed in range(50)]
    assert len(set(drawn)) == 50
    edges = [edge for genotype in drawn for edge in (*genotype.normal.edges, *genotype.reduction.edges)]
    assert {edge.operation for edge in edges} == set(EXPERTS)
    assert {edge.source for edge in edges} == {0, 1, 2, 3, 4}


def test_300_random_genotypes_go_through_text_and_json_into_networks_that_classify() -> None:
    torch.manual_seed(0)
    stems: tuple[Stem, ...] = ("cifar", "strided")
    for seed in range(300):
        drawn = DartsSpace(num_nodes=1 + seed % 4).random_genotype(seed)
        genotype = Genotype.from_json(from_darts_text(to_darts_text(drawn)).to_json())
        assert genotype == drawn
        plan = NetworkSpec(
            image_channels=1 + seed % 4,
            num_classes=2 + seed % 11,
            channels=1 + seed % 5,
            cells=2 + seed % 2,
            reductions=seed % 3,
            stem=stems[seed % 7 == 0],
            squeeze_excite=seed % 5 == 0,
        )
        with torch.no_grad():
            logits = build_network(genotype, plan)(torch.randn(2, plan.image_channels, 8, 8))
        assert logits.shape == (2, plan.num_classes)
        assert logits.isfinite().all()
