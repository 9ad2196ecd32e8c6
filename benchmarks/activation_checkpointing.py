"""Activation checkpointing: what a search step and a retraining step pay in time, and what they save in memory.

Tianqi Chen, Bing Xu, Chiyuan Zhang, Carlos Guestrin: Training Deep Nets with Sublinear Memory Cost, arXiv
1604.06174, 2016.
"""

from dataclasses import replace

from benchmarks.figure import Figure
from benchmarks.memory import peak_ratio
from benchmarks.options import Options
from benchmarks.retrain_step import Step
from benchmarks.rounds import fast_search, setting_of
from benchmarks.timing import in_turn, time_ratio


def measure(options: Options) -> list[Figure]:
    """Times in turn, and the peaks of fresh processes; all of ours, with the setting over without."""
    usual = setting_of(options.small)
    pairs = {
        "search round": (
            fast_search(replace(usual, activation_checkpointing=True)).round,
            fast_search(usual).round,
            {
                "with activation_checkpointing": "fast round, activation_checkpointing",
                "without": "fast round",
            },
        ),
        "retraining step": (
            Step(small=options.small, activation_checkpointing=True).step,
            Step(small=options.small).step,
            {
                "with activation_checkpointing": "our retraining step, activation_checkpointing",
                "without": "our retraining step",
            },
        ),
    }
    figures = []
    for name, (saving, keeping, cases) in pairs.items():
        timings = in_turn({"with": saving, "without": keeping}, n=options.repeats(5))
        figures.append(
            time_ratio(
                f"time of a {name}, activation_checkpointing",
                "with / without",
                *timings.values(),
                better="less",
            )
        )
        figures += peak_ratio(f"a {name}", cases, "with / without", options, better="less")
    return figures
