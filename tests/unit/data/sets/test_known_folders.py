"""Data sets of image folders, in the layout in which each is published."""

import dataclasses
import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xnas.data.check import check_data
from xnas.data.files.streaming import FileImageSet
from xnas.data.images import DataSet, ImageSet
from xnas.data.issues import Report
from xnas.data.names import DATA_SETS
from xnas.data.sets import known_folders as folder_sets
from xnas.data.sets.known_folders import FOLDER_SETS, SOLUTION
from xnas.data.sets.registry import load_data

WNIDS = ("n01440764", "n02102040", "n03000684")


def picture(path: Path, grey: int, *, size: tuple[int, int] = (16, 16)) -> None:
    """A coloured image whose red is `grey`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(grey).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    noise[..., 0] = grey
    Image.fromarray(noise).save(path, quality=100)


def load(name: str, root: Path, **settings) -> DataSet:
    return load_data(name, root=root, **settings)


def check(name: str, root: Path, **settings) -> Report:
    return check_data(name, root=root, **settings)


def reds(images) -> list[int]:
    """The red of every image, in their order."""
    assert isinstance(images, ImageSet)
    return images.images_NCHW[:, 0].float().mean(dim=(1, 2)).round().int().tolist()


def write_imagenet(root: Path) -> None:
    for label, name in enumerate(WNIDS):
        for i in range(3):
            picture(root / "train" / name / f"{name}_{i}.JPEG", 10 * label + i, size=(40, 30))
    for number, label in enumerate([2, 0, 1, 1, 0, 2], start=1):
        picture(root / "val" / f"ILSVRC2012_val_{number:08}.JPEG", 100 + label, size=(36, 48))


def kaggle_rows() -> str:
    """As published: in no order, with the boxes of the objects after the class."""
    rows = [(3, 1), (1, 2), (2, 0), (6, 2), (5, 0), (4, 1)]
    lines = [f"ILSVRC2012_val_{number:08},{WNIDS[label]} 1 2 30 40 " for number, label in rows]
    return "\n".join(["ImageId,PredictionString", *lines]) + "\n"


@pytest.mark.parametrize("layout", ["imagenet", ".", "ILSVRC/Data/CLS-LOC"])
@pytest.mark.parametrize("beside", [True, False])
def test_imagenet_with_a_flat_val_is_read_by_kaggles_list(tmp_path, layout, beside):
    place = tmp_path / layout
    write_imagenet(place)
    (tmp_path if beside and "ILSVRC" in layout else place / "val").joinpath(SOLUTION).write_text(
        kaggle_rows()
    )
    data = load("imagenet", tmp_path)
    assert (data.name, data.train.classes, data.image_shape) == ("imagenet", WNIDS, (3, 224, 224))
    assert data.test.labels_N.tolist() == [0, 0, 1, 1, 2, 2]
    assert [Path(name).name[-9:] for name in data.test.names] == [
        f"0000{i}.JPEG"[-9:] for i in (2, 5, 3, 4, 1, 6)
    ]
    assert all(
        abs(red - 100 - label) < 4 for red, label in zip(reds(data.test), [0, 0, 1, 1, 2, 2], strict=True)
    )


def test_imagenet_with_folders_of_classes_is_read_as_they_are(tmp_path):
    write_imagenet(tmp_path)
    for number, label in enumerate([2, 0, 1, 1, 0, 2], start=1):
        name = f"ILSVRC2012_val_{number:08}.JPEG"
        (tmp_path / "val" / WNIDS[label]).mkdir(exist_ok=True)
        (tmp_path / "val" / name).rename(tmp_path / "val" / WNIDS[label] / name)
    data = load("imagenet", tmp_path, image_size=24, workers=0)
    assert isinstance(data.test, FileImageSet)
    assert data.test.labels_N.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.image_shape == (3, 24, 24)
    report = check_data("imagenet", root=tmp_path)
    assert (report.errors, [count.train for count in report.classes]) == (0, [3, 3, 3])


def test_the_check_of_a_flat_val_counts_what_a_run_reads(tmp_path):
    place = tmp_path / "ILSVRC/Data/CLS-LOC"
    write_imagenet(place)
    (tmp_path / SOLUTION).write_text(kaggle_rows())
    picture(place / "test" / "ILSVRC2012_test_00000001.JPEG", 200)  # as Kaggle has it, without classes
    report = check_data("imagenet", root=tmp_path)
    assert [(count.name, count.train, count.test) for count in report.classes] == [
        (name, 3, 2) for name in WNIDS
    ]
    assert report.errors == 0
    assert not any("passed over" in finding.title for finding in report.findings)
    (place / "val" / "ILSVRC2012_val_00000003.JPEG").write_bytes(b"")
    (place / "train" / WNIDS[0] / "notes.txt").write_text("")
    found = check_data("imagenet", root=tmp_path).findings
    assert [(finding.error, finding.examples[0]) for finding in found[:2]] == [
        (True, "val/ILSVRC2012_val_00000003.JPEG"),
        (
            False,
            f"{place}/train: passed over 1 entry that is no image, such as {place}/train/{WNIDS[0]}/notes.txt",
        ),
    ]


def test_a_flat_val_without_a_list_says_how_to_arrange_it(tmp_path):
    write_imagenet(tmp_path)
    with pytest.raises(
        ValueError, match=rf"no folders of classes: put every image into .*/val/WNID.*{SOLUTION}"
    ):
        load("imagenet", tmp_path)
    with pytest.raises(ValueError, match=rf"no folders of classes: put every image into .*{SOLUTION}"):
        check_data("imagenet", root=tmp_path)


def write_tiny_imagenet(root: Path) -> None:
    for label, name in enumerate(WNIDS):
        for i in range(3):
            picture(root / "train" / name / "images" / f"{name}_{i}.JPEG", 10 * label + i)
        (root / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t9\t9\n")
    rows = [(f"val_{i}.JPEG", WNIDS[(i + 1) % 3]) for i in range(6)]
    for i, (name, _) in enumerate(rows):
        picture(root / "val" / "images" / name, 100 + i)
    lines = [f"{name}\t{label}\t0\t32\t44\t62\n" for name, label in rows]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    picture(root / "test" / "images" / "test_0.JPEG", 200)


@pytest.mark.parametrize("under", ["tiny-imagenet-200", "."])
def test_tiny_imagenet_is_tested_on_val_by_its_annotations(tmp_path, under):
    write_tiny_imagenet(tmp_path / under)
    data = load("tiny-imagenet", tmp_path)
    assert (data.train.classes, data.image_shape) == (WNIDS, (3, 16, 16))
    assert data.train.labels_N.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert data.test.labels_N.tolist() == [0, 0, 1, 1, 2, 2]
    assert [Path(name).name for name in data.test.names] == [f"val_{i}.JPEG" for i in (2, 5, 0, 3, 1, 4)]


@pytest.mark.parametrize("name", ["tiny-imagenet", "freiburg"])
def test_the_check_of_a_set_with_lists_names_all_broken_images(tmp_path, name):
    write_tiny_imagenet(tmp_path)
    write_freiburg(tmp_path)
    assert check_data(name, root=tmp_path).errors == 0
    broken = [f"train/{WNIDS[0]}/images/{WNIDS[0]}_0.JPEG", "val/images/val_3.JPEG"]
    if name == "freiburg":
        broken = ["images/BEANS/BEANS0000.png", "images/CAKE/CAKE0007.png"]
    for path in broken:
        (tmp_path / path).write_bytes(b"")
    (found,) = [finding for finding in check_data(name, root=tmp_path).findings if finding.error]
    assert (found.title, sorted(found.examples)) == ("empty files", broken)


@pytest.mark.parametrize("keep", [True, False])
def test_tiny_imagenet_whose_val_was_put_into_folders_is_read_too(tmp_path, keep):
    write_tiny_imagenet(tmp_path)
    for i in range(6):
        (tmp_path / "val" / WNIDS[i % 3]).mkdir(exist_ok=True)
        (tmp_path / "val" / "images" / f"val_{i}.JPEG").rename(
            tmp_path / "val" / WNIDS[i % 3] / f"val_{i}.JPEG"
        )
    (tmp_path / "val" / "images").rmdir()
    if not keep:
        (tmp_path / "val" / "val_annotations.txt").unlink()
    assert load("tiny-imagenet", tmp_path).test.labels_N.tolist() == [0, 0, 1, 1, 2, 2]


def write_cinic10(root: Path) -> None:
    for part, base in (("train", 0), ("valid", 50), ("test", 100)):
        for label, name in enumerate(("airplane", "automobile", "bird")):
            for i in range(2):
                picture(root / part / name / f"cifar10-{part}-{i}.png", base + 10 * label + i, size=(32, 32))


def test_cinic10_leaves_valid_out_and_the_enlarged_trains_on_it(tmp_path):
    write_cinic10(tmp_path / "CINIC-10")
    plain, enlarged = load("cinic10", tmp_path), load("cinic10-enlarged", tmp_path)
    assert reds(plain.train) == [0, 1, 10, 11, 20, 21]
    assert reds(enlarged.train) == [0, 1, 10, 11, 20, 21, 50, 51, 60, 61, 70, 71]
    assert enlarged.train.labels_N.tolist() == [0, 0, 1, 1, 2, 2] * 2
    assert reds(plain.test) == reds(enlarged.test) == [100, 101, 110, 111, 120, 121]


def test_the_check_of_cinic10_looks_at_valid_where_it_is_trained_on(tmp_path):
    write_cinic10(tmp_path)
    (tmp_path / "valid" / "bird" / "cifar10-valid-0.png").write_bytes(b"")
    plain, enlarged = (check_data(name, root=tmp_path) for name in ("cinic10", "cinic10-enlarged"))
    assert (plain.errors, enlarged.errors) == (0, 1)
    assert [count.train for count in plain.classes] == [2, 2, 2]
    assert [count.train for count in enlarged.classes] == [4, 4, 4]
    assert [finding.title for finding in plain.findings] == ["classes of fewer than 10 training images"]
    (tmp_path / "valid" / "bird").rename(tmp_path / "valid" / "Bird")
    odd = [finding for finding in check_data("cinic10-enlarged", root=tmp_path).findings if finding.error]
    assert odd[0].examples == ("train/bird (not in valid)", "valid/Bird (not in train)")


def write_freiburg(root: Path) -> None:
    """Ten images of each of three classes; two of each are the test of a fold. The numbers after them mean nothing."""
    (root / "splits").mkdir(parents=True)
    for label, name in enumerate(("BEANS", "CAKE", "CANDY")):
        for i in range(10):
            picture(root / "images" / name / f"{name}{i:04}.png", 20 * label + i)
    for fold in range(5):
        for part in ("train", "test"):
            lines = [
                f"{name}/{name}{i:04}.png {number}\n"
                for name, number in (("BEANS", 15), ("CAKE", 19), ("CANDY", 0))
                for i in range(10)
                if (i // 2 == fold) == (part == "test")
            ]
            (root / "splits" / f"{part}{fold}.txt").write_text("".join(lines))


@pytest.mark.parametrize("under", ["freiburg_groceries_dataset", "."])
def test_freiburg_has_five_folds(tmp_path, under):
    write_freiburg(tmp_path / under)
    first = load("freiburg", tmp_path)
    assert first.train.classes == ("BEANS", "CAKE", "CANDY")
    assert reds(first.test) == [0, 1, 20, 21, 40, 41]
    tested = []
    for fold in range(5):
        data = load("freiburg", tmp_path, fold=fold)
        assert sorted(reds(data.train) + reds(data.test)) == [
            20 * label + i for label in range(3) for i in range(10)
        ]
        tested += reds(data.test)
    assert sorted(tested) == [20 * label + i for label in range(3) for i in range(10)]


@pytest.mark.parametrize(
    ("name", "fold", "message"),
    [
        ("freiburg", 5, r"data.fold must be from 0 to 4 for freiburg; got 5"),
        ("freiburg", -1, r"data.fold must be from 0 to 4 for freiburg; got -1"),
        ("cifar10", 0, r"data.fold is for freiburg, which has official folds; leave it out for cifar10"),
        ("some/folder", 1, r"data.fold is for freiburg"),
    ],
)
def test_a_fold_that_is_not_there_is_refused(tmp_path, name, fold, message):
    write_freiburg(tmp_path)
    for read in (load, check):
        with pytest.raises(ValueError, match=message):
            read(name, tmp_path, fold=fold)


def test_the_check_of_a_fold_is_of_that_fold(tmp_path):
    write_freiburg(tmp_path)
    (tmp_path / "splits" / "test3.txt").write_text("BEANS/BEANS0006.png 15\n")
    assert check("freiburg", tmp_path).errors == 0
    with pytest.raises(ValueError, match="missing from the test images: CAKE, CANDY"):
        check("freiburg", tmp_path, fold=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("BEANS/BEANS9999.png 15\n", r"test0.txt names BEANS/BEANS9999.png, which is not there"),
        ("../../etc/passwd 1\n", r"names ../../etc/passwd, which is not there"),
        ("", r"test0.txt names no images"),
        ("BEANS/BEANS0000.png 15\n", r"same classes.*missing from the test images: CAKE, CANDY"),
        ("\xff".encode("latin-1"), r"cannot read the list of images .*test0.txt"),
    ],
)
def test_a_list_that_does_not_fit_is_named(tmp_path, content, message):
    write_freiburg(tmp_path)
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "splits" / "test0.txt").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        load("freiburg", tmp_path)


def test_a_missing_list_is_named(tmp_path):
    write_freiburg(tmp_path)
    (tmp_path / "splits" / "train0.txt").unlink()
    with pytest.raises(ValueError, match=r"train0.txt"):
        load("freiburg", tmp_path)


@pytest.mark.parametrize("name", FOLDER_SETS)
def test_a_set_that_is_not_there_says_where_it_comes_from(tmp_path, name):
    assert name in DATA_SETS
    with pytest.raises(
        ValueError, match=rf"{name}: there is no folder with .*/ in .*get it from http.*--data.root"
    ):
        load(name, tmp_path)
    with pytest.raises(ValueError, match=rf"{name}: there is no folder with"):
        check_data(name, root=tmp_path)


def write_imagenette(root: Path) -> None:
    for part in ("train", "val"):
        for label, name in enumerate(WNIDS):
            for i in range(2):
                picture(root / part / name / f"{i}.JPEG", 10 * label + i, size=(20, 16))


def test_imagenette_is_read_from_its_folder(tmp_path):
    write_imagenette(tmp_path / "imagenette2-320")
    data = load("imagenette", tmp_path)
    assert (data.train.classes, len(data.test), data.image_shape) == (WNIDS, 6, (3, 16, 20))


def test_imagenette_is_downloaded_unpacked_and_not_downloaded_again(tmp_path, monkeypatch):
    write_imagenette(tmp_path / "made" / "imagenette2-160")
    root = tmp_path / "root"
    root.mkdir()
    archive = root / "imagenette2-160.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / "imagenette2-160", arcname="imagenette2-160")
    url, _ = FOLDER_SETS["imagenette"].archive
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    tiny = dataclasses.replace(FOLDER_SETS["imagenette"], archive=(url, md5))
    monkeypatch.setitem(folder_sets.FOLDER_SETS, "imagenette", tiny)
    assert len(load("imagenette", root, download=True).train) == 6
    archive.unlink()
    assert len(load("imagenette", root, download=True).train) == 6
    assert [path.name for path in root.iterdir()] == ["imagenette2-160"]


def test_a_folder_that_is_in_the_way_of_a_download_is_to_be_removed(tmp_path):
    archive = tmp_path / "a.tgz"
    (tmp_path / "top" / "train").mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "top", arcname="top")
    with pytest.raises(
        ValueError, match=r"the folder .*/top is there already, but .*; remove it and run again"
    ):
        folder_sets.unpack_whole(archive, tmp_path, top="top")
    (tmp_path / "top" / "train").rmdir()
    folder_sets.unpack_whole(archive, tmp_path, top="top")
    assert (tmp_path / "top" / "train").is_dir()


def test_an_archive_that_leads_out_of_its_folder_writes_nothing(tmp_path):
    archive = tmp_path / "a.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("top/../../evil"))
    with pytest.raises(ValueError, match=r"cannot unpack .*a.tgz"):
        folder_sets.unpack_whole(archive, tmp_path / "root", top="top")
    assert list((tmp_path / "root").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_images_of_named_folders_can_stay_in_their_files(tmp_path):
    write_freiburg(tmp_path)
    memory, files = load("freiburg", tmp_path), load("freiburg", tmp_path, workers=0)
    assert isinstance(files.train, FileImageSet)
    assert torch.cat(list(files.train.chunks())).equal(memory.train.images_NCHW)
    assert files.fingerprint() == memory.fingerprint()
