"""Bad data of every kind: the check names it with its place, and a search refuses it in one line or warns in one."""

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xnas.cli import main
from xnas.data.sets import cifar

pytestmark = pytest.mark.usefixtures("blank_pictures")


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, image: Image.Image, **settings: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **settings)  # type: ignore[arg-type]


def move_away(folder: Path) -> None:
    folder.rename(folder.parents[2] / f"away-{folder.parent.name}-{folder.name}")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def png_header(path: Path, side: int) -> None:
    """A few bytes that say they are a large image."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def copy(one: Path, other: Path) -> None:
    """The same pixels in another format."""
    save(other, Image.open(one))


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


@dataclass(frozen=True)
class Bad:
    """A kind of bad folder."""

    harm: Callable[[Path], object]
    kind: str
    """What the check calls it."""
    where: str
    """Where it says that it is."""
    search: str
    """What a search says of it."""
    refused: bool = True
    """Whether the check counts it as an error and a search refuses it."""
    flags: tuple[str, ...] = ()


FOLDERS = {
    "a truncated png": Bad(
        lambda root: truncate(root / "train/red/003.png"),
        "truncated or damaged images: 1", "train/red/003.png", "cannot read the image",
    ),
    "a truncated jpeg": Bad(
        lambda root: (
            save(root / "test/red/a.jpg", Image.fromarray(noise(0, 16, 16, 3))),
            truncate(root / "test/red/a.jpg"),
        ),
        "truncated or damaged images: 1", "test/red/a.jpg", "cannot read the image",
    ),
    "an empty file": Bad(
        lambda root: (root / "train/blue/000.png").write_bytes(b""),
        "empty files: 1", "train/blue/000.png", "it is no image",
    ),
    "a file that is no image": Bad(
        lambda root: (root / "train/green/009.png").write_text("<html>not found</html>"),
        "files that are no images: 1", "train/green/009.png", "it is no image",
    ),
    "fractions for pixels": Bad(
        lambda root: save(root / "train/red/f.tif", Image.new("F", (16, 16), 0.5)),
        "pixels of unknown range: 1", "train/red/f.tif", "its pixels are fractions",
    ),
    "32 bits a pixel": Bad(
        lambda root: save(root / "train/red/i.tif", Image.new("I", (16, 16), 70_000)),
        "pixels of unknown range: 1", "train/red/i.tif", "beyond the 16 bits",
    ),
    "an image that would fill the memory": Bad(
        lambda root: png_header(root / "train/red/huge.png", 30_000),
        "images beyond Pillow's limit on size: 1", "train/red/huge.png (900,000,000 pixels)",
        "cannot read the image",
    ),
    "images of a pixel": Bad(
        lambda root: [save(path, Image.fromarray(noise(i, 1, 1, 3))) for i, path in enumerate(root.rglob("*.png"))],
        "images of 4 pixels a side or fewer, which data.padding can push out of sight: 72", "1 x 1",
        "can push images of 1 x 1 pixels out of sight", flags=(),
    ),
    "an empty class": Bad(
        lambda root: empty(root / "train/green"),
        "classes without images: 1", "train/green", "has no images",
    ),
    "a single class": Bad(
        lambda root: [move_away(root / part / name) for part in ("train", "test") for name in ("red", "blue")],
        "sets of a single class: 2", "train (only 'green')", "has one class only",
    ),
    "classes that differ": Bad(
        lambda root: (root / "test/green").rename(root / "test/Green"),
        "classes that are only in train or only in test: 2", "train/green (not in test)",
        "missing from the test images: green",
    ),
    "a class of one image": Bad(
        lambda root: [path.unlink() for path in sorted((root / "train/blue").iterdir())[1:]],
        "classes too small to be split: 1", "blue (1 image)", "has only 1 image",
    ),
    "no classes": Bad(
        lambda root: [move_away(path) for path in sorted((root / "test").iterdir())],
        "folders without classes: 1", "test", "has no folders of classes",
    ),
    "a link that leads outside": Bad(
        lambda root: os.symlink("/etc/hostname", root / "train/red/l.png"),
        "links that lead outside of the folder, or in a circle: 1", "train/red/l.png (to /etc/hostname)",
        "is a link to",
    ),
    "a class that is a link outside": Bad(
        lambda root: os.symlink(root.parent, root / "test/all"),
        "links that lead outside of the folder, or in a circle: 1", "test/all (to ", "is a link to",
    ),
    "the test in the training": Bad(
        lambda root: copy(root / "test/red/002.png", root / "train/red/again.bmp"),
        "images in both train and test, 1 % of the test or more: 1", "test/red/002.png = train/red/again.bmp",
        "warning: 1 of 12 test images is also a training image (first: test image 10 (red) is training image 60 (red));"
        " xnas check ",
        refused=False,
    ),
    "very unequal classes": Bad(
        lambda root: [path.unlink() for path in sorted((root / "train/blue").iterdir())[2:]]
        + [save(root / f"train/red/more{i}.png", Image.fromarray(noise(i, 16, 16, 3))) for i in range(5)],
        "classes more than 10 times as large as others: 1", "red has 25 training images, blue has 2",
        "warning: the classes are very unequal: red has 25 training images, blue has 2; xnas check ",
        refused=False,
    ),
    "sizes that differ": Bad(
        lambda root: save(root / "train/red/large.png", Image.fromarray(noise(0, 20, 24, 3))),
        "images of another size than most: 1", "train/red/large.png (20 x 24, most are 16 x 16)",
        "images differ in size", refused=False,
    ),
    "files that are not read": Bad(
        lambda root: (root / "train/red/list.csv").write_text("a,b"),
        "files that are not read as images, passed over: 1", "train/red/list.csv",
        "passed over 1 entry", refused=False,
    ),
}  # fmt: skip


def search(data: str, tiny_toml: Path, *flags: str) -> int:
    place = ["--runs", str(tiny_toml.parent / "runs"), "--device", "cpu", "--threads", "1"]
    return main(
        ["search", "--config", str(tiny_toml), "--search.epochs", "1", *place, "--data", data, *flags]
    )


@pytest.mark.parametrize("name", FOLDERS)
def test_a_bad_folder_is_named_by_the_check_and_by_a_search(
    name: str, image_folder: Path, tiny_toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = FOLDERS[name]
    bad.harm(image_folder)
    code = main(["check", str(image_folder), *bad.flags])
    printed = capsys.readouterr().out
    assert f"  {bad.kind}\n" in printed
    assert f"    {bad.where}" in printed
    if bad.refused:
        assert code == 2
        assert search(str(image_folder), tiny_toml, *bad.flags) == 2
        assert_one_line(capsys.readouterr().err, bad.search)
        assert not (tiny_toml.parent / "runs").exists()
    else:
        assert search(str(image_folder), tiny_toml, *bad.flags) == 0
        said = [line for line in capsys.readouterr().out.splitlines() if bad.search in line]
        assert len(said) == 1


def assert_one_line(printed: str, said: str) -> None:
    assert said in printed
    assert printed.count("\n") == 1


def write_cifar(folder: Path) -> Path:
    """Ten images a file, one of each class."""
    folder.mkdir()
    (folder / cifar.CIFAR10.names).write_text("\n".join(f"class{i}" for i in range(10)))
    for number, name in enumerate((*cifar.CIFAR10.train, *cifar.CIFAR10.test)):
        records = noise(number, 10, 3073)
        records[:, 0] = np.arange(10)
        (folder / name).write_bytes(records.tobytes())
    return folder


def test_a_label_that_is_no_class_is_named_by_the_check_and_by_a_search(
    tmp_path: Path, tiny_toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_cifar(tmp_path / "cifar")
    content = bytearray((root / cifar.CIFAR10.train[2]).read_bytes())
    content[4 * 3073] = 17
    (root / cifar.CIFAR10.train[2]).write_bytes(content)
    assert main(["check", "cifar10", "--root", str(root)]) == 2
    printed = capsys.readouterr().out
    assert "  labels out of range: 1\n" in printed
    assert "data_batch_3.bin: image 4 has the label 17" in printed
    assert search("cifar10", tiny_toml, "--data.root", str(root)) == 2
    assert_one_line(capsys.readouterr().err, "data_batch_3.bin: record 4 has the label 17")
    assert not (tmp_path / "runs").exists()


def test_a_published_set_with_copies_in_its_test_is_searched_with_a_warning(
    tmp_path: Path, tiny_toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_cifar(tmp_path / "cifar")
    (root / cifar.CIFAR10.test[0]).write_bytes((root / cifar.CIFAR10.train[0]).read_bytes())
    assert main(["check", "cifar10", "--root", str(root)]) == 2
    assert "test image 0 (class0) = training image 0 (class0)" in capsys.readouterr().out
    assert search("cifar10", tiny_toml, "--data.root", str(root), "--search.batch-size", "10") == 0
    printed = capsys.readouterr().out
    assert "warning: 10 of 10 test images are also training images (first: test image 0 (class0)" in printed
    assert f"xnas check cifar10 --root {root} lists them" in printed
