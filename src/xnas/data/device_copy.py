"""The way of what was read or drawn on the CPU to the device that trains."""

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """`values` on the device: themselves, if they are there.

    From pinned memory to CUDA: such a copy takes its turn behind the work before it and nobody waits, where one from
    other memory would hold up the program until all that work is done. torch keeps the pinned memory until the copy is.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
