"""AutoAugment: torchvision's operations on each image, drawn by (seed, epoch, image) alone."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import AutoAugment, AutoAugmentPolicy

from xnas.data.rng import POLICY, mix_address
from xnas.data.transforms.autoaugment import SIGNED, augment_by_policy, magnitude, operations, pairs_of

from .test_crop_flip_cutout import plain_bits

POLICIES = ["cifar10", "svhn", "imagenet"]


CIFAR10 = (
    "Invert.1 Contrast.2.6, Rotate.7.2 TranslateX.3.9, Sharpness.8.1 Sharpness.9.3, ShearY.5.8 TranslateY.7.9, "
    "AutoContrast.5 Equalize.9, ShearY.2.7 Posterize.3.7, Color.4.3 Brightness.6.7, Sharpness.3.9 Brightness.7.9, "
    "Equalize.6 Equalize.5, Contrast.6.7 Sharpness.6.5, Color.7.7 TranslateX.5.8, Equalize.3 AutoContrast.4, "
    "TranslateY.4.3 Sharpness.2.6, Brightness.9.6 Color.2.8, Solarize.5.2 Invert.0, Equalize.2 AutoContrast.6, "
    "Equalize.2 Equalize.6, Color.9.9 Equalize.6, AutoContrast.8 Solarize.2.8, Brightness.1.3 Color.7.0, "
    "Solarize.4.5 AutoContrast.9, TranslateY.9.9 TranslateY.7.9, AutoContrast.9 Solarize.8.3, Equalize.8 Invert.1, "
    "TranslateY.7.9 AutoContrast.9"
)
"""As Cubuk et al. 2019 print it: of each operation its probability in tenths, and its level where it has one."""


def some_images(count: int, *, channels: int = 3, height: int = 16, width: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    coarse = torch.rand((count, channels, 4, 4), generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear") * 200 + 20
    return (images + 10 * torch.rand(images.shape, generator=generator)).to(torch.uint8)


def apply(image_CHW: Tensor, name: str, level: int | None, *, negative: bool) -> Tensor:
    size = magnitude(name, level or 0, height=image_CHW.shape[1], width=image_CHW.shape[2])
    return operations()[name](image_CHW[None], -size if negative and name in SIGNED else size)[0]


def plain_policy(images: Tensor, ids: Tensor, *, policy: str, seed: int, epoch: int) -> Tensor:
    """Image by image."""
    out = images.clone()
    for b, index in enumerate(ids.tolist()):
        chosen = (plain_bits(mix_address(POLICY, seed, epoch), index) & 0xFFFFFF) * 25 >> 24
        for place, (name, probability, level) in enumerate(pairs_of(policy)[chosen]):
            bits = plain_bits(mix_address(POLICY, seed, epoch, place), index)
            if (bits & 0xFFFFFF) / 2**24 < probability:
                out[b] = apply(out[b], name, level, negative=bool(bits >> 63))
    return out


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 20, 31)])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_pair_does_what_torchvisions_does(policy, shape, negative, monkeypatch):
    channels, height, width = shape
    image = some_images(1, channels=channels, height=height, width=width)[0]
    theirs = AutoAugment(AutoAugmentPolicy(policy))
    # What it draws for probabilities and directions: at most a half is negative.
    monkeypatch.setattr(torch, "rand", lambda size: torch.tensor(0.1 if negative else 0.9))
    for pair in pairs_of(policy):
        theirs._policies = [[(name, 1.0, level) for name, _, level in pair]]
        mine = image
        for name, _, level in pair:
            mine = apply(mine, name, level, negative=negative)
        assert mine.equal(theirs(image)), pair


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_batch_is_what_its_images_are_one_by_one(policy, channels):
    images, ids = some_images(64, channels=channels), torch.arange(100, 164)
    before = images.clone()
    out = augment_by_policy(images, ids, policy=policy, seed=3, epoch=5)
    assert images.equal(before)
    assert out.dtype == torch.uint8
    assert out.equal(plain_policy(images, ids, policy=policy, seed=3, epoch=5))


def test_what_happens_to_an_image_does_not_depend_on_its_batch_or_layout():
    images = some_images(60, height=32, width=32)
    ids = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    whole = augment_by_policy(images[ids], ids, policy="cifar10", seed=1, epoch=2)
    parts = [
        augment_by_policy(
            images[lot].contiguous(memory_format=torch.channels_last),
            lot,
            policy="cifar10",
            seed=1,
            epoch=2,
        )
        for lot in ids.split(7)
    ]
    assert torch.cat(parts).equal(whole)


@pytest.mark.parametrize("place", ["seed", "epoch", "index"])
def test_another_seed_epoch_or_index_is_another_draw(place):
    images, ids = some_images(32), torch.arange(32)
    first = augment_by_policy(images, ids, policy="svhn", seed=0, epoch=0)
    seed, epoch = int(place == "seed"), int(place == "epoch")
    other = augment_by_policy(images, ids + 32 * (place == "index"), policy="svhn", seed=seed, epoch=epoch)
    assert (first != other).flatten(1).any(1).sum() > 16


def test_operations_come_as_often_as_their_probabilities_say():
    # Of the operations of SVHN's policy only `Invert` makes a black image white, once or not at all.
    images = torch.zeros(20_000, 1, 4, 4, dtype=torch.uint8)
    out = augment_by_policy(images, torch.arange(20_000), policy="svhn", seed=0, epoch=0)
    white = (out.flatten(1) > 0).any(1).double().mean().item()
    chance = (
        sum(probability for pair in pairs_of("svhn") for name, probability, _ in pair if name == "Invert")
        / 25
    )
    deviation = (chance * (1 - chance) / 20_000) ** 0.5
    assert abs(white - chance) < 4 * deviation


def test_without_a_policy_nothing_happens():
    images = some_images(3)
    assert augment_by_policy(images, torch.arange(3), policy="none", seed=0, epoch=0) is images


def test_the_pairs_for_cifar_are_those_of_the_paper() -> None:
    def written(name: str, probability: float, level: int | None) -> str:
        return f"{name}.{round(10 * probability)}" + ("" if level is None else f".{level}")

    assert ", ".join(" ".join(written(*one) for one in pair) for pair in pairs_of("cifar10")) == CIFAR10


def test_every_policy_has_25_pairs() -> None:
    assert [len(pairs_of(policy)) for policy in POLICIES] == [25, 25, 25]
