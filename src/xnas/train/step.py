"""SGD, the output of a step, and the guard against numbers that are not finite."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xnas.config.schema import RetrainConfig, SearchConfig
from xnas.data.images import Images
from xnas.data.loader import Batch
from xnas.io.errors import NonFinite
from xnas.train.distributed import process_group

SHOWN = 8
"""Samples named in a message."""


def build_sgd(parameters: Iterable[Tensor], config: SearchConfig | RetrainConfig) -> torch.optim.SGD:
    """SGD with momentum, in retraining by choice Nesterov's, and weight decay over all parameters."""
    return torch.optim.SGD(
        parameters,
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=isinstance(config, RetrainConfig) and config.nesterov,
        weight_decay=config.weight_decay,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The weights that an optimizer steps. It has them at hand; a walk through a supernet's modules takes a while."""
    return [weight for group in optimizer.param_groups for weight in group["params"]]


@dataclass(frozen=True)
class StepOutput:
    """A network's output for a training batch."""

    loss: Tensor
    """Mean loss to descend: with smoothed labels and the loss of an auxiliary tower, if there are any."""
    cross_entropy: Tensor
    """Plain mean cross-entropy of the network's own logits, in nats: what is reported, as for a test."""
    logits_BD: Tensor


def require_finite(values: Mapping[str, Tensor], *, batch: Batch, images: Images, where: str) -> None:
    """Raises NonFinite naming the first value that is not finite, and the images that it comes from.

    A value with a row for each sample tells which; another may come from any in the batch. Where processes share a
    batch, `batch` is the part of this one, and the values are those of all, the same everywhere.
    """
    device = batch.labels_B.device
    if torch.stack([value.isfinite().all().to(device) for value in values.values()]).all():
        return  # asked once for all of them: on an accelerator, every question waits for the work before it
    for name, value in values.items():
        finite = value.isfinite()
        if finite.all():
            continue
        bad = value[~finite].flatten()[0].item()
        ids_M = process_group().all_gather(batch.ids_B)
        if value.shape[:1] == ids_M.shape:
            finite_B = finite.reshape(len(ids_M), -1).all(dim=1)
            ids_M = ids_M[~finite_B.to(ids_M.device)]  # rewards are on the CPU
        raise NonFinite(
            f"the {name} is {bad} at {where}, with {_listed(ids_M.tolist(), images)}; nothing was updated by it; lower "
            "the learning rate, or look at the data"
        )


def _listed(ids: list[int], images: Images) -> str:
    """The samples by their numbers in the whole training set, and what the first is."""
    places = [images.place(i) for i in ids]
    more = f" and {len(places) - SHOWN:,} more" if len(places) > SHOWN else ""
    return f"the training images {', '.join(map(str, places[:SHOWN]))}{more}, the first {images.describe(ids[0])}"
