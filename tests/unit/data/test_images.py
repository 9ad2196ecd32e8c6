"""Image sets refuse what does not fit together, and are normalised by their own mean and deviation."""

import re
from dataclasses import replace

import pytest
import torch

from xnas.data import images as images_module
from xnas.data.images import CHUNK, DataSet, ImageSet, Normalisation

CLASSES = ("cat", "dog")


def image_set(*, count: int = 4, shape: tuple[int, int, int] = (3, 5, 6), classes=CLASSES) -> ImageSet:
    images = torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    return ImageSet(images_NCHW=images, labels_N=torch.arange(count) % len(classes), classes=classes)


def test_an_image_set_knows_its_size_and_shape():
    images = image_set()
    assert len(images) == 4
    assert images.image_shape == (3, 5, 6)
    assert images.pixels(torch.tensor([2, 0])).equal(images.images_NCHW[[2, 0]])


def test_a_subset_keeps_the_order_asked_for_and_may_lack_a_class():
    images = image_set()
    part = images.subset(torch.tensor([2, 0]))
    assert part.labels_N.tolist() == [0, 0]
    assert part.pixels(torch.arange(2)).equal(images.images_NCHW[[2, 0]])
    assert part.classes == CLASSES


def test_a_subset_shares_the_pixels_of_the_whole_and_is_measured_as_if_it_had_its_own():
    images = image_set(count=9)
    ids = torch.tensor([7, 2, 5, 0])
    part = images.subset(ids)
    assert part.images_NCHW is images.images_NCHW
    own = ImageSet(images_NCHW=images.images_NCHW[ids], labels_N=images.labels_N[ids], classes=CLASSES)
    assert len(part) == 4
    assert part.image_shape == own.image_shape
    assert Normalisation.of(part).mean_C.equal(Normalisation.of(own).mean_C)
    assert Normalisation.of(part).std_C.equal(Normalisation.of(own).std_C)
    fingerprints = {DataSet(name="pets", train=each, test=images).fingerprint() for each in (part, own)}
    assert len(fingerprints) == 1

    def crop_keys(ids_B: torch.Tensor) -> list[int]:
        return [3 * i + 1 for i in ids_B.tolist()]

    for keys in (None, crop_keys):
        streams = [each.stream(torch.split(torch.arange(4), 3), crop_keys=keys) for each in (part, own)]
        assert all(one_BCHW.equal(other_BCHW) for one_BCHW, other_BCHW in zip(*streams, strict=True))
    last = part.subset(torch.tensor([3, 1]))
    assert last.pixels(torch.arange(2)).equal(images.images_NCHW[[0, 2]])
    with pytest.raises(ValueError, match=r"empty: its shape is \(0, 3, 5, 6\)"):
        part.subset(ids[:0])


def test_an_image_is_called_by_its_file_if_it_has_one_and_by_its_place_in_the_whole_set():
    images = image_set()
    assert images.describe(1) == "image 1 (class 'dog')"
    named = replace(images, names=("a.png", "b.png", "c.png", "d.png"))
    part = named.subset(torch.tensor([3, 2])).subset(torch.tensor([1]))
    assert part.describe(0) == "c.png (class 'cat', image 2)"


def test_the_fingerprint_changes_with_every_pixel_label_class_and_shape_and_with_nothing_else(monkeypatch):
    def fingerprint(**changes) -> str:
        return DataSet(
            name="pets", train=replace(image_set(), **changes), test=image_set(count=2)
        ).fingerprint()

    images = image_set()
    pixels, labels = images.images_NCHW.clone(), images.labels_N
    pixels[3, 2, 4, 5] ^= 1
    others = [
        fingerprint(),
        fingerprint(images_NCHW=pixels),
        fingerprint(labels_N=labels.flip(0)),
        fingerprint(images_NCHW=images.images_NCHW.flip(0)),
    ]
    assert len(set(others)) == len(others)
    assert all(len(one) == 64 for one in others)
    layout = images.images_NCHW.contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(images_module, "CHUNK", 1)
    assert fingerprint(images_NCHW=layout) == others[0]
    turned = DataSet(
        name="pets",
        train=replace(images, images_NCHW=images.images_NCHW.reshape(4, 3, 6, 5)),
        test=replace(image_set(count=2), images_NCHW=image_set(count=2).images_NCHW.reshape(2, 3, 6, 5)),
    )
    renamed = DataSet(
        name="pets", train=image_set(classes=("cat", "cow")), test=image_set(count=2, classes=("cat", "cow"))
    )
    assert len({others[0], turned.fingerprint(), renamed.fingerprint()}) == 3


