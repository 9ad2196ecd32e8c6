"""Discretisation: a genotype from expert weights (section 2.1).

Every node keeps its two strongest edges, every edge its strongest expert. An edge's strength is max_i u_i over the
experts other than `none`. At the end of a full search u has saturated: one expert is left alive on every edge and
u = 1 everywhere. The same order is therefore taken from the residual mass,
log sum_{l != best} exp(log v_l - log v_best), over all experts at their last log-weights, wiped ones included: it falls
as max u rises, and never saturates.

E: edges of a cell; K: experts.
"""

import torch
from torch import Tensor

from xnas.space.darts.supernet import cell_edges
from xnas.space.genotype import CellGenotype, Edge

INPUTS_PER_NODE = 2


def edge_strengths(log_v_EK: Tensor, *, experts: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """(best_E, strength_E): each edge's strongest expert other than `none`, and minus the log residual mass.

    A strength of infinity means that there is no other expert. Raises ValueError if `none` is the only expert.
    """
    eligible_K = torch.tensor([name != "none" for name in experts], device=log_v_EK.device)
    if not eligible_K.any():
        raise ValueError("the only expert is 'none', so there is no architecture to derive; add an operation")
    best_E = log_v_EK.masked_fill(~eligible_K, -torch.inf).argmax(dim=-1)
    rivals_EK = log_v_EK.scatter(-1, best_E[:, None], -torch.inf)
    lead_E = log_v_EK.gather(-1, best_E[:, None]).squeeze(-1)
    return best_E, lead_E - rivals_EK.logsumexp(dim=-1)


def discretise_cell(log_v_EK: Tensor, *, experts: tuple[str, ...], num_nodes: int) -> CellGenotype:
    """The cell that the expert weights have chosen. Equal strengths go to the earlier edge."""
    best_E, strength_E = edge_strengths(log_v_EK, experts=experts)
    best, strength = best_E.tolist(), strength_E.tolist()
    incoming: dict[int, list[tuple[float, int, int]]] = {}
    for index, (source, node) in enumerate(cell_edges(num_nodes)):
        incoming.setdefault(node, []).append((-strength[index], source, index))
    chosen = [
        Edge(experts[best[index]], source)
        for node in sorted(incoming)
        for _, source, index in sorted(incoming[node])[:INPUTS_PER_NODE]
    ]
    return CellGenotype(edges=tuple(chosen), concat=tuple(range(2, 2 + num_nodes)))
