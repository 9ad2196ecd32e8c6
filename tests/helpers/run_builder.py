"""A run folder as the engine writes it, made up: 4 nodes, 14 edges, 7 experts, wipeouts, controls."""

import json
import math
import random
from pathlib import Path
from typing import Any

from xnas.space.genotype import Genotype
from xnas.space.names import EXPERTS
from xnas.space.published import published_genotype

from .sealed_runs import seal

EDGES = [f"{source}→{node}" for node in range(2, 6) for source in range(node)]
ROUNDS = 52
"""Of an epoch."""

CONFIG = """\
seed = 3
device = "auto"

[data]
source = "fashion-mnist-small"

[search]
epochs = 5
batch_size = 96
zeta = 0.5

[retrain]
epochs = 10
"""

ENVIRONMENT = {
    "python": "3.11.2",
    "versions": {"xnas": "0.1.0", "torch": "2.14.1"},
    "device": "cpu",
    "device_name": "Example processor, 2 cores",
    "command": ["xnas", "run", "--preset", "quick", "--controls", "3"],
}


def build_run(
    folder: Path,
    *,
    search_epochs: int = 5,
    retrain_epochs: int = 10,
    tested: bool = True,
    controls: bool = True,
    strength: float = 1.0,
    genotype: Genotype | None = None,
    warmup_epochs: int = 0,
    ledger: bool = True,
) -> Path:
    """Write the folder; `strength` is how far the expert weights drift apart. Returns it.

    Without a `ledger` it is a run of a version that kept none.
    """
    folder.mkdir(parents=True)
    write(folder / "config.toml", CONFIG)
    write_json(folder / "environment.json", ENVIRONMENT)
    write(folder / "genotype.json", (genotype or published_genotype("pc_darts_cifar")).to_json())
    write_json(
        folder / "timing.json",
        {
            "search": {"seconds": 171.4, "step": ROUNDS * search_epochs},
            **({"retrain": {"seconds": 402.75, "epochs": retrain_epochs}} if retrain_epochs else {}),
        },
    )
    rows = search_rows(epochs=search_epochs, strength=strength, warmup_epochs=warmup_epochs, ledger=ledger)
    rows += [
        {
            "kind": "retrain_epoch",
            "epoch": epoch,
            "learning_rate": 0.025,
            "train_loss": 0.3 + 1.1 * math.exp(-epoch / 3),
            "train_accuracy": 0.91 - 0.4 * math.exp(-epoch / 3),
        }
        for epoch in range(1, retrain_epochs + 1)
    ]
    if tested:
        rows.append({"kind": "test", "accuracy": 0.907, "loss": 0.29, "samples": 2000})
        write_json(folder / "result.json", result("found", 0.907, parameters=84_122, multiply_adds=9_412_000))
    if controls:
        for name, accuracy in (
            ("random-301", 0.901),
            ("random-302", 0.896),
            ("random-303", 0.9075),
            ("xnas", 0.911),
        ):
            place = folder / "controls" / name
            place.mkdir(parents=True)
            write_json(
                place / "result.json", result(name, accuracy, parameters=79_000, multiply_adds=8_950_000)
            )
            write(place / "genotype.json", published_genotype("xnas").to_json())
    write_rows(folder, rows)
    return seal(folder)


def search_rows(
    *, epochs: int, strength: float = 1.0, warmup_epochs: int = 0, ledger: bool = True
) -> list[dict[str, Any]]:
    """Rows of two groups whose experts drift apart, the last ones being wiped out."""
    chance = random.Random(5)
    groups = {"normal": 6, "reduction": 2}
    rows: list[dict[str, Any]] = []
    slopes = {}
    for name, replicas in groups.items():
        horizon = 96 * ROUNDS * max(1, epochs - warmup_epochs) * replicas
        rows.append(
            {
                "kind": "group",
                "name": name,
                "method": "xnas",
                "experts": list(EXPERTS),
                "edges": EDGES,
                "replicas": replicas,
                "feedback": "sample",
                "horizon": horizon,
                "step_size": math.sqrt(2 * math.log(7) / horizon),
                "reward_bound": 1.0,
                "scaled": False,
                "zeta": 0.5,
                "description": "",
            }
        )
        slopes[name] = [[strength * chance.gauss(0, 0.55) for _ in EXPERTS] for _ in EDGES]
    alive = {name: [[True] * len(EXPERTS) for _ in EDGES] for name in groups}
    rows.append(search_row(0, slopes, alive, warmup_epochs=warmup_epochs, ledger=ledger))
    for epoch in range(1, epochs + 1):
        gone = []
        for name in groups:
            for edge, slope in enumerate(slopes[name]):
                for expert, drift in enumerate(slope):
                    lead = (max(slope) - drift) * max(0, epoch - warmup_epochs)
                    if alive[name][edge][expert] and lead > 14 - 2 * epoch:
                        alive[name][edge][expert] = False
                        gone.append((name, edge, expert, ROUNDS * (epoch - 1) + chance.randint(1, ROUNDS)))
        for name, edge, expert, step in sorted(gone, key=lambda wiped: wiped[3]):
            rows.append(
                {
                    "kind": "wipeout",
                    "epoch": epoch,
                    "step": step,
                    "group": name,
                    "edge": edge,
                    "expert": EXPERTS[expert],
                    "feedbacks": 96 * groups[name] * step,
                }
            )
        rows.append(search_row(epoch, slopes, alive, warmup_epochs=warmup_epochs, ledger=ledger))
    return rows