PIXELS = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("pixels", "labels", "classes", "message"),
    [
        (
            PIXELS.float(),
            LABELS,
            CLASSES,
            r"uint8 of shape \(N, C, H, W\); got torch.float32 of shape \(2, 1, 4, 4\)",
        ),
        (PIXELS[0], LABELS, CLASSES, r"uint8 of shape \(N, C, H, W\); got torch.uint8 of shape \(1, 4, 4\)"),
        (PIXELS, LABELS.int(), CLASSES, r"labels must be int64 of shape \(N,\); got torch.int32"),
        (PIXELS, LABELS[:1], CLASSES, r"2 images have 1 labels; give every image one label"),
        (
            PIXELS[:0],
            LABELS[:0],
            CLASSES,
            r"the set of images is empty: its shape is \(0, 1, 4, 4\); give it images",
        ),
        (PIXELS[..., :0], LABELS, CLASSES, r"the set of images is empty: its shape is \(2, 1, 4, 0\)"),
        (PIXELS, LABELS, ("cat",), r"at least 2 classes to tell apart; got 1: \['cat'\]"),
        (PIXELS, LABELS, ("cat", "cat"), r"the class 'cat' is named twice; give every class its own name"),
        (
            PIXELS,
            torch.tensor([0, 2]),
            CLASSES,
            r"label 2 of image 1 is no class; with 2 classes .* from 0 to 1",
        ),
        (PIXELS, torch.tensor([-1, 2]), CLASSES, r"label -1 of image 0 is no class"),
        (
            PIXELS,
            torch.tensor([1, 1]),
            CLASSES,
            r"the class 'cat' has 0 images; add some, or leave the class out",
        ),
    ],
)
def test_a_set_that_does_not_fit_together_is_an_error(pixels, labels, classes, message):
    with pytest.raises(ValueError, match=message) as caught:
        ImageSet(images_NCHW=pixels, labels_N=labels, classes=classes)
    assert "\n" not in str(caught.value)


def test_a_data_set_knows_its_classes_and_shape():
    data = DataSet(name="pets", train=image_set(), test=image_set(count=2))
    assert data.num_classes == 2
    assert data.image_shape == (3, 5, 6)


def test_training_and_test_classes_must_be_the_same():
    with pytest.raises(
        ValueError, match=r"pets: .*missing from the test images: dog; .*the training images: cow"
    ):
        DataSet(name="pets", train=image_set(), test=image_set(classes=("cat", "cow")))
    with pytest.raises(ValueError, match=r"pets: .*same order; got \['cat', 'dog'\] and \['dog', 'cat'\]"):
        DataSet(name="pets", train=image_set(), test=image_set(classes=("dog", "cat")))


def test_training_and_test_images_must_have_the_same_shape():
    message = re.escape(
        "pets: training images have the shape (C, H, W) = (3, 5, 6), test images (1, 5, 6); bring"
    )
    with pytest.raises(ValueError, match=message):
        DataSet(name="pets", train=image_set(), test=image_set(shape=(1, 5, 6)))


def test_normalised_images_have_mean_0_and_deviation_1():
    images = image_set(count=CHUNK + 10)
    normalised = Normalisation.of(images)(images.images_NCHW)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_normalisation_is_x_less_mean_over_deviation_of_pixels_in_0_to_1():
    images = image_set(count=6)
    pixels = images.images_NCHW.double() / 255
    normalise = Normalisation.of(images)
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
    torch.testing.assert_close(normalise.mean_C.double(), mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(normalise.std_C.double(), std, atol=1e-6, rtol=0)
    expected = (pixels - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(normalise(images.images_NCHW).double(), expected, atol=1e-5, rtol=0)


def test_a_constant_channel_becomes_zero_and_not_infinite():
    images = ImageSet(
        images_NCHW=torch.full((2, 1, 4, 4), 77, dtype=torch.uint8), labels_N=LABELS, classes=CLASSES
    )
    normalise = Normalisation.of(images)
    assert normalise.std_C.item() == pytest.approx(1 / 255)
    assert normalise(images.images_NCHW).abs().max() < 1e-4


def test_normalisation_keeps_channels_last_memory():
    images = image_set()
    pixels = images.images_NCHW.contiguous(memory_format=torch.channels_last)
    assert Normalisation.of(images)(pixels).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5, 0.5], [0.1], r"one number a channel; got \(2,\) and \(1,\)"),
        ([0.5], [0.0], r"std positive; got \[0.5\] and \[0.0\]"),
        ([float("nan")], [1.0], r"must be finite .*got \[nan\] and \[1.0\]"),
    ],
)
def test_a_normalisation_that_cannot_be_is_an_error(mean, std, message):
    with pytest.raises(ValueError, match=message):
        Normalisation(mean_C=torch.tensor(mean), std_C=torch.tensor(std))
