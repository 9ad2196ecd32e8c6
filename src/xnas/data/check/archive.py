"""An archive examined by the list of its members, none of them unpacked: where they would go, how large they would be.

A compressed tar archive must be read through for its list. A header comes before its member, so reading ends as soon as
the sizes in the headers say that it is a bomb.
"""

import gzip
import stat
import tarfile
import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import IO

from xnas.data.check.issues import Issues, IssueType, Report

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MOST_EXPANSION = 100
"""Times that an archive may grow by unpacking. Images are compressed already: they grow by less than 2."""
SMALL = 100 * 2**20
"""Bytes that any archive may have unpacked, however much smaller it is."""
MOST_MEMBERS = 10_000_000
MOST_HEADER = 2**20
"""Bytes of one header, such as a long name. Headers are read into memory whole."""
UNIX = 3
"""The system of a zip archive's member that has a kind of file."""

PACKED = IssueType("archives, which a run does not read", "unpack it, and check the folder")
OUTSIDE = IssueType(
    "members that would be written outside of the folder", "do not unpack it: ask where it comes from"
)
LINK = IssueType(
    "members that are links to outside of the folder", "do not unpack it: ask where it comes from"
)
SPECIAL = IssueType("members that are devices or pipes", "do not unpack it: ask where it comes from")
BOMB = IssueType(
    "archives that unpack to far more than they hold", "do not unpack it: ask where it comes from"
)
DAMAGED = IssueType("damaged archives", "bring it anew")
NO_MEMBERS = IssueType("empty archives", "bring it anew")


def is_archive(path: Path) -> bool:
    """Whether a file is called like an archive that can be checked."""
    return path.name.lower().endswith(SUFFIXES)


def check_archive(path: Path) -> Report:
    """Everything that is wrong with an archive, by the list of its members."""
    findings = Issues()
    listing = _Listing(path, findings)
    try:
        if path.name.lower().endswith(".zip"):
            _list_zip(path, listing)
        else:
            _list_tar(path, listing)
    except _EnoughError:
        pass
    except (
        OSError, EOFError, RuntimeError, NotImplementedError, ValueError,
        zlib.error, zipfile.BadZipFile, tarfile.TarError,
    ) as error:  # fmt: skip
        findings.add(DAMAGED, f"{path}: {' '.join(str(error).split()) or type(error).__name__}")
    else:
        if listing.members == 0:
            findings.add(NO_MEMBERS, str(path))
    if not findings.by_kind():
        findings.add(PACKED, str(path))
    return Report(
        source=str(path),
        holds=f"an archive of {listing.members:,} members, {listing.num_bytes / 1e6:,.1f} MB unpacked",
        classes=(),
        split=False,
        findings=findings.by_kind(),
    )


class _EnoughError(Exception):
    """There is no use in reading on."""


class _Listing:
    """Counts members and their bytes, and notes those that lead astray."""

    def __init__(self, path: Path, findings: Issues) -> None:
        self.path, self.findings = path, findings
        self.members = self.num_bytes = 0
        self.most_bytes = max(SMALL, MOST_EXPANSION * path.stat().st_size)

    def take(self, name: str, num_bytes: int) -> None:
        """A member. Raises _EnoughError once the whole is a bomb."""
        self.members += 1
        self.num_bytes += num_bytes
        if _leads_out(name):
            self.findings.add(OUTSIDE, name)
        if self.num_bytes > self.most_bytes or self.members > MOST_MEMBERS:
            self.findings.add(
                BOMB,
                f"{self.path}: {self.path.stat().st_size:,} bytes hold {self.members:,} members of "
                f"{self.num_bytes:,} bytes and more, the last of them {name}",
            )
            raise _EnoughError


def _list_zip(path: Path, listing: _Listing) -> None:
    with zipfile.ZipFile(path) as archive:
        packed = 0
        for member in archive.infolist():
            listing.take(member.filename, member.file_size)
            packed += member.compress_size
            mode = member.external_attr >> 16 if member.create_system == UNIX else 0
            if stat.S_ISLNK(mode):  # its target is its content, which the list does not tell
                listing.findings.add(LINK, member.filename)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                listing.findings.add(SPECIAL, member.filename)
        if packed > path.stat().st_size:
            listing.findings.add(BOMB, f"{path}: its members share the same {path.stat().st_size:,} bytes")


def _list_tar(path: Path, listing: _Listing) -> None:
    open_file = open if path.name.lower().endswith(".tar") else gzip.open
    with open_file(path, "rb") as file, tarfile.open(fileobj=_ShortReads(file), mode="r:") as archive:
        for member in archive:
            listing.take(member.name, member.size)
            if member.issym() or member.islnk():
                # A hard link is named from the top, a symbolic one from where it is.
                start = PurePosixPath(member.name).parent if member.issym() else PurePosixPath()
                if _leads_out(str(start / member.linkname)):
                    listing.findings.add(LINK, f"{member.name} (to {member.linkname})")
            elif not (member.isfile() or member.isdir()):
                listing.findings.add(SPECIAL, member.name)
            archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all


def _leads_out(name: str) -> bool:
    r"""Whether a name is absolute or climbs above where it starts, also as Windows reads it: C:\, ..\."""
    depth = 0
    path = PurePosixPath(name.replace("\\", "/"))
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return path.is_absolute() or name[1:2] == ":"


class _ShortReads(BufferedIOBase):
    """A file that refuses to read much at once: tarfile would read a header of any size into memory."""

    def __init__(self, file: IO[bytes] | BufferedIOBase) -> None:
        self._file = file

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes."""
        if size is None or not 0 <= size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes is too long")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of the file."""
        return self._file.tell()
