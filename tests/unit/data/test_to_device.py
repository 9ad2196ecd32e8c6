"""The way to the device: nobody waits on it, and on the CPU there is none."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from xnas.data import loader as batches
from xnas.data.images import ImageSet, Normalisation, to_device
from xnas.data.transforms import crop_flip_cutout as augment

IMAGES = ImageSet(
    images_NCHW=torch.arange(6 * 3 * 8 * 8).remainder(251).to(torch.uint8).reshape(6, 3, 8, 8),
    labels_N=torch.arange(6) % 2,
    classes=("cat", "dog"),
)


class Recorded:
    """Stands for a tensor, and writes down what is asked of it."""

    def __init__(self, device: str) -> None:
        self.device, self.asked = torch.device(device), list[Any]()

    def pin_memory(self) -> "Recorded":
        self.asked.append("pinned")
        return self

    def to(self, device: torch.device, **how: bool) -> "Recorded":
        self.asked.append((str(device), how))
        return self


@pytest.mark.parametrize(
    ("here", "there", "asked"),
    [
        ("cpu", "cuda:1", ["pinned", ("cuda:1", {"non_blocking": True})]),
        ("cuda:1", "cuda:1", [("cuda:1", {})]),
        ("cpu", "mps", [("mps", {})]),
        ("cpu", "cpu", [("cpu", {})]),
    ],
)
def test_only_what_goes_from_the_cpu_to_cuda_is_pinned_and_not_waited_for(
    here: str, there: str, asked: list[Any]
) -> None:
    values = Recorded(here)
    to_device(values, torch.device(there))  # type: ignore[arg-type]
    assert values.asked == asked


def test_on_the_cpu_nothing_is_copied() -> None:
    values = torch.arange(3)
    assert to_device(values, torch.device("cpu")) is values


class Copies(TorchDispatchMode):
    """Counts what goes from the CPU to another device."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        given = [value for value in args if isinstance(value, Tensor)]
        if isinstance(outputs, Tensor) and outputs.device.type != "cpu":
            self.count += any(value.device.type == "cpu" and value.dim() > 0 for value in given)
        return outputs


@pytest.mark.parametrize("cutout", [0, 3])
def test_all_that_a_batch_needs_on_its_device_goes_this_way(
    cutout: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[Tensor] = []

    def watch(values: Tensor, device: torch.device) -> Tensor:
        moved.append(values)
        return to_device(values, device)

    for module in (augment, batches):
        monkeypatch.setattr(module, "to_device", watch)
    normalisation = Normalisation.of(IMAGES)
    monkeypatch.setattr(Normalisation, "__post_init__", lambda self: None)  # there are no values to look at
    stream = batches.batches(
        IMAGES,
        batch_size=4,
        normalisation=normalisation,
        device=torch.device("meta"),  # has shapes and no values: it is on every machine, and is not the CPU
        shuffle=True,
        augmentation=batches.Augmentation(padding=2, cutout=cutout),
    )
    with Copies() as copies:
        batch = next(stream)
    assert {tensor.device.type for tensor in (batch.images_BCHW, batch.labels_B, batch.ids_B)} == {"meta"}
    assert copies.count == len(moved) == 6 + 2 * bool(cutout)