def search_row(
    epoch: int,
    slopes: dict[str, list[list[float]]],
    alive: dict[str, list[list[bool]]],
    *,
    warmup_epochs: int,
    ledger: bool = True,
) -> dict[str, Any]:
    """One search_epoch row."""
    heard = max(0, epoch - warmup_epochs)
    groups = {}
    for name in slopes:
        log_v = [[drift * heard for drift in slope] for slope in slopes[name]]
        u = []
        for logs, flags in zip(log_v, alive[name], strict=True):
            weights = [math.exp(log - max(logs)) * flag for log, flag in zip(logs, flags, strict=True)]
            u.append([weight / sum(weights) for weight in weights])
        flags_now = [list(flags) for flags in alive[name]]
        groups[name] = {"feedbacks": 96 * ROUNDS * heard, "u": u, "log_v": log_v, "alive": flags_now}
        if ledger:
            groups[name]["ledger"] = ledger_of(groups[name])
    survivors = sum(flag for name in alive for flags in alive[name] for flag in flags)
    row: dict[str, Any] = {
        "kind": "search_epoch",
        "epoch": epoch,
        "step": ROUNDS * epoch,
        "parameters": 200_000 + 1_500 * survivors,
        "groups": groups,
    }
    if ledger:
        row["multiply_adds"] = 1_000_000 + 40_000 * survivors
    if epoch:
        row |= {
            "learning_rate": 0.02,
            "train_loss": 0.5 + 1.5 * math.exp(-epoch / 2),
            "train_accuracy": 0.85 - 0.5 * math.exp(-epoch / 2),
            "val_loss": 0.55 + 1.5 * math.exp(-epoch / 2) if heard else None,
            "val_accuracy": 0.83 - 0.5 * math.exp(-epoch / 2) if heard else None,
        }
    return row


def ledger_of(group: dict[str, Any]) -> dict[str, list[float]]:
    """Made up as everything here, but within its bounds."""
    feedbacks = group["feedbacks"]
    log_gammas = [0.1 * flags.count(False) for flags in group["alive"]]
    return {
        "regret": [0.1 * math.sqrt(feedbacks) + 0.01 * edge for edge in range(len(EDGES))],
        "theorem": [200.0 + feedbacks / 500 - 10 * log_gamma for log_gamma in log_gammas],
        "bound": [200.0 + feedbacks / 50 - 10 * log_gamma for log_gamma in log_gammas],
        "bound_without_wipeout": [200.0 + feedbacks / 50 for _ in log_gammas],
        "log_gamma": log_gammas,
        "clip_rate": [0.05 if feedbacks else 0.0 for _ in log_gammas],
        "reward_size": [0.3 if feedbacks else 0.0 for _ in log_gammas],
    }


def result(name: str, accuracy: float, **changes: Any) -> dict[str, Any]:
    """A result.json."""
    return {
        "format": "xnas-result",
        "version": 1,
        "name": name,
        "test_accuracy": accuracy,
        "test_loss": 0.29,
        "test_samples": 2000,
        "parameters": 84_122,
        "multiply_adds": 9_412_000,
        "epochs": 10,
        "seed": 3,
        **changes,
    }


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    write(folder / "metrics.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_json(path: Path, value: Any) -> None:
    write(path, json.dumps(value, indent=2) + "\n")


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
