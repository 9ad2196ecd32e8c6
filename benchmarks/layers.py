"""What the layers of a model are given and what they give, from one pass with small images of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Flow:
    """Of one sample."""

    given: int
    """Numbers in the first input."""
    gives: int
    """Numbers in the output."""
    multiply_adds: int
    """Of a convolution or linear layer itself; 0 for everything else."""


def flows(model: nn.Module, image_shape: tuple[int, int, int]) -> Mapping[nn.Module, Flow]:
    """The flow through every module that a pass reaches and that gives one tensor. Leaves the model as it was."""
    found: dict[nn.Module, Flow] = {}

    def look(module: nn.Module, inputs: tuple[Tensor, ...], outputs: object) -> None:
        if isinstance(outputs, Tensor):
            learned = isinstance(module, nn.Conv2d | nn.Linear)
            each = module.weight[0].numel() if learned else 0  # type: ignore[index]
            gives = outputs[0].numel()
            found[module] = Flow(inputs[0][0].numel(), gives, gives * each)

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            # Of two images, because a supernet's norms take the statistics of the batch.
            model(torch.zeros(2, *image_shape))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return found
