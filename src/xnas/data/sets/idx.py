"""IDX files, the form of MNIST and Fashion-MNIST: two zero bytes, a type, the number of dimensions, each dimension as
four big-endian bytes, then the numbers in row-major order. Read plain, as .gz or as .xz.
"""

import gzip
import lzma
import math
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

UINT8 = 0x08
MOST_BYTES = 2**31
"""Bytes of the numbers; EMNIST, the largest of this form, has 638 million."""


def read_idx(path: Path) -> Tensor:
    """Return the numbers of an IDX file of unsigned bytes, uint8 of the file's own shape.

    Raises ValueError for a file that cannot be read, is no such file, or is longer or shorter than its header says.
    """
    try:
        with _open(path) as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != UINT8 or head[3] == 0:
                raise ValueError(
                    f"{path} is not an IDX file of unsigned bytes: it starts with {head!r}; bring the original file"
                )
            sides = file.read(4 * head[3])
            shape = tuple(int.from_bytes(sides[i : i + 4], "big") for i in range(0, len(sides), 4))
            size = math.prod(shape)
            if size > MOST_BYTES:
                raise ValueError(
                    f"{path} claims {' x '.join(map(str, shape))} bytes, more than {MOST_BYTES:,}; bring the original"
                )
            numbers = file.read(size + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"cannot read {path}: {_reason(error)}; fetch the file again") from error
    if len(sides) < 4 * head[3] or len(numbers) != size:
        relation = "longer" if len(numbers) > size else "shorter"
        raise ValueError(
            f"{path} is {relation} than its header says, {' x '.join(map(str, shape))} bytes; fetch the file again"
        )
    return torch.from_numpy(np.frombuffer(numbers, dtype=np.uint8).reshape(shape).copy())


def idx_bytes(array: Tensor) -> bytes:
    """Return a uint8 tensor as the content of an IDX file."""
    assert array.dtype == torch.uint8, array.dtype
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes((0, 0, UINT8, array.ndim)) + sides + array.numpy().tobytes()


def _open(path: Path) -> BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".xz":
        return lzma.open(path)
    return path.open("rb")


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
