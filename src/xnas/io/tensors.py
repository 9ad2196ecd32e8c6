"""Tensors in safetensors files: a length, a header in JSON of that length, then the numbers."""

from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from xnas.io.safe_read import open_regular

MOST_HEADER_BYTES = 8_000_000
"""The published network's header has 200,000. The parser alone would take a hundred million."""

MOST_BYTES = 2**40


def read_tensors(path: Path, *, inside: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file in the folder `inside`, by name, and the words about them in its header.

    Raises ValueError for a file that is damaged, no regular file, or elsewhere by a link.
    """
    with open_regular(path, what="weights", most=MOST_BYTES, inside=inside) as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER_BYTES:
        raise ValueError(
            f"{path} cannot be read as safetensors: its header claims {length:,} bytes, more than "
            f"{MOST_HEADER_BYTES:,}; fetch the file again"
        )
    try:
        with safe_open(path, framework="pt") as tensors:
            return {name: tensors.get_tensor(name) for name in tensors.keys()}, tensors.metadata() or {}  # noqa: SIM118
    except Exception as error:  # the reader's own error type says nothing to the user
        raise ValueError(f"{path} cannot be read as safetensors: {error}; fetch the file again") from error
