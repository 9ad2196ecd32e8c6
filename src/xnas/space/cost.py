"""The cost of a network: parameters, and multiply-adds of its convolutions and classifier.

torch's counter counts two operations for each multiply-add; the papers of the field count one. Norms, pooling and
activations are left out here (the paper's own tool counts norms and pooling too: 621 M where this gives 595.5 M).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Numbers that training learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of one image of shape (C, H, W) in the forward pass. Leaves the network as it was."""
    was_training = network.training
    device = next(network.parameters()).device
    network.eval()
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, *image_shape, device=device))
    finally:
        network.train(was_training)
    return int(counter.get_total_flops()) // 2


def count_layer_multiply_adds(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Count multiply-adds in a third of the time, if all convolutions and linear layers are modules.

    It takes part in a search, so it touches nothing: no norm's averages, no gradient, no random number.
    """
    counted = 0

    def count(layer: Any, inputs: Any, outputs: Tensor) -> None:
        nonlocal counted
        del inputs
        counted += outputs[0].numel() * layer.weight[0].numel()

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            # Two images, of which one is counted: a supernet's norms take the statistics of the batch, and a single
            # image may have shrunk to a single pixel, which has none.
            network(torch.zeros(2, *image_shape, device=next(network.parameters()).device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return counted
