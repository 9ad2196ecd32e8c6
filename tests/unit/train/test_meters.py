"""The running mean of an epoch: what is summed batch by batch is what all samples at once give."""

import math

import pytest
import torch
from torch.nn import functional as F

from xnas.train.meters import LossAccuracyMeter

LABELS_N = torch.arange(100) % 4


def logits_ND() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(100, 4, generator=generator) + F.one_hot(LABELS_N, 4)


def count(meter: LossAccuracyMeter, *, start: int = 0, stop: int = 100, means: bool = False) -> None:
    lots = zip(logits_ND()[start:stop].split(32), LABELS_N[start:stop].split(32), strict=True)
    for logits_BD, labels_B in lots:
        meter.add(
            F.cross_entropy(logits_BD, labels_B, reduction="mean" if means else "none"), logits_BD, labels_B
        )


@pytest.mark.parametrize("means", [False, True])
def test_batches_of_any_size_count_by_their_samples(means: bool) -> None:
    meter = LossAccuracyMeter(torch.device("cpu"))
    count(meter, means=means)
    assert meter.loss == pytest.approx(F.cross_entropy(logits_ND(), LABELS_N).item(), rel=1e-6)
    assert meter.accuracy == (logits_ND().argmax(dim=1) == LABELS_N).sum().item() / 100


def test_sums_that_are_saved_go_on_bit_for_bit() -> None:
    whole, first, second = (LossAccuracyMeter(torch.device("cpu")) for _ in range(3))
    count(whole)
    count(first, stop=64)
    saved = first.state_dict()
    first.reset()
    second.load_state_dict(saved)
    count(second, start=64)
    assert (second.loss, second.accuracy) == (whole.loss, whole.accuracy)


def test_a_state_of_something_else_is_refused() -> None:
    with pytest.raises(KeyError):
        LossAccuracyMeter(torch.device("cpu")).load_state_dict({"losses": torch.tensor(3.0)})


def test_nothing_has_no_mean() -> None:
    meter = LossAccuracyMeter(torch.device("cpu"))
    assert math.isnan(meter.loss)
    assert math.isnan(meter.accuracy)
