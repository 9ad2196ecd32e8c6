"""The module that is exported: a network in evaluation mode, on the CPU, with or without the normalisation before it.

B: samples; C H W: channels, height, width; D: classes.
"""

import copy
import io
import json

import torch
from torch import Tensor, nn

from xnas.export.metadata import BESIDE, INSIDE, About

EXAMPLES = 2
"""Images that an exporter follows through the network; exporters take a batch of 1 for a constant."""


class FromPixels(nn.Module):
    """A network that takes the pixels themselves: uint8 (B, C, H, W) to logits (B, D)."""

    scale_C11: Tensor
    shift_C11: Tensor

    def __init__(self, network: nn.Module, about: About) -> None:
        super().__init__()
        self.network = network
        mean_C, std_C = torch.tensor(about.mean), torch.tensor(about.std)
        self.register_buffer("scale_C11", (1 / (255 * std_C))[:, None, None])
        self.register_buffer("shift_C11", (-mean_C / std_C)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, D)."""
        logits: Tensor = self.network(
            torch.addcmul(self.shift_C11, images.to(self.shift_C11.dtype), self.scale_C11)
        )
        return logits


def module_to_export(network: nn.Module, about: About, *, normalise: bool) -> nn.Module:
    """Return a copy of the network that nothing trains any more; with `normalise` it takes uint8 pixels."""
    plain = copy.deepcopy(network).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    module = FromPixels(plain, about) if normalise else plain
    return module.eval().requires_grad_(False)


def takes_any_size(about: About) -> bool:
    """Return whether torch.export can follow the network for any size from that of its images on down to a few
    pixels."""
    return min(about.image_shape[1:]) > about.reduction


def export_program(
    module: nn.Module, about: About, *, normalise: bool, any_size: bool
) -> torch.export.ExportedProgram:
    """The graph that the module computes, for any batch, and with `any_size` for any height and width.

    Sizes go down to one more than the network divides them by: below, torch.export takes the last features for
    a special case. Raises whatever torch does where it cannot follow the network.
    """
    least = about.reduction + 1
    channels, height, width = about.image_shape
    if any_size:
        height, width = 2 * least, 2 * least + 2
    images = torch.zeros(EXAMPLES, channels, height, width, dtype=torch.uint8 if normalise else torch.float32)
    axes = {0: torch.export.Dim("batch")}
    if any_size:
        axes |= {2: torch.export.Dim("height", min=least), 3: torch.export.Dim("width", min=least)}
    # A cell adds features that one step and two steps have halved. That their sizes are equal for every size of the
    # images is beyond what torch proves, so the program asserts it, and nothing is demanded of the sizes here.
    return torch.export.export(
        module, (images,), dynamic_shapes=(axes,), prefer_deferred_runtime_asserts_over_guards=True
    )


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
    """Return the module of a program. Only for a file that this process has made: torch.export reads pickles."""
    return torch.export.load(io.BytesIO(content)).module()
