"""The control is uniform."""

import torch

from xnas.optimizers.random import RandomChoice, RandomLearner
from xnas.space.darts.space import DartsSpace
from xnas.space.darts.supernet import cell_edges

from ...helpers.small_models import Twins, one_round

EXPERTS = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")


def test_operations_and_predecessors_are_uniform_after_the_discretisation() -> None:
    space = DartsSpace(num_nodes=3, experts=EXPERTS)
    edges = len(cell_edges(3))
    generator = torch.Generator().manual_seed(0)
    operations: dict[str, int] = {}
    sources: dict[int, int] = {}
    pairs: dict[tuple[str, str], int] = {}
    draws = 1500
    for _ in range(draws):
        drawn = {
            group: RandomLearner(edges, len(EXPERTS), generator=generator).log_v_EK
            for group in ("normal", "reduction")
        }
        genotype = space.derive(drawn)
        for cell in (genotype.normal, genotype.reduction):
            for edge in cell.edges:
                operations[edge.operation] = operations.get(edge.operation, 0) + 1
            *_, left, right = cell.edges  # of the last node, which has four predecessors
            for edge in (left, right):
                sources[edge.source] = sources.get(edge.source, 0) + 1
            pair = (left.operation, right.operation)
            pairs[pair] = pairs.get(pair, 0) + 1

    def uniform(counts: dict[object, int], kinds: int) -> bool:
        total = sum(counts.values())
        allowed = 4.5 * (total / kinds * (1 - 1 / kinds)) ** 0.5
        return len(counts) == kinds and all(abs(count - total / kinds) < allowed for count in counts.values())

    assert uniform(dict(operations), 3)  # `none` is never chosen
    assert uniform(dict(sources), 4)
    assert uniform(dict(pairs), 9)


def test_rounds_change_nothing_and_the_mixture_in_use_is_uniform() -> None:
    model = Twins()
    optimizer = RandomChoice(model, rounds=3)
    before = optimizer.log_weights("twins").clone()
    for seed in range(3):
        torch.testing.assert_close(model.first.mixture_K, torch.full((3,), 1 / 3).double())
        assert one_round(optimizer, model, seed=seed) == []
    assert torch.equal(optimizer.log_weights("twins"), before)
    assert not RandomChoice.learns
