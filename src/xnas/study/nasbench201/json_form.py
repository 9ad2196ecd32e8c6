"""bench.json: every number of a bench, by run and epoch."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from xnas.study.nasbench201.score import Bench, BenchmarkedCell, BenchmarkEntry, BenchRun
from xnas.study.nasbench201.summary import protocol

JSON = "bench.json"

_NAMES = {True: "none_allowed", False: "none_barred"}
"""Of the two derivations."""


def bench_json(bench: Bench) -> str:
    """The file's text. The same bench gives the same text."""
    values = {
        "format": "xnas-bench",
        "version": 1,
        "benchmark": "nasbench201",
        "protocol": protocol(bench),
        "searched_on": bench.source,
        "table": {"source": bench.table, "form": bench.form, "best": asdict(bench.best)},
        "result": _NAMES[bench.choose_none],
        "methods": list(bench.plan.methods),
        "seeds": list(bench.plan.seeds),
        "entries": [_entry_values(entry) for entry in bench.entries],
        "runs": [_run_values(run) for run in bench.runs],
        "missing": list(bench.missing),
    }
    return json.dumps(values, indent=2) + "\n"


def _entry_values(entry: BenchmarkEntry) -> dict[str, Any]:
    return {
        "method": entry.method,
        "n": entry.n,
        **{
            _NAMES[choose_none]: {key: asdict(summary) for key, summary in found.items()}
            for choose_none, found in entry.by_none.items()
        },
        "skips": entry.skips,
        "seconds": entry.seconds,
        "peak_memory_bytes": entry.peak_memory_bytes,
    }


def _run_values(run: BenchRun) -> dict[str, Any]:
    return {
        "method": run.method,
        "seed": run.seed,
        "folder": run.record.name,
        "ended": bool(run.found),
        **_cells(run.found),
        "seconds": run.record.seconds.get("search"),
        "peak_memory_bytes": run.record.peak_memory.get("search"),
        "epochs": [
            {
                "epoch": moment.epoch,
                "step": moment.step,
                **_cells(moment.cells),
                "entropy": moment.entropy,
                "edges_led_by_skip": moment.skip,
                "experts_alive": moment.alive,
            }
            for moment in run.moments
        ],
    }


def _cells(cells: Mapping[bool, BenchmarkedCell]) -> dict[str, Any]:
    """Both derivations; null where there is none."""
    return {
        name: _cell(cells[choose_none]) if choose_none in cells else None
        for choose_none, name in _NAMES.items()
    }


def _cell(cell: BenchmarkedCell) -> dict[str, Any]:
    return {"cell": cell.text, **asdict(cell.accuracies), "skips": cell.skips, "rank": cell.rank}
