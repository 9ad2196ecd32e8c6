"""One step of a network's weights, and the running means of an epoch, shared by search and retraining."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from xnas.data.batches import Batch
from xnas.engine.config import RetrainConfig, SearchConfig


class NonFinite(ValueError):
    """A loss, gradient or reward is not a finite number. Nothing was updated by it."""


def build_sgd(network: nn.Module, config: SearchConfig | RetrainConfig) -> torch.optim.SGD:
    """SGD with momentum and weight decay over all parameters."""
    return torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def descend(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    clip_norm: float,
    where: str,
    tally: "Tally",
) -> None:
    """One step of the network weights down the training loss (algorithm 1, line 4).

    Raises NonFinite, before anything is updated, if the loss or the gradient is not finite; `where` says at which step.
    """
    optimizer.zero_grad(set_to_none=True)
    logits = network(batch.images_BCHW)
    loss = F.cross_entropy(logits, batch.labels_B)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
    require_finite({"loss": loss.detach(), "gradient norm": norm}, where=where)
    optimizer.step()
    tally.add(loss.detach(), logits.detach(), batch.labels_B)


def require_finite(values: dict[str, Tensor], *, where: str) -> None:
    """Raises NonFinite naming the first value that is not finite."""
    for name, value in values.items():
        if not torch.isfinite(value).all():
            raise NonFinite(
                f"the {name} is {value.flatten()[~value.flatten().isfinite()][0].item()} at {where}; no update was "
                "made; lower the learning rate, or look at the data"
            )


class Tally:
    """Running mean of loss and accuracy over the samples of an epoch."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._loss = MeanMetric().to(device)
        self._accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False).to(device)

    def add(self, losses: Tensor, logits_BD: Tensor, labels_B: Tensor) -> None:
        """Count a batch: its mean loss or its samples' losses."""
        self._loss.update(losses.mean(), weight=len(labels_B))
        self._accuracy.update(logits_BD, labels_B)

    @property
    def loss(self) -> float:
        """Mean over samples."""
        return float(self._loss.compute())

    @property
    def accuracy(self) -> float:
        """Share of samples classified correctly."""
        return float(self._accuracy.compute())
