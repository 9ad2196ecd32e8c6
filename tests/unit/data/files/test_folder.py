"""Folders of images: both layouts, kinds of image, and every way in which a folder can be unfit."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from xnas.data.check import check_data
from xnas.data.check.image import PLAIN, inspect_image
from xnas.data.files import folder
from xnas.data.files.decode import attempt, turn_upright
from xnas.data.files.folder import read_folder
from xnas.data.files.streaming import FileImageSet
from xnas.data.images import ImageSet

GREY, RED = 90, (200, 10, 10)


def write(path: Path, colour=RED, *, size: tuple[int, int] = (12, 10), **save) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(path, **save)
    return path


def read(root: Path, *, image_size=None, test_fraction=0.5, seed=0, local_world_size=1):
    return read_folder(
        root,
        image_size=image_size,
        test_fraction=test_fraction,
        seed=seed,
        local_world_size=local_world_size,
    )


def write_pets(root: Path, *, parts=("train", "test"), count: int = 2, colour=RED) -> Path:
    for part in parts:
        for name in ("cat", "dog"):
            for number in range(count):
                write(root / part / name / f"{number}.png", colour)
    return root


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("test", ["test", "val", "valid", "validation", "Test"])
def test_training_and_test_folders_are_read_in_the_order_of_names(tmp_path, test):
    for number, (name, value) in enumerate([("dog", 30), ("cat", 20), ("cat", 10)]):
        write(tmp_path / "train" / name / f"{9 - number}.png", value)
    for name, value in (("dog", 40), ("cat", 50)):
        write(tmp_path / test / name / "a.png", value)
    data = read(tmp_path)
    assert data.name == tmp_path.name
    assert data.train.classes == ("cat", "dog")
    assert data.train.labels_N.tolist() == [0, 0, 1]
    assert data.train.images_NCHW[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert data.test.images_NCHW[:, 0, 0, 0].tolist() == [50, 40]


@pytest.mark.parametrize("under", ["", "train"])
def test_a_folder_without_test_images_is_split_by_the_seed(said: list[str], tmp_path, under):
    for label, name in enumerate(("cat", "dog")):
        for number in range(10):
            write(tmp_path / under / name / f"{number}.png", 100 * label + number)

    def values(seed: int) -> tuple[list[int], list[int]]:
        data = read(tmp_path, test_fraction=0.3, seed=seed)
        assert data.test.labels_N.bincount().tolist() == [3, 3]
        return tuple(part.images_NCHW[:, 0, 0, 0].tolist() for part in (data.train, data.test))

    train, test = values(1)
    assert sorted(train + test) == [*range(10), *range(100, 110)]
    assert values(1) == (train, test)
    assert values(2) != (train, test)
    assert "6 of 20 are set aside for the test" in said[0]


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train", "bus"):
        for number in range(2):
            write(tmp_path / name / f"{number}.png")
    assert read(tmp_path).train.classes == ("bus", "train")


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "validation", "testing"), ("train",)])
def test_folders_that_are_all_called_like_parts_are_not_taken_for_classes(tmp_path, names):
    for name in names:
        for number in range(2):
            write(tmp_path / name / f"{number}.png")
    with pytest.raises(
        ValueError, match=rf"{', '.join(sorted(names))}; move the images .* into train/CLASS and"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("others", "tested"), [(("val", "test"), "test"), (("testing", "eval", "validation"), "validation")]
)
def test_folders_beside_train_that_are_passed_over_are_told(said: list[str], tmp_path, others, tested):
    write_pets(tmp_path, parts=("train", *others))
    data = read(tmp_path)
    passed = ", ".join(sorted(set(others) - {tested}))
    assert said == [
        f"{tmp_path}: passed over {passed}, beside train; test images are those of the first folder of test, val, "
        "valid, validation that is there"
    ]
    assert {Path(name).parts[-3] for name in data.test.names} == {tested}


def test_a_test_folder_of_an_unknown_name_is_told_before_the_training_images_are_split(
    said: list[str], tmp_path
):
    read(write_pets(tmp_path, parts=("train", "testing")))
    assert len(said) == 2
    assert "passed over testing, beside train" in said[0]


def test_grey_images_have_one_channel_also_where_the_files_could_hold_colour(tmp_path):
    write_pets(tmp_path / "grey", colour=GREY)
    write_pets(tmp_path / "stored as colour", colour=(GREY, GREY, GREY))
    for name in ("grey", "stored as colour"):
        data = read(tmp_path / name)
        assert data.image_shape == (1, 10, 12)
        assert data.train.images_NCHW.unique().tolist() == [GREY]


def test_one_image_with_colour_gives_all_three_channels(tmp_path):
    write_pets(tmp_path, colour=GREY)
    write(tmp_path / "test/dog/1.png", RED)
    data = read(tmp_path)
    assert data.image_shape == (3, 10, 12)
    assert data.train.images_NCHW[0, :, 0, 0].tolist() == [GREY] * 3
    assert data.test.images_NCHW[3, :, 0, 0].tolist() == list(RED)


@pytest.mark.parametrize("suffix", ["png", "PNG", "jpg", "jpeg", "bmp", "webp", "gif", "tif", "tiff"])
def test_the_formats_are_read(tmp_path, suffix):
    write_pets(tmp_path)
    write(tmp_path / "train/cat/0.png").unlink()
    write(tmp_path / f"train/cat/0.{suffix}")
    pixel = read(tmp_path).train.images_NCHW[0, :, 5, 5]
    assert max(abs(int(value) - wanted) for value, wanted in zip(pixel, RED, strict=True)) <= 4


def first_pixels(root: Path, **settings) -> np.ndarray:
    return read(root, **settings).train.images_NCHW[0].numpy()


def test_16_bit_images_are_scaled_and_not_clipped(tmp_path):
    write_pets(tmp_path, colour=GREY)
    values = np.linspace(0, 65535, 120).astype(np.uint16).reshape(10, 12)
    Image.fromarray(values).save(tmp_path / "train/cat/0.png")
    assert np.array_equal(first_pixels(tmp_path)[0], np.round(values / 257))


def test_transparent_parts_are_laid_on_white(tmp_path):
    write_pets(tmp_path)
    image = Image.new("RGBA", (12, 10), (0, 0, 255, 0))
    image.paste((0, 0, 255, 255), (0, 0, 6, 10))
    image.save(tmp_path / "train/cat/0.png")
    pixels = first_pixels(tmp_path)
    assert pixels[:, 0, 0].tolist() == [0, 0, 255]
    assert pixels[:, 0, 11].tolist() == [255, 255, 255]


def test_palettes_become_their_colours(tmp_path):
    write_pets(tmp_path)
    Image.new("RGB", (12, 10), RED).quantize(4).save(tmp_path / "train/cat/0.png")
    assert first_pixels(tmp_path)[:, 0, 0].tolist() == list(RED)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_rotation_in_the_exif_data_is_respected(tmp_path, suffix):
    write_pets(tmp_path)
    (tmp_path / "train/cat/0.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the bottom row becomes the left column
    image = Image.new("RGB", (10, 12))
    image.paste((255, 255, 255), (0, 6, 10, 12))
    image.save(tmp_path / f"train/cat/0.{suffix}", exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    pixels = first_pixels(tmp_path)
    assert pixels.shape == (3, 10, 12)
    assert pixels[:, :, :4].min() > 200
    assert pixels[:, :, 8:].max() < 50


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(turn_upright(image), ImageOps.exif_transpose(image))


@pytest.mark.parametrize("content", [b"Exif\0\0garbage!", b"Exif\0\0II*\0"])
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_an_image_whose_exif_data_are_malformed_is_read_as_it_is(tmp_path, content, suffix):
    write_pets(tmp_path)
    path = write(tmp_path / f"train/cat/2.{suffix}", exif=content)
    assert len(read(tmp_path).train) == 5
    look = inspect_image(path)
    assert (look.height, look.width, look.faults[0][0]) == (10, 12, PLAIN)


def test_a_lack_of_memory_is_no_fault_of_the_file():
    def read(path: str) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        attempt(read, "a.png")


def test_images_are_scaled_and_the_middle_taken(tmp_path):
    write_pets(tmp_path)
    image = Image.new("RGB", (64, 32), RED)
    image.paste((0, 255, 0), (16, 0, 48, 32))
    image.save(tmp_path / "train/cat/0.png")
    pixels = first_pixels(tmp_path, image_size=8)
    assert pixels.shape == (3, 8, 8)
    assert pixels[:, 4, 4].tolist() == [0, 255, 0]
    assert pixels[:, 4, 1].tolist() == [0, 255, 0]


def test_of_photographs_as_they_come_a_line_says_what_makes_them_smaller(said: list[str], tmp_path):
    for name in ("cat", "dog"):
        for number in range(2):
            write(tmp_path / name / f"{number}.png", size=(520, 8))
    assert read(tmp_path).image_shape == (3, 8, 520)
    assert any(
        "images of 8 x 520 pixels take much time and memory; --data.image-size 224" in line for line in said
    )
    said.clear()
    read(tmp_path, image_size=520)
    assert not any("take much time" in line for line in said)


def test_images_of_several_sizes_are_brought_to_the_middle_one_and_two_are_named(said: list[str], tmp_path):
    write_pets(tmp_path, count=3)
    write(tmp_path / "train/dog/0.png", size=(40, 30))
    assert read(tmp_path).image_shape == (3, 10, 10)
    assert len(said) == 1
    for part in ("0.png 10 x 12", "dog/0.png 30 x 40", "brought to 10 x 10", "--data.image-size"):
        assert part in said[0]


def test_files_that_are_no_images_are_passed_over_and_told(said: list[str], tmp_path):
    write_pets(tmp_path)
    (tmp_path / "train/cat/notes.txt").write_text("about cats")
    (tmp_path / "train/cat/.hidden.png").write_text("")
    (tmp_path / ".cache").mkdir()
    assert len(read(tmp_path).train) == 4
    assert len(said) == 1
    assert "passed over 1 entry that is no image, such as " in said[0]
    assert "notes.txt" in said[0]


def test_reading_a_large_folder_tells_how_far_it_is(said: list[str], tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "LARGE", 8)
    write_pets(tmp_path, count=4)
    read(tmp_path)
    assert said[0].startswith("reading 8 images of ")
    assert said[1:5] == [f"read {count} of 8 images" for count in (2, 4, 6, 8)]


def empty(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def noisy_jpeg(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


UNFIT = {
    "an empty class": (
        lambda root: empty(root / "train/dog"),
        r"class folder .*train/dog has no images; put some in .*, or take the folder out",
    ),
    "a class of other files": (
        lambda root: (empty(root / "test/cat"), (root / "test/cat/a.txt").touch()),
        r"class folder .*test/cat has no images",
    ),
    "classes that differ": (
        lambda root: (root / "test/dog").rename(root / "test/cow"),
        r"missing from the test images: dog; missing from the training images: cow",
    ),
    "one class": (
        lambda root: (empty(root / "train/dog"), (root / "train/dog").rmdir()),
        r"train has one class only, 'cat'; put the images of a second into .*train/CLASS",
    ),
    "no classes in the test": (
        lambda root: [(empty(path), path.rmdir()) for path in list((root / "test").iterdir())],
        r"test has no folders of classes; put the images of every class into .*test/CLASS",
    ),
    "no image": (
        lambda root: (root / "train/cat/1.png").write_text("hello"),
        r"cannot read the image .*train/cat/1.png \(class 'cat', image 1 of the training set\): it is no image; "
        r"replace it, take it out, or allow --data.max-broken",
    ),
    "an empty file": (
        lambda root: (root / "train/cat/1.png").write_bytes(b""),
        r"cannot read the image .*train/cat/1.png \(.*\): it is no image; replace it",
    ),
    "a truncated png": (
        lambda root: truncate(root / "train/cat/1.png"),
        r"cannot read the image .*train/cat/1.png \(.*\): .*; replace it, take it out, or allow --data.max-broken",
    ),
    "a truncated jpeg": (
        lambda root: truncate(noisy_jpeg(root / "train/cat/2.jpg")),
        r"cannot read the image .*train/cat/2.jpg \(.*\): .*[Tt]runcated.*; replace it",
    ),
    "fractions for pixels": (
        lambda root: Image.new("F", (12, 10), 0.5).save(root / "train/cat/2.tif"),
        r"cannot read the image .*train/cat/2.tif \(.*\): its pixels are fractions, .*save it with 8 or 16 bits",
    ),
    "32-bit pixels": (
        lambda root: Image.new("I", (12, 10), 70000).save(root / "train/cat/2.tif"),
        r"cannot read the image .*2.tif \(.*\): its values go from 70000 to 70000, beyond the 16 bits",
    ),
    "a link that leads out": (
        lambda root: (root / "train/cat/3.png").symlink_to(write(root.parent / "elsewhere.png")),
        r"train/cat/3.png is a link to .*elsewhere.png, outside of .*pets; put the file itself there",
    ),
    "a class that is a link that leads out": (
        lambda root: (root / "train/cow").symlink_to(root.parent / "cows"),
        r"train/cow is a link to .*cows, outside of .*pets",
    ),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_an_unfit_folder_is_answered_with_one_line_that_names_it(tmp_path, kind):
    harm, message = UNFIT[kind]
    root = write_pets(tmp_path / "pets")
    harm(root)
    with pytest.raises(ValueError, match=message) as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_a_link_inside_the_folder_is_followed(tmp_path):
    write_pets(tmp_path, parts=("train",))
    (tmp_path / "val").symlink_to(tmp_path / "train")
    os.symlink("0.png", tmp_path / "train/cat/2.png")
    assert len(read(tmp_path).train) == len(read(tmp_path).test) == 5


def test_a_missing_folder_and_a_file_are_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"the folder of images .*nowhere does not exist; give a folder of train/"
    ):
        read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"the folder of images .*a.png is a file; give a folder of train/"):
        read(write(tmp_path / "a.png"))


def test_a_folder_without_folders_of_classes_is_named(tmp_path):
    write(tmp_path / "a.png")
    with pytest.raises(
        ValueError, match=r"has no folders of classes; put the images of every class into .*/CLASS"
    ):
        read(tmp_path)


def test_a_class_of_one_image_cannot_be_split(tmp_path):
    for name in ("cat/0.png", "cat/1.png", "dog/0.png"):
        write(tmp_path / name)
    with pytest.raises(
        ValueError, match=r"class 'dog' in .* has only 1 image, too few .*train/CLASS and test/CLASS"
    ):
        read(tmp_path)


def test_more_pixels_than_memory_should_hold_stay_in_their_files(said: list[str], tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MOST_BYTES", 8 * 3 * 10 * 12 - 1)
    monkeypatch.setattr(folder, "available_cores", lambda: 1)
    data = read(write_pets(tmp_path))
    assert isinstance(data.train, FileImageSet)
    assert len(said) == 1
    for part in (
        "8 images of 10 x 12 pixels",
        "held in memory: they are read while training",
        "--data.workers 1",
    ):
        assert part in said[0]
    monkeypatch.setattr(folder, "MOST_BYTES", 8 * 3 * 10 * 12)
    assert isinstance(read(tmp_path).train, ImageSet)


def test_processes_that_hold_the_same_images_divide_the_memory_among_them_where_it_does_not_show(
    said: list[str], tmp_path, monkeypatch
):
    monkeypatch.setattr(folder, "MOST_BYTES", 2 * 8 * 3 * 10 * 12)
    write_pets(tmp_path)
    assert isinstance(read(tmp_path, local_world_size=2).train, ImageSet)
    assert isinstance(read(tmp_path, local_world_size=3).train, FileImageSet)
    said.clear()
    how = {"image_size": None, "test_fraction": 0.5, "seed": 0, "local_world_size": 3}
    assert isinstance(read_folder(tmp_path, resized_crops=True, **how).train, ImageSet)
    assert isinstance(read_folder(tmp_path, max_broken=1, **how).train, ImageSet)
    assert said == []


def test_processes_that_read_the_same_images_divide_the_cores_among_them(
    said: list[str], tmp_path, monkeypatch
):
    monkeypatch.setattr(folder, "MOST_BYTES", 0)
    monkeypatch.setattr(folder, "available_cores", lambda: 5)
    read(write_pets(tmp_path), local_world_size=2)
    read(tmp_path, local_world_size=8)
    assert [line[-len("--data.workers 2") :] for line in said] == ["--data.workers 2", "--data.workers 1"]


def test_an_image_size_that_is_too_small_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"data.image_size must be at least 8; got 7"):
        read(write_pets(tmp_path), image_size=7)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("ending", ["jfif", "jpe", "jif", "JFIF", "dib", "apng"])
def test_endings_that_are_seldom_are_images_too(tmp_path, ending):
    root = write_pets(tmp_path)
    kind = {"dib": "BMP", "apng": "PNG"}.get(ending, "JPEG")
    write(root / "train/cat/more.x", format=kind).rename(root / f"train/cat/more.{ending}")
    assert len(read(root).train) == 5


def test_what_is_passed_over_is_told_by_its_kinds(said: list[str], tmp_path):
    root = write_pets(tmp_path)
    for name in ("a.heic", "b.HEIC", "c.txt", "README"):
        (root / "train/cat" / name).write_text("")
    read(root)
    (line,) = said
    assert "passed over 4 entries that are no images: 2 of .heic, such as " in line
    assert "1 of .txt, such as " in line
    assert "1 of no ending, such as " in line


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "lost+found"])
def test_what_systems_put_beside_classes_is_none(tmp_path, name):
    root = write_pets(tmp_path)
    write(root / "train" / name / "a.jpg")
    write(root / "train/cat" / name / "a.jpg")
    (root / "train/dog/Thumbs.db").write_bytes(b"x")
    assert read(root).train.classes == ("cat", "dog")
    report = check_data(str(root))
    assert [finding.count for finding in report.findings if "hidden" in finding.title] == [3]
    assert {item.name for item in report.classes} == {"cat", "dog"}
