"""Images that stay in their files: the same batches as from memory, and what happens where one is broken."""

from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xnas.data.files import streaming as streamed
from xnas.data.files.folder import read_folder
from xnas.data.files.streaming import FileImageSet
from xnas.data.images import DataSet, ImageSet, Normalisation
from xnas.data.loader import Augmentation, batches

WORKERS = [0, 1, 2]


def read(root: Path, *, workers=None, **settings) -> DataSet:
    return read_folder(
        root, **{"image_size": None, "test_fraction": 0.5, "seed": 0} | settings, workers=workers
    )


def epoch(images, **settings):
    return batches(
        images,
        **{"batch_size": 7, "shuffle": True, "seed": 1, "augmentation": Augmentation(cutout=3)} | settings,
        normalisation=Normalisation.of(images),
        device=torch.device("cpu"),
    )


def assert_same(stream, expected) -> None:
    for batch, wanted in zip(stream, expected, strict=True):
        assert batch.ids_B.equal(wanted.ids_B)
        assert batch.labels_B.equal(wanted.labels_B)
        assert batch.images_BCHW.equal(wanted.images_BCHW)


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.fixture
def mixed_folder(image_folder):
    """Images of several kinds and sizes."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(image_folder / "train/red/photo.jpg")
    Image.fromarray(noise[:20]).convert("L").save(image_folder / "train/green/grey.png")
    Image.fromarray(noise).convert("RGBA").save(image_folder / "test/blue/alpha.webp", lossless=True)
    return image_folder


@pytest.mark.parametrize("workers", WORKERS)
def test_batches_are_the_same_as_from_memory_however_many_processes_read(mixed_folder, workers):
    memory, stream = read(mixed_folder), read(mixed_folder, workers=workers)
    assert isinstance(memory.train, ImageSet)
    assert isinstance(stream.train, FileImageSet)
    assert stream.image_shape == memory.image_shape
    for number in range(2):
        assert_same(epoch(stream.train, epoch=number), epoch(memory.train, epoch=number))
    assert_same(epoch(stream.test, shuffle=False), epoch(memory.test, shuffle=False))
    assert_same(epoch(stream.train, start=5), islice(epoch(memory.train), 5, None))


def test_parts_that_are_read_in_turn_are_the_same_as_from_memory(image_folder):
    memory, stream = read(image_folder).train, read(image_folder, workers=2).train
    ids = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    parts = [[images.subset(ids[:31]), images.subset(ids[31:])] for images in (stream, memory)]
    for number in range(2):  # the longer half is left before its end
        pairs, wanted = (
            list(zip(*[epoch(half, epoch=number) for half in both], strict=False)) for both in parts
        )
        for part in range(2):
            assert_same([pair[part] for pair in pairs], [pair[part] for pair in wanted])


@pytest.mark.parametrize("workers", WORKERS)
def test_an_epoch_that_is_left_early_does_not_disturb_the_next(image_folder, workers):
    memory, stream = read(image_folder).train, read(image_folder, workers=workers).train
    with closing(epoch(stream)) as left:
        next(left)
    assert_same(epoch(stream, epoch=1), epoch(memory, epoch=1))


@pytest.mark.parametrize("coloured", [False, True])
def test_grey_is_measured_as_in_memory(said: list[str], tmp_path, coloured, monkeypatch):
    monkeypatch.setattr(streamed, "LARGE", 6)
    monkeypatch.setattr(streamed, "GLANCE", 2)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (9, 8), (number, number, number)).save(
                    tmp_path / part / name / f"{number}.png"
                )
    if coloured:
        Image.new("RGB", (9, 8), (1, 2, 3)).save(tmp_path / "test/dog/3.png")
    memory, stream = read(tmp_path), read(tmp_path, workers=0)
    assert stream.image_shape == memory.image_shape == ((3, 8, 9) if coloured else (1, 8, 9))
    assert stream.test.pixels(torch.arange(8)).equal(memory.test.images_NCHW)
    assert "looking through 8 images for one with colour" in said[0]


def test_reading_all_images_of_a_large_folder_is_told(said: list[str], image_folder, monkeypatch):
    monkeypatch.setattr(streamed, "LARGE", 60)
    data = read(image_folder, workers=0)
    assert said == []
    Normalisation.of(data.train)
    assert said == [f"reading 60 images of {image_folder}, to measure them"]


def test_an_image_is_called_by_its_file_class_and_place_in_the_whole_set(image_folder, monkeypatch):
    monkeypatch.chdir(image_folder.parent)
    for workers in (None, 0):
        images = read(Path("images"), workers=workers).train
        assert images.describe(57) == "images/train/red/017.png (class 'red', image 57)"
        part = images.subset(torch.tensor([3, 57])).subset(torch.tensor([1]))
        assert part.describe(0) == images.describe(57)


def test_the_fingerprint_of_files_covers_names_sizes_and_classes_wherever_they_are_held(image_folder):
    def fingerprint(root: Path = image_folder, workers: int | None = 0) -> str:
        return read(root, workers=workers, image_size=8).fingerprint()

    first = fingerprint()
    assert fingerprint() == fingerprint(workers=None) == first
    moved = image_folder.rename(image_folder.with_name("moved"))
    assert fingerprint(moved) == first
    path = moved / "test/red/000.png"
    path.rename(moved / "test/red/0000.png")
    renamed = fingerprint(moved)
    Image.new("RGB", (16, 16)).save(moved / "test/red/0000.png")
    assert len({first, renamed, fingerprint(moved)}) == 3


# An image that breaks after its header was read.


@pytest.mark.parametrize("workers", WORKERS)
def test_an_image_that_breaks_while_training_is_named_in_one_line(image_folder, workers):
    images = read(image_folder, workers=workers).train
    path = truncate(image_folder / "train/red/017.png")
    with pytest.raises(ValueError) as caught:
        list(images.stream(torch.arange(60).split(10)))
    message = str(caught.value)
    assert message.startswith(f"cannot read the image {path} (class 'red', image 57 of the training set): ")
    assert "truncated" in message
    assert message.endswith("; replace it, take it out, or allow --data.max-broken")
    assert "\n" not in message


@pytest.mark.parametrize("workers", WORKERS)
def test_a_broken_image_is_replaced_by_the_next_of_its_class_and_named_once(
    said: list[str], image_folder, workers
):
    memory = read(image_folder).train.images_NCHW
    images = read(image_folder, workers=workers, max_broken=4).train
    for name in ("blue/003", "blue/004", "green/019"):
        truncate(image_folder / f"train/{name}.png")
    (image_folder / "train/red/000.png").unlink()
    expected = memory.clone()
    expected[3] = expected[4] = memory[5]
    expected[39] = memory[20]  # after the last comes the first
    expected[40] = memory[41]
    for _ in range(2):
        assert torch.cat(list(images.stream(torch.arange(60).split(8)))).equal(expected)
    assert images.pixels(torch.tensor([39, 3])).equal(expected[[39, 3]])
    assert len(said) == 4
    assert (
        "red/000.png (class 'red', image 40 of the training set): No such file or directory; the next"
        in said[3]
    )


def test_what_takes_the_place_of_a_broken_image_comes_from_the_same_part(image_folder):
    memory = read(image_folder).train.images_NCHW
    images = read(image_folder, workers=0, max_broken=1).train
    truncate(image_folder / "train/blue/003.png")
    part = images.subset(torch.tensor([3, 50, 9, 0]))
    assert part.pixels(torch.tensor([0])).equal(memory[[9]])


@pytest.mark.parametrize("workers", WORKERS)
def test_more_broken_images_than_are_allowed_are_an_error_with_their_number(image_folder, workers):
    images = read(image_folder, workers=workers, max_broken=1).train
    for number in range(4):
        truncate(image_folder / f"train/red/{number:03}.png")
    message = (
        r"2 images of .* are broken, and data.max_broken allows 1: .*red/000.png.*; .*red/001.png.*allow more"
    )
    with pytest.raises(ValueError, match=message):
        list(images.stream(torch.arange(60).split(10)))


def test_a_class_of_which_nothing_can_be_read_is_named(image_folder):
    images = read(image_folder, workers=0, max_broken=20).test
    for path in (image_folder / "test/red").iterdir():
        truncate(path)
    with pytest.raises(
        ValueError, match=r"none of the 4 images of the class 'red' can be read; replace them"
    ):
        list(images.chunks())


def test_an_image_that_changes_its_size_counts_as_broken(image_folder):
    images = read(image_folder, workers=0).train
    Image.new("RGB", (9, 8)).save(image_folder / "train/red/000.png")
    with pytest.raises(
        ValueError, match=r"red/000.png .*: it is 8 x 9 pixels where 16 x 16 were expected; replace"
    ):
        images.pixels(torch.tensor([40]))


@pytest.mark.parametrize(("most_bytes", "asked"), [(2**30, 4), (3 * 10 * 3 * 16 * 16, 3), (0, 2)])
def test_what_is_asked_for_before_it_is_needed_is_bounded_and_no_process_is_idle(
    image_folder, monkeypatch, most_bytes, asked
):
    monkeypatch.setattr(streamed, "AHEAD_BYTES", most_bytes)
    images = read(image_folder, workers=2).train
    taken = []
    lots = (taken.append(ids_B) or ids_B for ids_B in torch.arange(60).split(10))
    with closing(images.stream(lots)) as stream:
        for number in range(6):
            next(stream)
            assert len(taken) == min(number + asked, 6)
        assert next(stream, None) is None


# Images that are broken from the start.


@pytest.mark.parametrize("workers", [None, 0])
def test_files_without_a_header_are_left_out_and_named(said: list[str], image_folder, workers):
    for name in ("train/red/003.png", "test/blue/000.png"):
        (image_folder / name).write_text("hello")
    data = read(image_folder, workers=workers, max_broken=2)
    assert (len(data.train), len(data.test)) == (59, 11)
    assert data.train.describe(43) == f"{image_folder}/train/red/004.png (class 'red', image 43)"
    assert data.train.labels_N.bincount().tolist() == [20, 20, 19]
    assert len(said) == 2
    assert (
        "red/003.png (class 'red', image 43 of the training set): it is no image; it is left out" in said[0]
    )
    assert "blue/000.png (class 'blue', image 0 of the test set)" in said[1]
    with pytest.raises(
        ValueError, match=r"2 images of .* data.max_broken allows 1: .*003.png.*000.png.*take them out"
    ):
        read(image_folder, workers=workers, max_broken=1)


def test_in_memory_images_without_pixels_are_left_out_too(said: list[str], image_folder):
    whole = read(image_folder).train
    for name in ("train/blue/003.png", "train/red/019.png"):
        truncate(image_folder / name)
    (image_folder / "train/blue/001.png").write_text("hello")
    images = read(image_folder, max_broken=3).train
    kept = torch.tensor([i for i in range(60) if i not in (1, 3, 59)])
    assert images.images_NCHW.equal(whole.images_NCHW[kept])
    assert images.labels_N.equal(whole.labels_N[kept])
    assert [images.names[i] for i in range(57)] == [whole.names[i] for i in kept]
    assert len(said) == 3
    with pytest.raises(
        ValueError, match=r"3 images of .* are broken, and data.max_broken allows 2: .*take them out"
    ):
        read(image_folder, max_broken=2)


def test_an_error_names_the_first_of_many_broken_images(image_folder):
    for path in (image_folder / "train/red").iterdir():
        path.write_text("hello")
    with pytest.raises(
        ValueError, match=r"^20 images of .* allows 0: .*000.png.*001.png.*002.png.*; \.\.\.; rep"
    ) as caught:
        read(image_folder)
    assert "003.png" not in str(caught.value)


@pytest.mark.parametrize("workers", [None, 0])
def test_a_class_of_which_all_images_are_broken_is_named_with_its_folder(image_folder, workers):
    for path in (image_folder / "test/green").iterdir():
        path.write_text("hello")
    with pytest.raises(
        ValueError,
        match=rf"none of the 4 images of the class 'green' in the test set of {image_folder} can be read",
    ):
        read(image_folder, workers=workers, max_broken=100)


def test_in_memory_a_class_of_truncated_images_alone_is_named_with_its_folder(image_folder):
    for path in (image_folder / "test/green").iterdir():
        truncate(path)
    with pytest.raises(
        ValueError, match=r"none of the 4 images of the class 'green' in the test set of .*replace"
    ):
        read(image_folder, max_broken=100)
