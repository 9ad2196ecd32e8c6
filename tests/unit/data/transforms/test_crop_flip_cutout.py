"""Crops, flips and cutout: equal to a plain reference, and a matter of (seed, epoch, image) alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xnas.data.rng import CROP, CUTOUT, mix_address
from xnas.data.sampling import mix_addresses
from xnas.data.transforms.crop_flip_cutout import augment, below, cutout

WORD = 2**64 - 1


def plain_bits(address: int, index: int) -> int:
    """splitmix64's finaliser in whole numbers."""
    z = index ^ ((address + 0x9E3779B97F4A7C15) & WORD)
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def plain_augment(images: Tensor, ids: Tensor, *, seed: int, epoch: int, padding: int, flip: bool) -> Tensor:
    """Image by image, pixel by pixel."""
    out = torch.zeros_like(images)
    _, _, height, width = images.shape
    for b, index in enumerate(ids.tolist()):
        bits = plain_bits(mix_address(CROP, seed, epoch), index)
        top = ((bits & 0xFFFFFF) * (2 * padding + 1) >> 24) - padding
        left = ((bits >> 24 & 0xFFFFFF) * (2 * padding + 1) >> 24) - padding
        cropped = torch.zeros_like(images[b])
        for y in range(height):
            for x in range(width):
                if 0 <= y + top < height and 0 <= x + left < width:
                    cropped[:, y, x] = images[b, :, y + top, x + left]
        out[b] = cropped.flip(-1) if flip and bits >> 63 else cropped
    return out


def plain_cutout(images: Tensor, ids: Tensor, *, seed: int, epoch: int, size: int) -> Tensor:
    """Image by image."""
    out = images.clone()
    _, _, height, width = images.shape
    for b, index in enumerate(ids.tolist()):
        bits = plain_bits(mix_address(CUTOUT, seed, epoch), index)
        top = ((bits & 0xFFFFFF) * height >> 24) - size // 2
        left = ((bits >> 24 & 0xFFFFFF) * width >> 24) - size // 2
        out[b, :, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
    return out


def some_images(count: int, *, channels: int = 3, height: int = 6, width: int = 5) -> Tensor:
    shape = (count, channels, height, width)
    return torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(count)).to(torch.uint8)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 1000),
    ids=st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
    padding=st.integers(0, 4),
    flip=st.booleans(),
    channels=st.sampled_from([1, 3]),
)
def test_augment_agrees_with_the_plain_reference(seed, epoch, ids, padding, flip, channels):
    images, ids = some_images(len(ids), channels=channels), torch.tensor(ids)
    fast = augment(images, ids, seed=seed, epoch=epoch, padding=padding, flip=flip)
    assert fast.dtype == torch.uint8
    assert torch.equal(fast, plain_augment(images, ids, seed=seed, epoch=epoch, padding=padding, flip=flip))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    ids=st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
    size=st.integers(0, 6),
)
def test_cutout_agrees_with_the_plain_reference(seed, ids, size):
    images, ids = some_images(len(ids)).float(), torch.tensor(ids)
    fast = cutout(images, ids, seed=seed, epoch=3, size=size)
    assert torch.equal(fast, plain_cutout(images, ids, seed=seed, epoch=3, size=size))


def test_what_happens_to_an_image_does_not_depend_on_its_batch():
    images, ids = some_images(32), torch.arange(100, 132)
    whole = augment(images, ids, seed=5, epoch=2)
    cut = cutout(whole.float(), ids, seed=5, epoch=2, size=3)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    for part in (order, order[:7], order[7:8]):
        again = augment(images[part], ids[part], seed=5, epoch=2)
        assert torch.equal(again, whole[part])
        assert torch.equal(cutout(again.float(), ids[part], seed=5, epoch=2, size=3), cut[part])


@pytest.mark.parametrize("change", [{"seed": 6}, {"epoch": 3}])
def test_another_seed_or_epoch_augments_otherwise(change):
    images, ids = some_images(32), torch.arange(32)
    where = {"seed": 5, "epoch": 2}
    assert not torch.equal(augment(images, ids, **where), augment(images, ids, **where | change))


def test_crops_flips_and_centres_are_uniform():
    bits = mix_addresses(mix_address(CROP, 0, 1), torch.arange(90_000))
    counts = torch.bincount(below(bits, 9), minlength=9)
    assert len(counts) == 9
    assert (counts - 10_000).abs().max() < 500  # five standard deviations
    flips = int((bits >> 63).sum())
    assert abs(flips - 45_000) < 750


def test_the_augmented_batch_is_channels_last_in_memory():
    images = augment(some_images(4), torch.arange(4), seed=0, epoch=0)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_without_padding_and_flip_nothing_happens():
    images = some_images(3)
    assert augment(images, torch.arange(3), seed=0, epoch=0, padding=0, flip=False) is images
