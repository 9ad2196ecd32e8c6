"""A bench's folder as a study writes it, made up: what every search leads by is chosen, epoch by epoch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xnas import StudySpec
from xnas.space.names import NASBENCH201_OPERATIONS as OPERATIONS
from xnas.space.nasbench201.genotype import EDGES, Nasbench201Genotype

from .run_builder import write, write_json, write_rows

ROUNDS = 390
"""Of an epoch."""

Leads = tuple[str, ...]
"""An operation for each of six edges."""


def build_bench(
    folder: Path,
    searches: Mapping[tuple[str, int], Sequence[Leads]],
    *,
    ended: bool = True,
    choose_none: bool = False,
    source: str = "cifar10",
) -> Path:
    """Write the folder: for each method and seed what leads on every edge after each epoch; returns it.

    Where `none` leads, a 3x3 convolution is next. `random` has one lead, at its start.
    """
    folder.mkdir(parents=True)
    methods = list(dict.fromkeys(method for method, _ in searches))
    seeds = list(dict.fromkeys(seed for _, seed in searches))
    write_spec(folder, methods=methods, seeds=seeds)
    write(folder / "config.toml", settings("xnas", 0, choose_none=choose_none, source=source))
    for (method, seed), leads in searches.items():
        place = folder / f"search-{method}-{seed}"
        place.mkdir()
        write(place / "config.toml", settings(method, seed, choose_none=choose_none, source=source))
        write_json(
            place / "timing.json",
            {
                "search": {
                    "seconds": 60.0 + 30 * seed,
                    "peak_memory_bytes": 2**30,
                    "step": ROUNDS * len(leads),
                }
            },
        )
        write_rows(place, rows(method, leads))
        if ended:
            operations = [
                "nor_conv_3x3" if name == "none" and not choose_none else name for name in leads[-1]
            ]
            write(place / "genotype.json", Nasbench201Genotype(tuple(operations)).to_json())
    return folder


def write_spec(folder: Path, *, methods: Sequence[str], seeds: Sequence[int]) -> None:
    """What was asked for."""
    spec = StudySpec(
        methods=tuple(methods), search_seeds=tuple(seeds), score="nasbench201", table="/tables/table.csv"
    )
    write(folder / "study.toml", spec.to_toml())


def settings(method: str, seed: int, *, choose_none: bool, source: str) -> str:
    """A config.toml."""
    return (
        f"seed = {seed}\n[data]\nsource = {json.dumps(source)}\n"
        f'[space]\nkind = "nasbench201"\nnodes = 3\ncells = 9\nexperts = {json.dumps(list(OPERATIONS))}\n'
        f"choose_none = {str(choose_none).lower()}\n[search]\nmethod = {json.dumps(method)}\n[retrain]\ncells = 9\n"
    )


def rows(method: str, leads: Sequence[Leads]) -> list[dict[str, Any]]:
    """Those of metrics.jsonl."""
    first = {
        "kind": "group", "name": "cell", "experts": list(OPERATIONS), "edges": [f"{a}→{b}" for a, b in EDGES],
        "replicas": 3, "method": method, "feedback": "batch", "horizon": ROUNDS * len(leads),
        "step_size": 0.1, "reward_bound": None, "zeta": None, "scaled": False, "description": "",
    }  # fmt: skip
    if method == "random":
        return [first, _row(0, leads[-1])]
    return [first, _row(0, None), *(_row(epoch, lead) for epoch, lead in enumerate(leads, start=1))]


def _row(epoch: int, leads: Leads | None) -> dict[str, Any]:
    log_v = [[0.0] * len(OPERATIONS) for _ in EDGES]
    for edge, name in enumerate(leads or ()):
        log_v[edge][OPERATIONS.index("nor_conv_3x3")] = 1.0
        log_v[edge][OPERATIONS.index(name)] = 2.0
    sure = min(1.0, 0.2 + 0.1 * epoch)
    u = [
        [sure + (1 - sure) / 5 if value == 2 else (1 - sure) / 5 for value in values] if leads else [0.2] * 5
        for values in log_v
    ]
    alive = [[epoch < 5 or value > 0 or not leads for value in values] for values in log_v]
    return {
        "kind": "search_epoch", "epoch": epoch, "step": ROUNDS * epoch, "parameters": 6000,
        "groups": {"cell": {"feedbacks": ROUNDS * epoch, "u": u, "log_v": log_v, "alive": alive}},
    }  # fmt: skip
