"""The genotype of expert weights: ranked by evidence, also when the mixture has saturated.

E: edges of a cell; K: experts.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas.space.darts.discretise import discretise_cell, edge_strengths
from xnas.space.darts.space import DartsSpace
from xnas.space.darts.supernet import cell_edges
from xnas.space.genotype import Edge

EXPERTS = ("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3")


def log_weights(num_nodes: int, *, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(cell_edges(num_nodes)), len(EXPERTS))
    return torch.randn(shape, generator=generator, dtype=torch.float64) * scale


@pytest.mark.parametrize("seed", range(20))
def test_every_node_keeps_the_two_edges_whose_best_expert_weighs_most(seed: int) -> None:
    log_v_EK = log_weights(4, seed=seed)
    u_EK = log_v_EK.softmax(dim=1)
    cell = discretise_cell(log_v_EK, experts=EXPERTS, num_nodes=4)
    for node in cell.nodes:
        rivals = []
        for index, (source, target) in enumerate(cell_edges(4)):
            if target == node:
                weight, best = max((float(u_EK[index, k]), k) for k in range(1, len(EXPERTS)))
                rivals.append((weight, Edge(EXPERTS[best], source)))
        expected = [edge for _, edge in sorted(rivals, reverse=True)[:2]]
        assert list(cell.inputs_of(node)) == expected
    assert cell.concat == (2, 3, 4, 5)


@pytest.mark.parametrize("seed", range(5))
def test_edges_are_still_ranked_by_evidence_when_every_mixture_has_saturated(seed: int) -> None:
    # All leads are so long that u = 1 on every edge; the longest leads are not first in the list of edges.
    num_edges = len(cell_edges(4))
    leads_E = 2000.0 + 100 * torch.randperm(num_edges, generator=torch.Generator().manual_seed(seed))
    log_v_EK = torch.zeros(num_edges, len(EXPERTS), dtype=torch.float64)
    log_v_EK[:, 2] = leads_E
    assert (log_v_EK.softmax(dim=1).max(dim=1).values == 1).all()
    cell = discretise_cell(log_v_EK, experts=EXPERTS, num_nodes=4)
    for node in cell.nodes:
        by_lead = sorted(
            (
                (float(leads_E[e]), source)
                for e, (source, target) in enumerate(cell_edges(4))
                if target == node
            ),
            reverse=True,
        )
        assert [edge.source for edge in cell.inputs_of(node)] == [source for _, source in by_lead[:2]]
        assert {edge.operation for edge in cell.inputs_of(node)} == {"sep_conv_3x3"}


def test_a_list_in_reverse_order_of_evidence_is_turned_round() -> None:
    log_v_EK = torch.zeros(5, len(EXPERTS), dtype=torch.float64)
    log_v_EK[:, 1] = torch.tensor([900.0, 901, 900, 901, 902])
    cell = discretise_cell(log_v_EK, experts=EXPERTS, num_nodes=2)
    assert [edge.source for edge in cell.inputs_of(2)] == [1, 0]
    assert [edge.source for edge in cell.inputs_of(3)] == [2, 1]


def test_the_evidence_is_against_all_other_experts_and_not_against_the_second_alone() -> None:
    log_v_EK = torch.tensor([[0.0, 5.0, 0.0, 0.0], [-9.0, 5.0, -9.0, 0.1]], dtype=torch.float64)
    _, strength_E = edge_strengths(log_v_EK, experts=EXPERTS)
    assert strength_E[1] > strength_E[0]
    assert (log_v_EK.softmax(dim=1)[1, 1] > log_v_EK.softmax(dim=1)[0, 1]).item()


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 5))
def test_the_ranking_is_that_of_the_largest_weight_where_it_has_not_saturated(
    seed: int, scale: float
) -> None:
    log_v_EK = log_weights(4, seed=seed, scale=scale)
    best_E, strength_E = edge_strengths(log_v_EK, experts=EXPERTS)
    largest_E = log_v_EK.softmax(dim=1)[:, 1:].max(dim=1).values
    assert torch.equal(strength_E.argsort(), largest_E.argsort())
    assert torch.equal(best_E, log_v_EK[:, 1:].argmax(dim=1) + 1)
    torch.testing.assert_close(strength_E.sigmoid(), largest_E)  # u = 1 / (1 + exp(residual))


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1e4))
def test_none_is_never_chosen_however_strong_it_is(seed: int, lead: float) -> None:
    log_v_EK = log_weights(3, seed=seed)
    log_v_EK[:, 0] += lead
    cell = discretise_cell(log_v_EK, experts=EXPERTS, num_nodes=3)
    assert "none" not in {edge.operation for edge in cell.edges}


def test_an_edge_whose_none_is_strong_comes_after_the_others() -> None:
    log_v_EK = torch.zeros(5, len(EXPERTS), dtype=torch.float64)
    log_v_EK[:, 2] = 3.0
    log_v_EK[2, 0] = 1000.0  # the edge from 0 to 3
    cell = discretise_cell(log_v_EK, experts=EXPERTS, num_nodes=2)
    assert [edge.source for edge in cell.inputs_of(3)] == [1, 2]


def test_adding_a_constant_to_the_log_weights_of_an_edge_changes_nothing() -> None:
    log_v_EK = log_weights(4, seed=1)
    shift_E1 = 1000 * torch.randn(len(log_v_EK), 1, generator=torch.Generator().manual_seed(2)).double()
    assert discretise_cell(log_v_EK, experts=EXPERTS, num_nodes=4) == discretise_cell(
        log_v_EK + shift_E1, experts=EXPERTS, num_nodes=4
    )


def test_equal_edges_are_taken_in_order() -> None:
    cell = discretise_cell(torch.zeros(5, 4, dtype=torch.float64), experts=EXPERTS, num_nodes=2)
    assert [edge.source for edge in cell.edges] == [0, 1, 0, 1]


def test_a_single_expert_leaves_no_rivals() -> None:
    cell = discretise_cell(torch.zeros(2, 1), experts=("skip_connect",), num_nodes=1)
    assert cell.edges == (Edge("skip_connect", 0), Edge("skip_connect", 1))


def test_none_alone_makes_no_architecture() -> None:
    with pytest.raises(
        ValueError, match=r"^the only expert is 'none', so there is no architecture to derive; add"
    ):
        edge_strengths(torch.zeros(2, 1), experts=("none",))


def test_a_space_derives_both_cells() -> None:
    space = DartsSpace(num_nodes=2, experts=EXPERTS)
    log_v = {group: log_weights(2, seed=seed) for seed, group in enumerate(("normal", "reduction"))}
    genotype = space.derive(log_v)
    assert genotype.normal == discretise_cell(log_v["normal"], experts=EXPERTS, num_nodes=2)
    assert genotype.reduction == discretise_cell(log_v["reduction"], experts=EXPERTS, num_nodes=2)
    assert genotype.space == "darts"
