"""CIFAR-10's binary version, whole, damaged, and in its archive; downloads that fail say what to bring."""

import dataclasses
import functools
import hashlib
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from xnas.data.sets import cifar
from xnas.data.sets.cifar import CIFAR10, CIFAR100, read_cifar10, read_cifar100
from xnas.data.sets.download import fetch, unpack

FOLDER, TRAIN, TEST, NAMES = CIFAR10.folder, CIFAR10.train, CIFAR10.test, CIFAR10.names
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def write_set(folder: Path) -> None:
    """Ten images a file, one of each class; the pixels say file, channel, row and column."""
    folder.mkdir(parents=True)
    (folder / NAMES).write_text("\n".join(CLASSES) + "\n\n")
    for number, name in enumerate((*TRAIN, *TEST)):
        records = np.empty((10, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(10)
        channel, row, column = np.mgrid[0:3, 0:32, 0:32]
        records[:, 1:] = (number + 50 * channel + 2 * row + column).reshape(-1)
        (folder / name).write_bytes(records.tobytes())


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("under", [FOLDER, "."])
def test_records_become_images_by_channel_row_and_column(tmp_path, under):
    root = tmp_path / "root"
    write_set(root / under)
    data = read_cifar10(root, download=False)
    assert (data.name, len(data.train), len(data.test), data.image_shape) == ("cifar10", 50, 10, (3, 32, 32))
    assert data.train.classes == tuple(CLASSES)
    assert data.train.labels_N.tolist() == list(range(10)) * 5
    assert data.train.images_NCHW[10, 2, 3, 7] == 1 + 2 * 50 + 2 * 3 + 7
    assert data.test.images_NCHW[0, 0, 0, 0] == 5


def damage(name, change):
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            damage(TRAIN[1], lambda b: b[:-1]),
            r"data_batch_2.bin has 30,729 bytes.* 3,073 bytes; fetch the file again",
        ),
        (damage(TEST[0], lambda b: b""), r"test_batch.bin has 0 bytes"),
        (
            damage(TRAIN[0], lambda b: b[:3073] + bytes([10]) + b[3074:]),
            r"data_batch_1.bin: record 1 has the label 10, but labels go from 0 to 9; is this the binary version",
        ),
        (damage(TEST[0], lambda b: b[3073:]), r"test_batch.bin.*the class 'airplane' has 0 images"),
        (
            damage(NAMES, lambda b: b"cat\ndog"),
            r"batches.meta.txt must name 10 classes; got 2; bring the original",
        ),
        (
            damage(NAMES, lambda b: b"\xff\xfe\xfa"),
            r"cannot read the names of the classes in .*batches.meta.txt",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, harm, message):
    write_set(tmp_path / FOLDER)
    harm(tmp_path / FOLDER)
    with pytest.raises(ValueError, match=message):
        read_cifar10(tmp_path, download=False)


def test_missing_files_are_named_with_what_to_do(tmp_path):
    write_set(tmp_path / FOLDER)
    (tmp_path / FOLDER / TRAIN[3]).unlink()
    message = (
        r"there is no data_batch_4.bin in .*cifar-10-batches-bin.*--data.root .*--data.download \(170 MB\)"
    )
    with pytest.raises(ValueError, match=message):
        read_cifar10(tmp_path, download=False)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *values):
        del values


@pytest.fixture
def web(tmp_path, monkeypatch):
    """The address of a server on this machine, for files in `web`."""
    (tmp_path / "web").mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(_Quiet, directory=tmp_path / "web")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def published(tmp_path, web, monkeypatch):
    """A tiny archive in the place of the published one."""
    write_set(tmp_path / "web" / FOLDER)
    archive = tmp_path / "web" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "web" / FOLDER, arcname=FOLDER)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    tiny = dataclasses.replace(CIFAR10, url=f"{web}/{archive.name}", md5=md5)
    monkeypatch.setattr(cifar, "CIFAR10", tiny)
    return archive


