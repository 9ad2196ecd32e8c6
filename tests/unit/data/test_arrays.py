"""Images and labels from memory, in every layout, and what is wrong with them in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xnas.data.arrays import as_image_tensor, as_labels
from xnas.data.files.decode import DecodeSpec, read_image

PIXELS_NCHW = np.random.default_rng(0).integers(0, 256, (5, 3, 9, 10), dtype=np.uint8)


@pytest.mark.parametrize(
    "images",
    [
        PIXELS_NCHW,
        torch.from_numpy(PIXELS_NCHW),
        np.moveaxis(PIXELS_NCHW, 1, 3),
        torch.from_numpy(PIXELS_NCHW).permute(0, 2, 3, 1),
        PIXELS_NCHW / 255,
        torch.from_numpy(PIXELS_NCHW).float() / 255,
        list(PIXELS_NCHW),
        tuple(np.moveaxis(PIXELS_NCHW, 1, 3)),
        [torch.from_numpy(image) for image in PIXELS_NCHW],
        [torch.from_numpy(image / 255).requires_grad_() for image in PIXELS_NCHW],
        [Image.fromarray(image) for image in np.moveaxis(PIXELS_NCHW, 1, 3)],
    ],
)
def test_every_layout_and_kind_gives_the_same_bytes(images: Any) -> None:
    given_NCHW = as_image_tensor(images)
    assert given_NCHW.dtype == torch.uint8
    assert given_NCHW.is_contiguous()
    assert torch.equal(given_NCHW, torch.from_numpy(PIXELS_NCHW))


def test_grey_images_have_three_axes_or_one_channel() -> None:
    grey = PIXELS_NCHW[:, 0]
    for images in (grey, grey[:, None], grey[..., None]):
        assert torch.equal(as_image_tensor(images), torch.from_numpy(grey[:, None]))


def test_a_layout_that_is_said_is_not_guessed() -> None:
    five = np.zeros((4, 9, 10, 5), dtype=np.uint8)
    assert as_image_tensor(five, layout="NHWC").shape == (4, 5, 9, 10)
    assert as_image_tensor(np.zeros((4, 3, 8, 9), dtype=np.uint8), layout="NCHW").shape == (4, 3, 8, 9)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((4, 9, 10, 5), np.uint8), 'neither .* channels; say which: layout="NHWC" or layout="NCHW"'),
        (np.zeros((4, 3, 9, 3), np.uint8), "both the second and the last axis"),
        (np.zeros((4, 100), np.uint8), r"must have the shape \(N, H, W\), .*; got \(4, 100\)"),
        (np.zeros((0, 8, 8), np.uint8), r"got \(0, 8, 8\)"),
        (np.zeros((4, 7, 8), np.uint8), "at least 8 x 8 pixels"),
        (np.zeros((4, 8, 8), np.int64), r"must be uint8, or floating-point in \[0, 1\]; got int64"),
        (np.full((4, 8, 8), 16.0), "got 16 to 16; divide by the largest possible value"),
        (np.full((4, 8, 8), np.nan), "must be of finite numbers; image 0 has some that are NaN"),
        (
            [np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)],
            r"image 0 has \(8, 9, 3\), image 2 has \(8, 10, 3\); scale or crop them to one size",
        ),
        ([[[0, 1], [2]]], "cannot make an array of the images: .*inhomogeneous"),
        ([], r"got \(0,\)"),
        (np.zeros((4, 9, 10, 4), np.uint8), r"4 channels, .* leave it out, as in images\[..., :3\], or say"),
        (np.zeros((4, 4, 9, 10), np.uint8), r"4 channels, .* leave it out, as in images\[:, :3\], or say"),
    ],
)
def test_unfit_images_are_refused_in_one_line(images: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        as_image_tensor(images)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([7, 3, 7, 3], [3, 7]),
        (np.array([7, 3, 7, 3]), [3, 7]),
        (torch.tensor([7, 3, 7, 3]), [3, 7]),
        (["dog", "cat", "dog", "cat"], ["cat", "dog"]),
        (np.array(["dog", "cat", "dog", "cat"], dtype=object), ["cat", "dog"]),
        ([True, False, True, False], [False, True]),
        (np.array([7, 3, np.int64(7), 3], dtype=object), [3, 7]),
        ([np.int64(7), 3, 7, 3], [3, 7]),
    ],
)
def test_labels_of_numbers_and_of_text_become_indices(labels: Any, classes: list[Any]) -> None:
    classes_D, labels_N, names = as_labels(labels, count=4)
    assert classes_D.tolist() == classes
    assert labels_N.tolist() == [1, 0, 1, 0]
    assert names == tuple(map(str, classes))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0.5, 1.5, 0.5, 1.5], "must be whole numbers or text; got float64"),
        ([1.0, 2.0, 1.0, 2.0], r"got float64; make them whole numbers, as by labels.astype\(int\)"),
        (torch.zeros(4, dtype=torch.bfloat16), "got float32; make them whole"),
        ([float("nan"), 1, 1, 1], "got float64; number the classes"),
        ([b"a", b"b", b"a", b"b"], r"got bytes \(\|S1\); give labels.astype\(str\)"),
        (["a", 1, "a", 1], "all whole numbers or all text; some are text, and one is 1"),
        (["a", b"a", "b", "b"], "all whole numbers or all text; some are text, and one is b'a'"),
        (np.array(["a", 1, "a", 1], dtype=object), "got both numbers and text"),
        ([10**30, 1, 10**30, 1], "numbers must have less than 64 bits; number the classes"),
        ([[1], [2, 3], 4, 5], "cannot make an array of the labels"),
        (np.array(["2020-01-01"] * 4, dtype="datetime64[D]"), r"got datetime64\[D\]"),
        ([None, 1, 1, 1], "must be whole numbers or text; got object"),
        ([0, 1, 0], r"one label for each of the 4 images; got the shape \(3,\)"),
        ([[0], [1], [0], [1]], r"got the shape \(4, 1\)"),
        ([5, 5, 5, 5], "at least 2 classes to tell apart; got only 5"),
        (["a", "a", "a", "b"], "the class 'b' has only 1 image"),
        (["a", "a", "", ""], "must be plain, of 1 to 255 characters; got ''"),
        (["a", "a", "b\n", "b\n"], "must be plain"),
    ],
)
def test_unfit_labels_are_refused_in_one_line(labels: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        as_labels(labels, count=4)
    assert "\n" not in str(error.value)


def test_a_tensor_in_a_list_is_brought_from_its_device_as_one_alone_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brought = []
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: brought.append(tensor) or cpu(tensor))
    as_image_tensor([torch.zeros(8, 8), torch.zeros(8, 8)])
    assert len(brought) == 2


@pytest.mark.parametrize("mode", ["P", "PA", "RGBA", "LA", "1", "I;16", "CMYK"])
def test_pictures_of_pillow_are_taken_as_files_of_them_are(tmp_path: Path, mode: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 10, 4), np.uint8))
    if mode == "I;16":
        picture = Image.fromarray(np.arange(90, dtype=np.uint16).reshape(9, 10) * 700)
    elif mode == "PA":
        picture = noise.convert("P").convert("PA")
    else:
        picture = noise.convert("RGB").convert(mode) if mode in ("P", "CMYK", "1") else noise.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    colour = mode not in ("LA", "1", "I;16")
    form = DecodeSpec(height=9, width=10, scaled=False, colour=colour, channels=3 if colour else 1)
    if mode != "PA":  # of which there are no files
        picture.save(path)
        assert as_image_tensor([picture, picture])[1].numpy().tolist() == read_image(str(path), form).tolist()
    assert as_image_tensor([picture] * 2).shape == (2, form.channels, 9, 10)


def test_grey_pictures_among_coloured_ones_become_coloured_too() -> None:
    images = as_image_tensor([Image.new("L", (8, 8), 7), Image.new("P", (8, 8), 0)])
    assert images.shape == (2, 3, 8, 8)
    assert images[0].unique().tolist() == [7]


def test_labels_that_differ_in_the_writing_of_accents_alone_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two ways of writing its accents") as error:
        as_labels(["caf\u00e9", "cafe\u0301"] * 2, count=4)
    assert "\n" not in str(error.value)
