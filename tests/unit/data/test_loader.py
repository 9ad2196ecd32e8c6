"""A set as a stream of batches."""

import pytest
import torch

from xnas.data.images import ImageSet, Normalisation
from xnas.data.loader import Augmentation, Shard, batches, num_batches
from xnas.data.sampling import epoch_order
from xnas.data.transforms.crop_flip_cutout import augment, cutout

CPU = torch.device("cpu")
IMAGES = ImageSet(
    images_NCHW=torch.randint(0, 256, (10, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    ),
    labels_N=torch.arange(10) % 2,
    classes=("cat", "dog"),
)
NORMALISATION = Normalisation.of(IMAGES)


def stream(**settings):
    return batches(IMAGES, **{"batch_size": 4, "normalisation": NORMALISATION, "device": CPU} | settings)


def test_without_shuffling_every_image_comes_once_in_order():
    parts = list(stream())
    assert [len(part) for part in parts] == [4, 4, 2]
    assert torch.cat([part.ids_B for part in parts]).equal(torch.arange(10))
    assert torch.cat([part.labels_B for part in parts]).equal(IMAGES.labels_N)
    assert torch.cat([part.images_BCHW for part in parts]).equal(NORMALISATION(IMAGES.images_NCHW))


def test_shuffled_batches_follow_the_order_of_the_epoch():
    ids = torch.cat([part.ids_B for part in stream(shuffle=True, seed=1, epoch=2)])
    assert ids.equal(epoch_order(10, seed=1, epoch=2))


def test_a_batch_is_augmented_normalised_and_cut_by_the_indices_of_its_images():
    batch = next(
        stream(shuffle=True, seed=1, epoch=2, augmentation=Augmentation(padding=2, flip=True, cutout=3))
    )
    where = {"seed": 1, "epoch": 2}
    pixels = augment(IMAGES.pixels(batch.ids_B), batch.ids_B, padding=2, flip=True, **where)
    assert batch.images_BCHW.equal(cutout(NORMALISATION(pixels), batch.ids_B, size=3, **where))
    assert batch.labels_B.equal(IMAGES.labels_N[batch.ids_B])


def test_an_image_is_augmented_alike_in_batches_of_any_size():
    def by_id(batch_size: int) -> torch.Tensor:
        parts = list(
            stream(batch_size=batch_size, shuffle=True, epoch=5, augmentation=Augmentation(cutout=4))
        )
        order = torch.cat([part.ids_B for part in parts]).argsort()
        return torch.cat([part.images_BCHW for part in parts])[order]

    assert by_id(3).equal(by_id(10))


@pytest.mark.parametrize("of", [2, 3, 4])
def test_parts_of_batches_together_are_the_whole_ones_and_empty_parts_are_left_out(of: int):
    settings = {"shuffle": True, "seed": 1, "epoch": 5, "augmentation": Augmentation(cutout=4)}
    streams = [list(stream(**settings, part=Shard(index=index, of=of))) for index in range(of)]
    whole = list(stream(**settings))
    assert [len(parts) for parts in streams] == [3] * min(of, 2) + [2] * (of - 2)
    for number, batch in enumerate(whole):
        parts = [parts[number] for parts in streams if number < len(parts)]
        assert torch.cat([part.ids_B for part in parts]).equal(batch.ids_B)
        assert torch.cat([part.images_BCHW for part in parts]).equal(batch.images_BCHW)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_last_incomplete_batch_can_be_dropped():
    assert [len(part) for part in stream(drop_last=True)] == [4, 4]
    assert num_batches(10, 4, drop_last=True) == 2
    assert num_batches(10, 4) == 3
    assert num_batches(8, 4) == num_batches(8, 4, drop_last=True) == 2


@pytest.mark.parametrize("start", range(4))
def test_an_epoch_can_be_taken_up_at_any_batch(start):
    settings = {"shuffle": True, "seed": 3, "epoch": 4, "augmentation": Augmentation(cutout=2)}
    whole, rest = list(stream(**settings)), list(stream(**settings, start=start))
    assert len(rest) == 3 - start
    for expected, batch in zip(whole[start:], rest, strict=True):
        assert batch.ids_B.equal(expected.ids_B)
        assert batch.images_BCHW.equal(expected.images_BCHW)


def test_batches_that_are_left_out_are_not_read(monkeypatch):
    read = []
    whole = ImageSet.stream
    monkeypatch.setattr(
        ImageSet, "stream", lambda images, lots, **crops: whole(images, read.append(lots) or lots)
    )
    assert len(list(stream(start=2))) == 1
    assert [ids.tolist() for ids in read[0]] == [[8, 9]]


@pytest.mark.parametrize("augmentation", [None, Augmentation()])
@pytest.mark.parametrize("channels_last", [True, False])
def test_the_layout_in_memory_is_as_asked(augmentation, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    batch = next(stream(channels_last=channels_last, augmentation=augmentation))
    assert batch.images_BCHW.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, r"batch size must be at least 1; got 0"),
        ({"start": 4}, r"an epoch of 3 batches cannot start after 4; use 0 to 3"),
        ({"start": -1}, r"an epoch of 3 batches cannot start after -1; use 0 to 3"),
        (
            {"batch_size": 11, "drop_last": True},
            r"batch size 11 is larger than the set of 10 images; use at most 10",
        ),
        (
            {"augmentation": Augmentation(padding=8)},
            r"data.padding 8 .* 8 x 8 pixels out of sight; use less than 8",
        ),
        (
            {"augmentation": Augmentation(cutout=9)},
            r"data.cutout 9 is larger than .* 8 x 8 pixels; use at most 8",
        ),
        (
            {"normalisation": Normalisation(mean_C=torch.zeros(1), std_C=torch.ones(1))},
            r"normalisation is for images of 1 channel\(s\), but these have 3",
        ),
    ],
)
def test_what_does_not_fit_the_set_is_an_error_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        stream(**settings)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_what_is_for_grey_and_rgb_alone_is_refused_for_other_channels(channels):
    Augmentation(padding=1).check((channels, 8, 8))
    with pytest.raises(ValueError, match=rf'data.crop "resized" .* have {channels}; use data.crop "pad"$'):
        Augmentation(crop="resized").check((channels, 8, 8))
    with pytest.raises(ValueError, match=rf'data.policy "svhn" .* have {channels}; use data.policy "none"$'):
        Augmentation(policy="svhn").check((channels, 8, 8))


@pytest.mark.parametrize("name", ["padding", "cutout"])
def test_an_augmentation_of_negative_size_is_an_error(name):
    with pytest.raises(ValueError, match=rf"data.{name} must be at least 0; got -1"):
        Augmentation(**{name: -1})
