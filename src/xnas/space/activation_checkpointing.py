"""Activation checkpointing: a module is computed again in the backward pass (Chen et al. 2016).

The same numbers, bit for bit, for about one more forward pass. Nothing in the module may be random.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpointed(module: nn.Module, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`function` of the inputs, which runs `module`, with the same mixture weights both times."""
    outputs: Tensor = checkpoint(
        function,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=partial(_first_and_second, module),
    )
    return outputs


def _first_and_second(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _AveragesKept(module)


class _AveragesKept(AbstractContextManager[None]):
    """Replace the norms' running averages by copies, so that a batch that is computed twice counts once.

    It may be entered for every backward pass through the same graph.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._kept: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        self._kept = [
            (norm, name, buffer)
            for norm in self._module.modules()
            if isinstance(norm, nn.BatchNorm2d)
            for name, buffer in norm.named_buffers(recurse=False)
        ]
        for norm, name, buffer in self._kept:
            setattr(norm, name, buffer.clone())

    def __exit__(self, *error: object) -> None:
        for norm, name, buffer in self._kept:
            setattr(norm, name, buffer)
