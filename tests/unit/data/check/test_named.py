"""Sets known by name: all damaged files are listed at once; the glance that every run takes at its images."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from xnas.data import check
from xnas.data.check import check_data, quick_check
from xnas.data.check.class_balance import unequal_classes
from xnas.data.images import DataSet, ImageSet
from xnas.data.sets import cifar, fashion_mnist
from xnas.data.sets.fashion_mnist import FILES
from xnas.data.sets.idx import idx_bytes


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def only(report, part_of_title: str):
    (found,) = [finding for finding in report.findings if part_of_title in finding.title]
    return found


def write_cifar(folder: Path) -> Path:
    folder.mkdir()
    (folder / cifar.CIFAR10.names).write_text("\n".join(f"class{i}" for i in range(10)))
    for number, name in enumerate((*cifar.CIFAR10.train, *cifar.CIFAR10.test)):
        records = noise(number, 10, cifar.CIFAR10.record)
        records[:, 0] = np.arange(10)
        (folder / name).write_bytes(records.tobytes())
    return folder


def test_all_damaged_files_of_cifar_are_listed_at_once(tmp_path):
    root = write_cifar(tmp_path / "cifar")
    (root / cifar.CIFAR10.train[0]).write_bytes(b"")
    (root / cifar.CIFAR10.test[0]).write_bytes((root / cifar.CIFAR10.test[0]).read_bytes()[:-1])
    content = np.fromfile(root / cifar.CIFAR10.train[1], np.uint8).reshape(-1, cifar.CIFAR10.record)
    content[3:, 0] = 200
    content.tofile(root / cifar.CIFAR10.train[1])
    (root / cifar.CIFAR10.names).write_text("cat dog")
    report = check_data("cifar10", root=root)
    assert only(report, "damaged files").count == 3
    assert only(report, "labels out of range").count == 7
    assert only(report, "classes without images").count == 10
    assert [item.train for item in report.classes] == [4, 4, 4, 3, 3, 3, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("number", "content", "title", "where"),
    [
        (1, idx_bytes(torch.full((20,), 12, dtype=torch.uint8)), "labels out of range", "image 0 has the label 12"),
        (1, idx_bytes(torch.zeros(19, dtype=torch.uint8)), "do not belong together", "20 images"),
        (2, b"PK\x03\x04", "damaged files", "is not an IDX file"),
        (3, idx_bytes(torch.zeros(2, 2, dtype=torch.uint8)), "damaged files", "has 2 dimensions, not 1"),
    ],
)  # fmt: skip
def test_damaged_idx_files_are_named(tmp_path, number, content, title, where):
    labels = torch.arange(20, dtype=torch.uint8) % 10
    for i, name in enumerate(FILES):
        array = torch.from_numpy(noise(i, 20, 4, 4)) if "images" in name else labels
        (tmp_path / name).write_bytes(gzip.compress(idx_bytes(array)))
    assert check_data("fashion-mnist", root=tmp_path).errors == 0
    (tmp_path / list(FILES)[number]).write_bytes(gzip.compress(content))
    report = check_data("fashion-mnist", root=tmp_path)
    assert any(where in example for example in only(report, title).examples)


def test_a_set_whose_files_are_missing_is_an_error_that_says_what_to_bring(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    for name in ("cifar10", "fashion-mnist"):
        with pytest.raises(ValueError, match=rf"{name}: there is no .*--data.root"):
            check_data(name, root=tmp_path)


def test_the_shipped_images_are_all_different_and_good():
    assert check_data("fashion-mnist-small").findings == ()


def test_a_glance_at_good_images_says_nothing(data):
    assert quick_check(data, check="xnas check colours") == []


def test_a_glance_finds_what_the_test_shares_with_the_training(data):
    pixels = data.test.images_NCHW.clone()
    pixels[[4, 9]] = data.train.images_NCHW[[30, 2]]
    test = ImageSet(images_NCHW=pixels, labels_N=data.test.labels_N, classes=data.test.classes)
    (line,) = quick_check(DataSet(name="colours", train=data.train, test=test), check="xnas check colours")
    assert line == (
        "2 of 18 test images are also training images (first: test image 4 (blue) is training image 30 "
        "(green)); xnas check colours lists them"
    )


def test_a_glance_looks_for_no_copies_where_that_would_take_long(data, monkeypatch):
    monkeypatch.setattr(check, "MOST_BYTES", 1000)
    monkeypatch.setattr(check, "hash_images", pytest.fail)
    assert quick_check(data, check="xnas check colours") == []


def test_classes_are_unequal_beyond_a_ratio_and_empty_ones_do_not_count():
    assert unequal_classes({"a": 100, "b": 10, "c": 0}) is None
    assert unequal_classes({"a": 101, "b": 10}) == "a has 101 training images, b has 10"
    assert unequal_classes({}) is None