def test_a_download_is_announced_unpacked_and_not_repeated(said: list[str], tmp_path, published):
    data = read_cifar10(tmp_path / "root", download=True)
    assert len(data.train) == 50
    assert len(said) == 1
    assert cifar.CIFAR10.url in said[0]
    assert "170.1 MB" in said[0]
    published.unlink()
    assert len(read_cifar10(tmp_path / "root", download=True).train) == 50


@pytest.mark.usefixtures("silent")
def test_an_archive_that_was_brought_is_unpacked_without_the_network(tmp_path, published):
    (tmp_path / "root").mkdir()
    published.rename(tmp_path / "root" / published.name)
    assert len(read_cifar10(tmp_path / "root", download=True).train) == 50


def test_without_a_network_the_file_to_bring_and_its_place_are_named(tmp_path, published):
    published.unlink()
    place = tmp_path / "root" / "cifar-10-binary.tar.gz"
    with pytest.raises(
        ValueError, match=rf"cannot download .*; bring the file \(170,052,171 .* to {place} and run"
    ):
        read_cifar10(tmp_path / "root", download=True)


@pytest.mark.usefixtures("published")
def test_a_download_with_another_md5_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"corrupted.*bring the file \(9 bytes, md5 0123\)"):
        fetch(cifar.CIFAR10.url, tmp_path / "root", md5="0123", num_bytes=9)


def archive_of(path: Path, **members: str | None) -> Path:
    """An archive of plain files and, where a target is given, links."""
    with tarfile.open(path, "w") as tar:
        for name, target in members.items():
            member = tarfile.TarInfo(name)
            if target is not None:
                member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


def test_a_member_that_leads_out_of_the_folder_is_never_written(tmp_path):
    archive = archive_of(tmp_path / "a.tar", **{"../evil": None, "/evil": None, "good/file": None})
    unpack(archive, tmp_path / "root", members=["good/file"])
    unpack(archive, tmp_path / "root", members=["../evil"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "root"]
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["evil", "file"]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("link", r"link in .*a.tar is no plain file; bring the original"),
        ("none", r"a.tar holds no none; bring the"),
    ],
)
def test_a_link_or_a_missing_member_is_an_error(tmp_path, member, message):
    archive = archive_of(tmp_path / "a.tar", link="/etc/passwd")
    with pytest.raises(ValueError, match=message):
        unpack(archive, tmp_path / "root", members=[member])
    assert list((tmp_path / "root").iterdir()) == []


def test_a_broken_archive_is_named(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"cannot unpack .*a.tar.gz into .*fetch the archive again"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "root", members=["file"])


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("under", [CIFAR100.folder, "."])
def test_cifar100_has_its_label_after_that_of_the_superclass(tmp_path, under):
    folder = tmp_path / "root" / under
    folder.mkdir(parents=True)
    (folder / "fine_label_names.txt").write_text("".join(f"class{i:02}\n" for i in range(100)))
    for name, count in (("train.bin", 300), ("test.bin", 100)):
        records = np.zeros((count, 3074), dtype=np.uint8)
        records[:, 0] = 7
        records[:, 1] = np.arange(count)[::-1] % 100
        channel, row, column = np.mgrid[0:3, 0:32, 0:32]
        records[:, 2:] = (50 * channel + 2 * row + column).reshape(-1)
        (folder / name).write_bytes(records.tobytes())
    data = read_cifar100(tmp_path / "root", download=False)
    assert (data.name, data.num_classes, len(data.train), len(data.test)) == ("cifar100", 100, 300, 100)
    assert data.test.labels_N.tolist() == list(range(99, -1, -1))
    assert data.train.images_NCHW[5, 1, 2, 3] == 50 + 2 * 2 + 3


def test_missing_files_of_cifar100_are_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"cifar100: there is no train.bin in .*cifar-100-binary.*\(169 MB\)"
    ):
        read_cifar100(tmp_path, download=False)
