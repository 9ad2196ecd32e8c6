"""Archives are judged by the list of their members; nothing is unpacked, and a bomb is not even read through."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from xnas.data.check.archive import check_archive


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def only(report, part_of_title: str):
    (found,) = [finding for finding in report.findings if part_of_title in finding.title]
    return found


def write_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(name: str, *, size: int = 0, link: str | None = None, kind: bytes = tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.size = size
    if link is not None:
        info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("info", "title"),
    [
        (member("train/cat/0.png", size=5), None),
        (member("train/../train/0.png", size=5), None),
        (member("train/cat/1.png", link="../dog/0.png"), None),
        (member("train/cat/1.png", link="train/dog/0.png", kind=tarfile.LNKTYPE), None),
        (member("../0.png"), "written outside"),
        (member("train/../../0.png"), "written outside"),
        (member("/0.png"), "written outside"),
        (member("C:\\0.png"), "written outside"),
        (member("..\\0.png"), "written outside"),
        (member("train/1.png", link="../../0.png"), "links to outside"),
        (member("train/1.png", link="/etc/passwd"), "links to outside"),
        (member("1.png", link="../0.png", kind=tarfile.LNKTYPE), "links to outside"),
        (member("pipe", link="", kind=tarfile.FIFOTYPE), "devices or pipes"),
    ],
)
def test_members_that_lead_out_of_the_folder_are_found(tmp_path, info, title):
    report = check_archive(write_tar(tmp_path / "a.tar", info))
    assert [finding.title for finding in report.findings] == [
        only(report, title or "which a run does not read").title
    ]


def test_a_link_in_a_zip_archive_is_found(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert only(check_archive(tmp_path / "a.zip"), "links to outside").examples == ("link",)


def test_a_compressed_bomb_is_found_before_it_is_read_through(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar.gz", member("0.png"), member("zeros", size=120 * 2**20))
    read = []
    honest = gzip.GzipFile.read

    def count(self, size=-1):
        read.append(size)
        return honest(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", count)
    assert only(check_archive(path), "unpack to far more").count == 1
    assert sum(read) < 10_000


def test_zipped_members_that_share_their_bytes_are_a_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", noise(0, 5000).tobytes())
    content = (tmp_path / "a.zip").read_bytes()
    end = content.index(b"PK\x05\x06")
    start = content.index(b"PK\x01\x02")
    entries, tail = content[start:end] * 9, bytearray(content[end:])
    tail[8:12] = (9).to_bytes(2, "little") * 2
    tail[12:16] = len(entries).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content[:start] + entries + tail)
    found = only(check_archive(tmp_path / "a.zip"), "unpack to far more")
    assert "share the same" in found.examples[0]


def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path):
    header = member("long", size=8**11 - 1, kind=tarfile.XHDTYPE, link="").tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "a.tar").write_bytes(header + bytes(2048))
    assert "header of" in only(check_archive(tmp_path / "a.tar"), "damaged archives").examples[0]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("content", [b"", b"no archive at all", bytes(10_240)])
def test_a_file_that_is_no_archive_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert check_archive(tmp_path / name).errors == 1


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_truncated_archive_is_damaged(tmp_path, name):
    info = tarfile.TarInfo("a")
    info.size = 5000
    with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as archive:
        archive.addfile(info, io.BytesIO(noise(0, 5000).tobytes()))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:3000])
    assert only(check_archive(tmp_path / name), "damaged archives").count == 1
