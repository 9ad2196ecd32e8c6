"""Random resized crops: within their bounds, by (seed, epoch, image) alone, the same from memory and from files."""

import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xnas.data.files.folder import read_folder
from xnas.data.images import Images, Normalisation
from xnas.data.loader import Augmentation, batches
from xnas.data.rng import RESIZED, mix_address
from xnas.data.sampling import hold_out, mix_addresses
from xnas.data.transforms.resized_crop import crop_box, resized_crops

RESIZED_CROPS = Augmentation(crop="resized", padding=0)


def keys(count: int) -> list[int]:
    drawn: list[int] = mix_addresses(mix_address(RESIZED, 0, 0), torch.arange(count)).tolist()
    return drawn


@given(key=st.integers(0, 2**64 - 1), height=st.integers(1, 600), width=st.integers(1, 600))
def test_a_crop_lies_inside_of_its_image(key, height, width):
    left, upper, right, lower = crop_box(key, height=height, width=width)
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height
    assert (left, upper, right, lower) == crop_box(key, height=height, width=width)


def test_area_and_ratio_of_crops_are_uniform_between_their_bounds():
    boxes = np.array([crop_box(key, height=1000, width=1000) for key in keys(4000)])
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, ratio = w * h / 1e6, np.log(w / h) / math.log(4 / 3)
    assert area.min() >= 0.079
    assert area.max() <= 1
    assert np.abs(ratio).max() <= 1.01
    # Large crops of another shape than the image do not fit and are drawn again: below that nothing is cut away.
    small = area[area < 0.7]
    assert np.histogram(small, bins=5, range=(0.08, 0.7))[0] / len(small) == pytest.approx(
        [0.2] * 5, abs=0.03
    )
    assert np.histogram(ratio, bins=2, range=(-1, 1))[0] / len(ratio) == pytest.approx([0.5] * 2, abs=0.03)
    room = (w < 900) & (h < 900)
    place = boxes[room, 0] / (1000 - w[room])
    assert np.histogram(place, bins=4, range=(0, 1))[0] / room.sum() == pytest.approx([0.25] * 4, abs=0.03)


def test_what_never_fits_is_the_middle():
    assert crop_box(1, height=1000, width=10) == (0, 493, 10, 506)
    assert crop_box(1, height=10, width=1000) == (493, 0, 506, 10)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_in_memory_is_the_part_of_the_image_scaled(channels):
    ramp = np.arange(64, dtype=np.uint8) * 4
    pixels = np.broadcast_to(ramp, (40, channels, 64, 64)).copy()
    for crop, key in zip(resized_crops(pixels, keys(40)), keys(40), strict=True):
        left, _, right, _ = crop_box(key, height=64, width=64)
        assert crop.shape == (channels, 64, 64)
        assert int(crop[..., 0].max()) == pytest.approx(4 * left, abs=4)
        assert int(crop[..., -1].min()) == pytest.approx(4 * (right - 1), abs=4)


def epoch(images: Images, **settings):
    return batches(
        images,
        **{
            "batch_size": 7,
            "shuffle": True,
            "seed": 1,
            "augmentation": RESIZED_CROPS,
            "normalisation": Normalisation(mean_C=torch.zeros(3), std_C=torch.ones(3)),
        }
        | settings,
        device=torch.device("cpu"),
    )


def read(root: Path, **settings):
    given = {"image_size": None, "test_fraction": 0.5, "seed": 0}
    return read_folder(root, **given | settings)


def by_index(stream) -> torch.Tensor:
    found = list(stream)
    order = torch.cat([batch.ids_B for batch in found]).argsort()
    return torch.cat([batch.images_BCHW for batch in found])[order]


def test_crops_are_the_same_from_memory_and_from_files_in_any_batch(image_folder):
    memory = read(image_folder).train
    expected = by_index(epoch(memory))
    assert not expected.equal(by_index(epoch(memory, epoch=1)))
    assert by_index(epoch(memory, batch_size=13)).equal(expected)
    for workers in (0, 2):
        streamed = read(image_folder, workers=workers).train
        assert by_index(epoch(streamed)).equal(expected)
        after = [batch.images_BCHW for batch in epoch(streamed, start=3)]
        for mine, wanted in zip(after, islice(epoch(memory), 3, None), strict=True):
            assert mine.equal(wanted.images_BCHW)


def test_from_files_crops_are_taken_out_of_the_whole_picture(tmp_path):
    # A wide picture: its sides are black, its middle, all that a square shows, is white.
    pixels = np.zeros((40, 120, 3), dtype=np.uint8)
    pixels[:, 36:84] = 255
    for part in ("train", "test"):
        for name in ("one", "two"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(10):
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    data = read(tmp_path, image_size=16, workers=0)
    grey = Normalisation(mean_C=torch.zeros(1), std_C=torch.ones(1))
    found = by_index(epoch(data.train, normalisation=grey))
    assert found.shape == (20, 1, 16, 16)
    assert found.min() == 0
    assert torch.cat(list(data.test.chunks())).min() == 255


def test_tests_lose_an_eighth_with_resized_crops(tmp_path):
    # 256 x 256 with a black border of 16: what a test at 224 sees is white.
    pixels = np.full((256, 256), 255, dtype=np.uint8)
    pixels[:15], pixels[-15:], pixels[:, :15], pixels[:, -15:] = 0, 0, 0, 0
    for part in ("train", "test"):
        for name in ("one", "two"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(2):
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    for workers in (None, 0):
        usual = read(tmp_path, image_size=224, workers=workers)
        cropped = read(tmp_path, image_size=224, workers=workers, resized_crops=True)
        assert torch.cat(list(usual.test.chunks())).min() == 0
        assert torch.cat(list(cropped.test.chunks())).min() == 255
        assert torch.cat(list(cropped.train.chunks())).min() == 0
        # Images that were held out are, too, where there are files to cut them out of.
        held_out = hold_out(cropped, share=0.5, seed=0)
        cut = workers is not None
        assert (torch.cat(list(held_out.test.chunks())).min() == 255) == cut
        assert held_out.border == (cropped.border if cut else 0)


def test_a_broken_image_is_replaced_by_a_crop_of_the_next(image_folder):
    data = read(image_folder, workers=0, max_broken=1).train
    expected = by_index(epoch(data))
    path = Path(data.names[4])
    path.write_bytes(path.read_bytes()[:50])
    found = by_index(epoch(data))
    changed = (found != expected).flatten(1).any(1).nonzero().flatten().tolist()
    assert changed == [4]
