"""SVHN's files, made as MATLAB makes them."""

import builtins
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from xnas.data.sets import svhn
from xnas.data.sets.registry import load_data
from xnas.data.sets.svhn import FILES, read_svhn


def write_set(folder: Path, **changes) -> None:
    """Ten images a file, of the digits 1 to 9 and 0; the pixels say row, column, channel and image."""
    folder.mkdir(parents=True, exist_ok=True)
    row, column, channel, image = np.mgrid[0:32, 0:32, 0:3, 0:10]
    pixels = (row + 2 * column + 40 * channel + image).astype(np.uint8)
    digits = np.arange(1, 11, dtype=np.uint8)[:, None]
    for name in FILES:
        scipy.io.savemat(folder / name, {"X": pixels, "y": digits} | changes, do_compression=True)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("under", ["svhn", "."])
def test_images_and_digits_are_read_with_10_as_0(tmp_path, under):
    write_set(tmp_path / "root" / under)
    data = load_data("svhn", root=tmp_path / "root")
    assert (data.name, len(data.train), len(data.test), data.image_shape) == ("svhn", 10, 10, (3, 32, 32))
    assert data.train.classes == tuple("0123456789")
    assert data.train.labels_N.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert data.test.images_NCHW[4, 2, 5, 7] == 5 + 2 * 7 + 40 * 2 + 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.zeros((32, 32, 3, 9), np.uint8)}, r"train_32x32.mat must hold X, bytes of shape"),
        ({"X": np.zeros((32, 32, 3, 10))}, r"must hold X, bytes of shape \(32, 32, 3, N\), and y, N digits"),
        ({"y": np.full((10, 1), 11, np.uint8)}, r"image 0 has the label 11, but labels go from 1 to 10"),
        ({"y": np.ones((10, 1), np.uint8)}, r"train_32x32.mat: the class '0' has 0 images"),
    ],
)
def test_other_content_is_refused(tmp_path, changes, message):
    write_set(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        read_svhn(tmp_path, download=False)


@pytest.mark.parametrize("content", [b"", b"no matrix", b"MATLAB 7.3 MAT-file" + bytes(109) + b"\0\x02IM"])
def test_damaged_files_are_named(tmp_path, content):
    write_set(tmp_path)
    (tmp_path / "test_32x32.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"test_32x32.mat.*fetch the file again"):
        read_svhn(tmp_path, download=False)


def test_a_cut_file_is_named(tmp_path):
    write_set(tmp_path)
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"cannot read .*train_32x32.mat"):
        read_svhn(tmp_path, download=False)


def test_missing_files_are_named_with_what_to_do(tmp_path):
    with pytest.raises(
        ValueError, match=r"svhn: there is no train_32x32.mat in .*--data.download \(246 MB\)"
    ):
        read_svhn(tmp_path, download=False)


def test_without_scipy_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    original = builtins.__import__

    def missing(name, *rest, **named):
        if name.startswith("scipy"):
            raise ImportError(name)
        return original(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ValueError, match=r"pip install 'xnas\[svhn\]'"):
        read_svhn(tmp_path, download=True)


@pytest.mark.usefixtures("silent")
def test_a_download_brings_both_files(tmp_path, monkeypatch):
    asked = []

    def bring(url, folder, *, md5, num_bytes):
        asked.append((url, md5, num_bytes))
        write_set(folder)

    monkeypatch.setattr(svhn, "fetch", bring)
    assert len(read_svhn(tmp_path, download=True).train) == 10
    assert [url.rpartition("/")[2] for url, _, _ in asked] == list(FILES)
    assert (tmp_path / "svhn" / "train_32x32.mat").is_file()
