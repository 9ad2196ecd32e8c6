"""Runs the benchmarks: all of them, or those that are named."""

import argparse

import torch

from benchmarks import checkpoint, depthwise, launches, wipeout

BENCHMARKS = {
    "checkpoint": checkpoint.main,
    "depthwise": depthwise.main,
    "launches": launches.main,
    "wipeout": wipeout.main,
}

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
names = parser.parse_args().names or list(BENCHMARKS)
if unknown := [name for name in names if name not in BENCHMARKS]:
    parser.error(f"unknown benchmark {unknown[0]!r}; known: {', '.join(BENCHMARKS)}")
print(f"torch {torch.__version__}, CPU with {torch.get_num_threads()} threads")
for name in names:
    print(f"\n{name}")
    BENCHMARKS[name]()
