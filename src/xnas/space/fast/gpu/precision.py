"""Number types under autocast: convolutions may have a low one; moments, mixtures and rewards have at least float32."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type itself, or float32 for 16 bits."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def low_type(features: Tensor) -> torch.dtype | None:
    """The type that autocast gives to convolutions on the features' device; None where it is off."""
    kind = features.device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None


def as_they_are(features: Tensor) -> AbstractContextManager[object]:
    """Turn autocast off: operations have the types of their inputs."""
    if low_type(features) is None:
        return nullcontext()
    return torch.autocast(features.device.type, enabled=False)
