"""What a network costs: parameters, and multiply-adds of its convolutions and classifier.

torch's counter counts two operations for each multiply-add; the papers of the field count one. Norms, pooling and
activations are left out here (the paper's own tool counts norms and pooling too: 621 M where this gives 595.5 M).
"""

import torch
from torch import nn
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
