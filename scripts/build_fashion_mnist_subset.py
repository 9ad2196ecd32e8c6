#!/usr/bin/env python3
"""Build the images that xnas ships: the first 1,000 training and 200 test images of every class of Fashion-MNIST.

    python scripts/build_fashion_mnist_subset.py [--source FOLDER] [--out FOLDER]

The images keep the order of the original files. Four IDX files are written, packed by xz with fixed settings, so that
the same source gives the same bytes. Debian's package dataset-fashion-mnist holds the source.
"""

import argparse
import lzma
import sys
from pathlib import Path

import torch
from torch import Tensor

from xnas.data.sets.fashion_mnist import CLASSES, DEBIAN, TEST, TRAIN
from xnas.data.sets.idx import idx_bytes, read_idx

PER_CLASS = {TRAIN: 1000, TEST: 200}
OUT = Path(__file__).parents[1] / "src" / "xnas" / "data" / "fashion_mnist"


def first_of_each_class(labels_N: Tensor, *, count: int) -> Tensor:
    """The indices of the first `count` images of every class, sorted. Raises ValueError if a class has fewer."""
    firsts = []
    for label, name in enumerate(CLASSES):
        ids_M = (labels_N == label).nonzero().flatten()
        if len(ids_M) < count:
            raise ValueError(
                f"the class {name!r} has {len(ids_M)} images, fewer than {count}; give the whole set"
            )
        firsts.append(ids_M[:count])
    return torch.cat(firsts).sort().values


def build(source: Path, out: Path) -> list[Path]:
    """Write the four files; returns their paths. Raises ValueError for a source that cannot be read."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for prefix, count in PER_CLASS.items():
        images_NHW = read_idx(source / f"{prefix}-images-idx3-ubyte.gz")
        labels_N = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz")
        ids_M = first_of_each_class(labels_N, count=count)
        for kind, array in (("images-idx3", images_NHW), ("labels-idx1", labels_N)):
            path = out / f"{prefix}-{kind}-ubyte.xz"
            path.write_bytes(lzma.compress(idx_bytes(array[ids_M]), preset=9))
            written.append(path)
    return written


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build the images of Fashion-MNIST that xnas ships.")
    parser.add_argument("--source", type=Path, default=DEBIAN, help="folder of the *-ubyte.gz files")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write into")
    arguments = parser.parse_args()
    try:
        for path in build(arguments.source, arguments.out):
            print(f"{path}: {path.stat().st_size:,} bytes")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
