"""The shipped images are what they are said to be; the whole set is read from where people keep it."""

import gzip
import hashlib
import importlib.util
from pathlib import Path

import pytest
import torch

from xnas.data.sets import fashion_mnist
from xnas.data.sets.fashion_mnist import CLASSES, DEBIAN, FILES, read_fashion_mnist, read_shipped
from xnas.data.sets.idx import idx_bytes

SHIPPED_FOLDER = Path(fashion_mnist.__file__).parents[1] / "fashion_mnist"
SCRIPT = Path(__file__).parents[4] / "scripts" / "build_fashion_mnist_subset.py"
SHA256 = {
    "train": "73194a0c06a93deab58b95e00e618cc5c80fb5c9a84df26bbc429eeb3507846a",
    "test": "8e8b02fc2db0ff9ed2d481ff30f8bd7cc5c88205cb131d7f4a0c19448f6957c9",
}
"""Of all pixels, image by image, and then all labels, one byte each."""


@pytest.fixture(scope="module")
def shipped():
    return read_shipped()


@pytest.mark.parametrize(("part", "per_class"), [("train", 1000), ("test", 200)])
def test_the_shipped_images_are_the_same_for_everyone(shipped, part, per_class):
    images = getattr(shipped, part)
    assert images.images_NCHW.shape == (10 * per_class, 1, 28, 28)
    assert torch.bincount(images.labels_N).tolist() == [per_class] * 10
    content = images.images_NCHW.numpy().tobytes() + images.labels_N.to(torch.uint8).numpy().tobytes()
    assert hashlib.sha256(content).hexdigest() == SHA256[part]


def test_the_shipped_files_are_small_and_come_with_their_licence():
    sizes = {path.name: path.stat().st_size for path in SHIPPED_FOLDER.iterdir()}
    assert max(sizes.values()) < 5e6
    assert sum(sizes.values()) < 6e6
    assert "Zalando SE" in (SHIPPED_FOLDER / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_script_builds_the_shipped_files_byte_for_byte(tmp_path):
    spec = importlib.util.spec_from_file_location("build_fashion_mnist_subset", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    built = script.build(DEBIAN, tmp_path)
    assert sorted(path.name for path in built) == sorted(path.name for path in SHIPPED_FOLDER.glob("*.xz"))
    for path in built:
        assert path.read_bytes() == (SHIPPED_FOLDER / path.name).read_bytes()


def write_whole(folder: Path, *, per_class: int = 2, packed: bool) -> None:
    folder.mkdir(parents=True)
    labels = torch.arange(10 * per_class, dtype=torch.uint8) % 10
    images = labels[:, None, None].expand(-1, 4, 4).contiguous()
    for name in FILES:
        content = idx_bytes(images if "images" in name else labels)
        path = folder / (name if packed else name.removesuffix(".gz"))
        path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("under", ["FashionMNIST/raw", "."])
def test_the_whole_set_is_read_from_torchvisions_folder_or_a_plain_one(tmp_path, packed, under):
    root = tmp_path / "root"
    write_whole(root / under, packed=packed)
    data = read_fashion_mnist(root, download=False)
    assert data.name == "fashion-mnist"
    assert data.train.classes == CLASSES
    assert len(data.train) == len(data.test) == 20
    assert data.train.images_NCHW[:, 0, 0, 0].tolist() == data.train.labels_N.tolist()


@pytest.mark.usefixtures("silent")
def test_debians_files_are_found_without_a_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    write_whole(tmp_path / "debian", packed=True)
    assert len(read_fashion_mnist(None, download=False).train) == 20


def test_missing_files_are_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    message = (
        r"there is no train-images-idx3-ubyte.gz in .*root.*debian; .*--data.root .*--data.download \(31 MB\)"
    )
    with pytest.raises(ValueError, match=message):
        read_fashion_mnist(tmp_path / "root", download=False)


def test_labels_that_do_not_fit_the_images_are_named_with_their_files(tmp_path):
    write_whole(tmp_path / "root", packed=False)
    (tmp_path / "root/train-labels-idx1-ubyte").write_bytes(idx_bytes(torch.zeros(3, dtype=torch.uint8)))
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte and train-labels.*20 images have 3 labels"
    ):
        read_fashion_mnist(tmp_path / "root", download=False)


def test_images_of_other_dimensions_are_named_with_their_files(tmp_path):
    write_whole(tmp_path / "root", packed=False)
    (tmp_path / "root/train-images-idx3-ubyte").write_bytes(idx_bytes(torch.zeros(20, dtype=torch.uint8)))
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte and .* must have 3 dimensions and 1; got 1 and 1"
    ):
        read_fashion_mnist(tmp_path / "root", download=False)
