"""What wipeout saves: the time of a search round against the share of multiply-adds that is still alive.

Who is left is drawn: experts go in a random order, as long as no forecaster loses its last one and no more
multiply-adds go than wanted. Stem, cell inputs and classifier stay, so that no set of survivors comes to zero.

E: indices of a group; K: experts.
"""

import random
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmarks.figure import Figure
from benchmarks.layers import flows
from benchmarks.options import Options
from benchmarks.rounds import Setting, fast_search, setting_of
from benchmarks.timing import in_turn, time_ratio
from xnas import count_parameters
from xnas.space.cost import count_layer_multiply_adds
from xnas.space.forecaster import forecaster_groups

UNIT = "these / all"

Alive = dict[str, Tensor]
"""For each group which experts are left, bool, (E, K)."""

SHARES = {"half of the multiply-adds": (0.5, 0.6), "a quarter of the multiply-adds": (0.25, None)}
"""What is left, and the most that a round may take then, as a share of the time with everyone alive."""


def measure(options: Options) -> list[Figure]:
    """Round times in turn, and what is left of multiply-adds and parameters."""
    setting = setting_of(options.small)
    searched = {"all": fast_search(setting)}
    costs = expert_costs(searched["all"].model, setting)
    full = count_layer_multiply_adds(searched["all"].model, setting.image_shape)
    for name, (share, _) in SHARES.items():
        searched[name] = fast_search(setting, alive=survivors(costs, full=full, share=share))
    lone = "one expert of each forecaster"
    searched[lone] = fast_search(setting, alive=survivors(costs, full=full, share=0))
    timings = in_turn({name: item.round for name, item in searched.items()}, n=options.repeats(5))
    figures = []
    for name, item in searched.items():
        if name == "all":
            continue
        _, most = SHARES.get(name, (0, None))
        left = count_layer_multiply_adds(item.model, setting.image_shape) / full
        parameters = count_parameters(item.model) / count_parameters(searched["all"].model)
        figures += [
            time_ratio(
                f"round time with {name} alive",
                UNIT,
                timings[name],
                timings["all"],
                better="less",
                target=most,
            ),
            Figure(name=f"multiply-adds with {name} alive", values=(left,), unit=UNIT),
            Figure(name=f"parameters with {name} alive", values=(parameters,), unit=UNIT),
        ]
    return figures


def survivors(costs: Mapping[str, list[list[int]]], *, full: int, share: float) -> Alive:
    """Experts of which `share` of the `full` multiply-adds is left, or as little more as can be."""
    alive = {group: torch.ones(len(edges), len(edges[0]), dtype=torch.bool) for group, edges in costs.items()}
    order = [
        (group, e, k)
        for group, edges in costs.items()
        for e, edge in enumerate(edges)
        for k in range(len(edge))
    ]
    random.Random(0).shuffle(order)
    spare = full - share * full
    for group, e, k in order:
        cost = costs[group][e][k]
        # Those that cost nothing leave at the pace of the others: until the share is reached, within a hundredth.
        goes = cost <= spare if cost else spare > full / 100
        if goes and alive[group][e].sum() > 1:
            alive[group][e, k] = False
            spare -= cost
    return alive


def expert_costs(supernet: nn.Module, setting: Setting) -> dict[str, list[list[int]]]:
    """Multiply-adds of every expert of every index, of all its replicas together, by group: E lists of K numbers."""
    found = flows(supernet, setting.image_shape)
    return {
        name: [
            [
                sum(
                    found[layer].multiply_adds
                    for member in replicas_R
                    for layer in member.experts[k].modules()
                    if layer in found
                )
                for k in range(group.num_experts)
            ]
            for replicas_R in group.replicas_ER
        ]
        for name, group in forecaster_groups(supernet).items()
    }
