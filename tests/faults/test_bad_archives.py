"""Archives, good and bad: the check says what is in them, a search refuses them in one line, nothing is unpacked."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from xnas.cli import main


def tar(path: Path, *members: tuple[str, int, bytes]) -> Path:
    """A tar archive of (name, size, kind); what is in the members is not there."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, size, kind in members:
            member = tarfile.TarInfo(name)
            member.size, member.type = size, kind
            member.linkname = "../../etc" if kind == tarfile.SYMTYPE else ""
            archive.addfile(member, io.BytesIO(bytes(size)))
    return path


def zipped(path: Path, name: str, content: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/0.png", b"an image")
        archive.writestr(name, content)
    return path


def damaged(path: Path) -> Path:
    path.write_bytes(b"PK\x03\x04 and no more")
    return path


ARCHIVES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "climbs out": (
        lambda folder: tar(folder / "a.tar", ("good/0.png", 8, tarfile.REGTYPE), ("../evil", 8, tarfile.REGTYPE)),
        "members that would be written outside of the folder: 1", "../evil",
    ),
    "is absolute": (
        lambda folder: zipped(folder / "a.zip", "/etc/evil"),
        "members that would be written outside of the folder: 1", "/etc/evil",
    ),
    "links out": (
        lambda folder: tar(folder / "a.tar.gz", ("good/link", 0, tarfile.SYMTYPE)),
        "members that are links to outside of the folder: 1", "good/link (to ../../etc)",
    ),
    "holds a device": (
        lambda folder: tar(folder / "a.tgz", ("null", 0, tarfile.CHRTYPE)),
        "members that are devices or pipes: 1", "null",
    ),
    "is a bomb": (
        lambda folder: zipped(folder / "a.zip", "zeros.png", bytes(101 * 2**20)),
        "archives that unpack to far more than they hold: 1", "the last of them zeros.png",
    ),
    "is damaged": (
        lambda folder: damaged(folder / "a.zip"),
        "damaged archives: 1", "a.zip: File is not a zip file",
    ),
    "is good, but an archive": (
        lambda folder: zipped(folder / "a.zip", "train/cat/1.png"),
        "archives, which a run does not read: 1", "a.zip",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_bad_archive_is_named_by_the_check_and_refused_by_a_search_and_nothing_is_unpacked(
    name: str, tmp_path: Path, tiny_toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, kind, where = ARCHIVES[name]
    archive = make(tmp_path)
    before = set(tmp_path.rglob("*"))
    assert main(["check", str(archive)]) == 2
    printed = capsys.readouterr().out
    assert f"  {kind}\n" in printed
    assert where in printed
    runs = ["--runs", str(tmp_path / "runs"), "--device", "cpu", "--threads", "1"]
    assert main(["search", "--config", str(tiny_toml), "--data", str(archive), *runs]) == 2
    refused = capsys.readouterr().err
    assert "is a file; give a folder" in refused
    assert refused.count("\n") == 1
    assert set(tmp_path.rglob("*")) == before
