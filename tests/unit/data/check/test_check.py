"""The check goes through a folder to the end, agrees with reading, and names what reading passes over in silence."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xnas.data.check import check_data
from xnas.data.check.image import inspect_image
from xnas.data.files.decode import DecodeSpec, read_header, read_image
from xnas.data.files.folder import read_folder
from xnas.data.issues import EXAMPLES, Issues, IssueType, Report


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def write_pets(root: Path, *, train: int = 12, test: int = 10) -> Path:
    """Two classes of images that all differ."""
    seed = 0
    for part, count in (("train", train), ("test", test)):
        for name in ("cat", "dog"):
            for i in range(count):
                seed += 1
                save(root / part / name / f"{i:03}.png", noise(seed, 9, 8, 3))
    return root


def titles(report: Report) -> dict[str, int]:
    return {finding.title: finding.count for finding in report.findings}


def only(report: Report, part_of_title: str):
    (found,) = [finding for finding in report.findings if part_of_title in finding.title]
    return found


@pytest.mark.parametrize("how", ["bmp", "webp", "tif", "png"])
def test_a_copy_is_found_in_another_format(tmp_path, how):
    root = write_pets(tmp_path)
    pixels = np.asarray(Image.open(root / "test/cat/003.png"))
    save(root / f"train/cat/copy.{how}", pixels, **({"lossless": True} if how == "webp" else {}))
    found = only(check_data(str(root)), "in both train and test")
    assert found.examples == (f"test/cat/003.png = train/cat/copy.{how}",)


def test_grey_stored_as_colour_and_a_picture_that_was_turned_by_its_exif_data_are_copies(tmp_path):
    grey = noise(0, 9, 8)
    one = inspect_image(save(tmp_path / "a.png", grey))
    assert one.grey
    other = inspect_image(save(tmp_path / "b.png", np.stack([grey] * 3, axis=2)))
    assert not other.grey
    assert one.hash == other.hash
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = inspect_image(save(tmp_path / "c.png", np.rot90(grey), exif=exif))
    assert turned.hash == one.hash
    assert (turned.height, turned.width) == (9, 8)


@pytest.mark.parametrize(("test", "error"), [(50, True), (51, False)])
def test_one_percent_of_the_test_seen_in_training_makes_it_an_error(tmp_path, test, error):
    root = write_pets(tmp_path, test=test)
    save(root / "train/cat/copy.bmp", np.asarray(Image.open(root / "test/cat/000.png")))
    report = check_data(str(root))
    assert only(report, "in both train and test").error == error
    assert bool(report.errors) == error


def test_copies_in_a_folder_that_is_to_be_split_are_an_error(tmp_path):
    root = write_pets(tmp_path, test=0) / "train"
    save(root / "cat/copy.bmp", np.asarray(Image.open(root / "cat/000.png")))
    report = check_data(str(root))
    assert report.split
    assert titles(report) == {"images more than once, 1 % or more, in a folder that has no test images": 1}
    assert report.errors == 1


def test_a_picture_under_two_classes_is_a_warning(tmp_path):
    root = write_pets(tmp_path)
    save(root / "train/dog/copy.bmp", np.asarray(Image.open(root / "train/cat/000.png")))
    report = check_data(str(root))
    assert report.errors == 0
    assert only(report, "under two classes").examples == ("train/dog/copy.bmp = train/cat/000.png",)
    assert only(report, "more than once within a part").count == 1


def test_a_good_folder_has_no_findings_and_its_classes_are_counted(tmp_path):
    looked = []
    report = check_data(str(write_pets(tmp_path)), progress=lambda done, total: looked.append((done, total)))
    assert report.findings == ()
    assert [(item.name, item.train, item.test) for item in report.classes] == [
        ("cat", 12, 10),
        ("dog", 12, 10),
    ]
    assert looked == [(i + 1, 44) for i in range(44)]


def test_everything_that_is_wrong_is_listed_at_once(tmp_path):
    root = write_pets(tmp_path)
    (root / "train/cat/000.png").write_bytes(b"")
    (root / "train/cat/001.png").write_text("no image")
    (root / "train/dog/000.png").write_bytes((root / "train/dog/000.png").read_bytes()[:100])
    (root / "train/dog/001.png").write_bytes(b"\x89PNG\r\n")
    (root / "test/dog").rename(root / "test/wolf")
    (root / "train/cow").mkdir()
    assert titles(check_data(str(root))) == {
        "classes without images": 1,
        "classes that are only in train or only in test": 3,
        "empty files": 1,
        "files that are no images": 1,
        "truncated or damaged images": 2,
    }


def test_parts_without_classes_are_an_error_and_a_class_called_train_is_none(tmp_path):
    for name in ("train", "test", "bus"):
        for i in range(12):
            save(tmp_path / name / f"{i}.png", noise(len(name) * 100 + i + (name == "train"), 9, 8, 3))
    assert check_data(str(tmp_path)).errors == 0
    (tmp_path / "bus").rename(tmp_path / ".bus")
    found = only(check_data(str(tmp_path)), "where classes should be")
    assert (found.error, found.examples) == (True, ("test", "train"))


def test_only_the_first_places_are_kept_and_all_are_counted():
    findings, kind = Issues(), IssueType("faults", "mend them")
    for i in range(20):
        findings.add(kind, str(i))
    findings.add_all(kind, 100, lambda i: pytest.fail("asked for too many") if i >= EXAMPLES else str(i))
    (found,) = findings.by_kind()
    assert found.count == 120
    assert found.examples == ("0", "1", "2", "3", "4")


def transparent(path: Path) -> None:
    pixels = noise(0, 9, 8, 4)
    save(path.with_name("x.png"), pixels)


def animated(path: Path) -> None:
    frames = [Image.fromarray(noise(i, 9, 8, 3)) for i in range(2)]
    frames[0].save(path.with_name("x.gif"), save_all=True, append_images=frames[1:])


WARNED = {
    "images with transparent parts": (transparent, "x.png"),
    "images in other colours than RGB": (
        lambda path: Image.fromarray(noise(0, 9, 8, 4), "CMYK").save(path.with_name("x.jpg")),
        "x.jpg (CMYK)",
    ),
    "16-bit images among others": (
        lambda path: save(path.with_name("x.png"), noise(0, 9, 8).astype(np.uint16)), "x.png",
    ),
    "files of several pictures": (animated, "x.gif"),
    "images of another size than most": (
        lambda path: save(path.with_name("x.png"), noise(0, 20, 10, 3)), "x.png (20 x 10, most are 9 x 8)",
    ),
    "images of less than 8 pixels a side": (
        lambda path: save(path.with_name("x.png"), noise(0, 9, 7, 3)), "x.png (9 x 7)",
    ),
    "images all of one colour": (
        lambda path: save(path.with_name("x.png"), np.full((9, 8, 3), 7, np.uint8)), "x.png",
    ),
    "files that are not read as images, passed over": (
        lambda path: path.with_name("x.heic").write_text(""), "x.heic",
    ),
    "hidden files and folders, passed over": (
        lambda path: path.with_name(".x.png").write_text(""), ".x.png",
    ),
    "folders inside of classes, passed over with all that is in them": (
        lambda path: path.with_name("x").mkdir(), "x",
    ),
    "folders beside train and test, passed over": (
        lambda path: (path.parents[2] / "val").mkdir(), "val",
    ),
    "images outside of every class, passed over": (
        lambda path: save(path.parents[1] / "x.png", noise(0, 9, 8, 3)), "train/x.png",
    ),
    "classes of fewer than 10 training images": (
        lambda path: [other.unlink() for other in path.parent.glob("00[4-9].png")], "cat (6 images)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", WARNED)
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_what_a_run_goes_on_with_is_a_warning(tmp_path, title):
    harm, where = WARNED[title]
    root = write_pets(tmp_path)
    harm(root / "train/cat/000.png")
    report = check_data(str(root))
    found = only(report, title)
    assert not found.error
    assert found.count == 1
    assert found.examples[0].removeprefix("train/cat/") == where
    assert report.errors == 0
    read_folder(root, image_size=None, test_fraction=0.2, seed=0)


def test_sizes_are_no_fault_where_one_is_chosen(tmp_path):
    root = write_pets(tmp_path)
    save(root / "train/cat/x.png", noise(0, 20, 10, 3))
    assert check_data(str(root), image_size=8).findings == ()


def test_16_bits_everywhere_and_opaque_palettes_are_no_faults(tmp_path):
    for i, name in enumerate(("cat", "dog")):
        for j in range(12):
            deep = noise(100 * i + j, 9, 8).astype(np.uint16) * 257
            save(tmp_path / "deep" / name / f"{j}.png", deep)
            path = save(tmp_path / "palette" / name / f"{j}.png", noise(100 * i + j, 9, 8, 3))
            Image.open(path).quantize(16).save(path)
    for name in ("deep", "palette"):
        assert check_data(str(tmp_path / name)).findings == ()


@pytest.mark.parametrize(("bits", "found"), [(10, 48), (12, 48), (14, 48), (15, 0), (16, 0)])
def test_16_bit_files_of_fewer_bits_are_a_warning_unless_one_of_them_is_bright(tmp_path, bits, found):
    for name in ("cat", "dog"):
        for i in range(24):
            deep = np.random.default_rng(i + 100 * (name == "cat")).integers(
                0, 2**bits, (9, 8), dtype=np.uint16
            )
            save(tmp_path / name / f"{i}.png", deep)
    report = check_data(str(tmp_path))
    assert report.warnings == found
    if found:
        assert re.search(r"the largest value of all is [0-9,]+ of 65,535", report.findings[0].examples[0])


def test_a_class_of_two_images_is_too_small_only_where_the_test_is_taken_out_of_it(tmp_path):
    root = write_pets(tmp_path)
    for path in sorted((root / "train/cat").iterdir())[2:]:
        path.unlink()
    assert check_data(str(root)).errors == 0
    assert only(check_data(str(root / "train")), "too small to be split").examples == ("cat (2 images)",)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_a_fault_exactly_where_reading_it_fails(tmp_path_factory, data):
    form = data.draw(st.sampled_from(["png", "jpg", "gif", "bmp", "webp", "tif"]))
    path = save(tmp_path_factory.mktemp("images") / f"a.{form}", noise(0, 9, 8, 3))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    look = inspect_image(path)
    try:
        header = read_header(str(path))
        size = (header.height, header.width)
        form = DecodeSpec(height=header.height, width=header.width, scaled=False, colour=True, channels=3)
        read_image(str(path), form)
    except Exception:  # as a reader of many kinds of files raises
        assert look.hash is None
        assert len(look.faults) == 1
    else:
        assert (look.height, look.width) == size


def test_memory_holds_no_images(tmp_path):
    root = write_pets(tmp_path)
    for i in range(12):
        save(root / f"train/cat/large{i}.bmp", noise(i, 700, 700, 3))
    tracemalloc.start()
    check_data(str(root), image_size=8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * 700 * 700 * 3
