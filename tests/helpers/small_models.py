"""A small model with two replicas of a choice and another choice, and batches for it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas.optimizers.base import ArchitectureOptimizer
from xnas.space.forecaster import Forecaster


class Twins(nn.Module):
    """Two replicas of a choice between three maps, and one choice between two."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = (
            Forecaster({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "c": nn.Identity()}, group="twins")
            for _ in range(2)
        )
        self.third = Forecaster({"on": nn.Linear(4, 3), "off": nn.Linear(4, 3)}, group="head")
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = self.third(torch.tanh(self.second(torch.tanh(self.first(inputs)))))
        return hidden


def batch(size: int = 8, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (size,), generator=generator)


def losses(model: nn.Module, *, seed: int = 0) -> Tensor:
    """Of every sample of a batch, shape (B,)."""
    inputs, labels = batch(seed=seed)
    return F.cross_entropy(model(inputs), labels, reduction="none")


def one_round(optimizer: ArchitectureOptimizer, model: nn.Module, *, seed: int = 0) -> list[str]:
    """A measurement and a step; returns the experts that left."""
    optimizer.measure(lambda: losses(model, seed=seed), training=lambda: losses(model, seed=seed + 1000))
    return [gone.expert for gone in optimizer.step()]


def by_autograd(model: Twins, weights: dict[str, Tensor], *, seed: int = 0) -> Tensor:
    """The mean loss as a plain function of the mixture weights (K,) of each group, without forecasters' own code."""

    def mixed(forecaster: Forecaster, u_K: Tensor, inputs: Tensor) -> Tensor:
        outputs = [u * expert(inputs) for u, expert in zip(u_K, forecaster.experts, strict=True)]
        return torch.stack(outputs).sum(dim=0)

    inputs, labels = batch(seed=seed)
    hidden = torch.tanh(mixed(model.first, weights["twins"], inputs))
    hidden = torch.tanh(mixed(model.second, weights["twins"], hidden))
    return F.cross_entropy(mixed(model.third, weights["head"], hidden), labels)
