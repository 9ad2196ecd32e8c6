"""A complete table of NAS-Bench-201 with made-up accuracies and the published optima, in both of its forms."""

import itertools
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nats_bench import ArchResults, ResultsCount, pickle_save

Row = tuple[float, float, float, str]
"""Accuracies on CIFAR-10, CIFAR-100 and ImageNet16-120 in per cent, and the architecture."""

HEADER = "CIFAR10TestAccuracy200Epochs,CIFAR100TestAccuracy200Epochs,ImageNetTestAccuracy200Epochs,ArchitectureString"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

NAME = "NATS-tss-v1_0-3ffb9"
EPOCHS = 2
"""Of a made-up training; the benchmark's have 200, which nothing but the name `hp` says to its package."""


def make_rows() -> list[Row]:
    """15,625 rows; the best on CIFAR-10, CIFAR-100 and ImageNet16-120 are the last, the first and the second."""
    draw = random.Random(0)
    rows = [
        (draw.uniform(10, 94), draw.uniform(1, 73), draw.uniform(0.8, 47), architecture)
        for architecture in make_architectures()
    ]
    rows[0] = (90.0, 73.5133, 40.0, rows[0][3])
    rows[1] = (89.0, 70.0, 47.3111, rows[1][3])
    rows[-1] = (94.3733, 72.0, 46.0, rows[-1][3])
    return rows


def make_architectures() -> list[str]:
    """All 15,625, in an order of their own."""
    return [
        f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        for f, e, d, c, b, a in itertools.product(OPERATIONS, repeat=6)
    ]


def make_lines() -> list[str]:
    """The table in CSV, header first, without line ends."""
    return [HEADER, *(f"{a!r},{b!r},{c!r},{architecture}" for a, b, c, architecture in make_rows())]


def write_csv(path: Path, lines: list[str] | None = None) -> Path:
    """Writes the table, or `lines`, and returns its path."""
    path.write_text("\n".join(make_lines() if lines is None else lines) + "\n", encoding="utf-8")
    return path


def make_results(cifar10: float, cifar100: float, imagenet16_120: float) -> dict[str, Any]:
    """One architecture as NATS-Bench keeps it, with these means over two seeds, and other numbers all around them."""
    long = ArchResults(0, "unused")
    for dataset, sets in {
        "cifar10-valid": {"x-valid": 50.0, "ori-test": 51.0},
        "cifar10": {"ori-test": cifar10},
        "cifar100": {"x-valid": 52.0, "x-test": cifar100, "ori-test": 53.0},
        "ImageNet16-120": {"x-valid": 54.0, "x-test": imagenet16_120, "ori-test": 55.0},
    }.items():
        long.update(dataset, 777, _trial(777, {name: value - 0.5 for name, value in sets.items()}))
        long.update(dataset, 888, _trial(888, {name: value + 0.5 for name, value in sets.items()}))
    short = ArchResults(0, "unused")
    for dataset in ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120"):
        short.update(dataset, 777, _trial(777, dict.fromkeys(("x-valid", "x-test", "ori-test"), 56.0)))
    return {"12": short.state_dict(), "200": long.state_dict()}


def _trial(seed: int, accuracies: Mapping[str, float]) -> ResultsCount:
    per_epoch = dict.fromkeys(range(EPOCHS), 57.0)
    trial = ResultsCount("unused", None, per_epoch, per_epoch, 0.1, 10.0, {}, seed, EPOCHS, None)
    trial.update_train_info(per_epoch, per_epoch, per_epoch, per_epoch)
    values = {f"{name}@{epoch}": 58.0 for name in accuracies for epoch in range(EPOCHS)}
    last = {f"{name}@{EPOCHS - 1}": value for name, value in accuracies.items()}
    trial.update_eval({**values, **last}, values, values)
    return trial


def write_nats_bench_file(folder: Path) -> Path:
    """The benchmark in one file: the optima of `make_rows`, and one and the same results for all between."""
    rows = make_rows()
    results = dict.fromkeys(range(len(rows)), make_results(60.0, 40.0, 20.0))
    for place in (0, 1, len(rows) - 1):
        results[place] = make_results(*rows[place][:3])
    path = folder / f"{NAME}.pickle.pbz2"
    content = {"meta_archs": make_architectures(), "arch2infos": results, "evaluated_indexes": set(results)}
    pickle_save(content, path, ext="")
    return path


def make_few() -> dict[str, dict[str, Any]]:
    """Results of the three architectures with the optima of `make_rows`, by architecture."""
    rows = make_rows()
    return {row[3]: make_results(*row[:3]) for row in (rows[0], rows[1], rows[-1])}


def write_nats_bench_folder(folder: Path, results: Mapping[str, dict[str, Any]]) -> Path:
    """These architectures as a folder with a file each, and its path."""
    path = folder / f"{NAME}-simple"
    path.mkdir()
    pickle_save({"meta_archs": list(results)}, path / "meta.pickle.pbz2", ext="")
    for place, each in enumerate(results.values()):
        pickle_save(each, path / f"{place:06d}.pickle.pbz2", ext="")
    return path
