"""Manifests: the size and SHA-256 of each of several files, sealed by a SHA-256 of the manifest itself.

Every byte of a manifest is decided by what it says, so that one that was changed anywhere is told from one that names
a file which has changed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Self

HEX_DIGITS = 64
PIECE = 2**20
"""Bytes."""


class WrongManifest(ValueError):
    """A manifest that is none, or not as it was written."""


@dataclass(frozen=True)
class FileDigest:
    """Size and SHA-256 of a file's content."""

    size: int
    """Bytes."""
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return the digest of a content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())

    @classmethod
    def of_file(cls, file: BinaryIO, *, most: int | None = None) -> Self:
        """Return the digest of what is left to read of an open file, or its first `most` bytes; no more than a piece
        is held."""
        size, sha256 = 0, hashlib.sha256()
        while piece := file.read(PIECE if most is None else min(PIECE, most - size)):
            size += len(piece)
            sha256.update(piece)
        return cls(size, sha256.hexdigest())


def pack_manifest(digests: Mapping[str, FileDigest], *, form: str, version: int) -> bytes:
    """Return the manifest of files by name, in their order, as JSON of a line each; `form` is its "format"."""
    assert not digests.keys() & {"format", "version", "sha256"}, digests
    entries = [
        f"  {json.dumps(name)}: {json.dumps({'bytes': digest.size, 'sha256': digest.sha256})},\n"
        for name, digest in digests.items()
    ]
    lines = f'{{\n  "format": {json.dumps(form)},\n  "version": {version},\n{"".join(entries)}'.encode()
    return lines + f'  "sha256": "{hashlib.sha256(lines).hexdigest()}"\n}}\n'.encode()


def unpack_manifest(content: bytes, *, form: str, version: int, where: str) -> dict[str, FileDigest]:
    """Return the digests that a manifest names, in its order.

    Raises WrongManifest, naming `where` it is, for what is none of this form and version, or has changed in a bit.
    """
    try:
        fields = json.loads(content)
        found = fields["format"], fields["version"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise WrongManifest(f"{where} is no manifest") from None
    if found != (form, version):
        raise WrongManifest(f"{where} is of another format or version than this xnas reads, {form} {version}")
    digests = {}
    for name, value in fields.items():
        match value:
            case {"bytes": int(size), "sha256": str(sha256)} if (
                type(size) is int and size >= 0 and len(sha256) == HEX_DIGITS
            ):
                digests[name] = FileDigest(size, sha256)
            case _:
                pass  # then it is packed otherwise below
    if any(str(PurePosixPath(name)) != name for name in digests):
        raise WrongManifest(f"{where} names a file in two ways")
    reserved = digests.keys() & {"format", "version", "sha256"}
    # Packed again and compared byte by byte, so that nothing in it goes unnoticed.
    if reserved or pack_manifest(digests, form=form, version=version) != content:
        raise WrongManifest(f"{where} has changed since it was written")
    return digests
