"""A network as a program of torch.export, which torch alone runs: in C++, compiled ahead of time, or in Python."""

import io
import json

import torch
from torch import nn

from xnas.report.export.about import BESIDE, INSIDE, About
from xnas.report.export.module import export_program, takes_any_size

ABOUT = "xnas.json"
"""The file inside that says what config.json says, and where the normalisation is."""


def program_bytes(module: nn.Module, about: About, *, normalise: bool) -> bytes:
    """A .pt2 file: any batch, and any height and width unless the images are smaller than the network divides them."""
    program = export_program(module, about, normalise=normalise, any_size=takes_any_size(about))
    fields = json.loads(about.to_json())
    fields["normalisation"]["place"] = INSIDE if normalise else BESIDE
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(fields, indent=2) + "\n"})
    return buffer.getvalue()


def program_module(content: bytes) -> nn.Module:
    """What the file computes. Only for a file that this process has made: torch.export reads pickles."""
    return torch.export.load(io.BytesIO(content)).module()
