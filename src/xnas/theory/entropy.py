"""How far a mixture is from a choice (the quantity of figure 2).

E: forecasters; K: experts of each, N of them; u: mixture weights, rows sum to one.
"""

import math

import torch
from torch import Tensor


def normalised_entropy(mixture_EK: Tensor) -> Tensor:
    """-sum_i u_i ln u_i / ln N of every forecaster, shape (E,): 1 if all are equal, 0 if one has all the weight.

    N counts every expert, the wiped ones with u = 0 too. A lone expert leaves nothing open: 0.
    """
    num_experts = mixture_EK.shape[-1]
    if num_experts == 1:
        return torch.zeros_like(mixture_EK[..., 0])
    entropy_E: Tensor = torch.special.entr(mixture_EK).sum(dim=-1)
    return entropy_E / math.log(num_experts)
