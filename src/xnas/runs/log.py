"""metrics.jsonl as it is written: whole rows, in their order, none missing and none twice, whatever the disk does."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from xnas.io.atomic import check_kept, fsync_dir, write_all
from xnas.io.errors import CannotWrite
from xnas.io.json import MOST_BYTES_OF_LINES
from xnas.io.manifest import FileDigest
from xnas.io.safe_read import AT_ONCE, NO_LINK, check_place, exists, open_regular
from xnas.runs.finished_files import GROWING, RunFiles
from xnas.runs.history import METRICS, read_rows

BLOCK = 2**16


class MetricsLog:
    """Appends rows to a file. Rows that the disk does not take wait for the next attempt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = RunFiles(path.parent)
        self._length: int | None = None
        """Bytes of the file that are whole rows; None before it was looked at."""
        self._sha256 = hashlib.sha256()
        """Of these bytes."""
        self._waiting = b""
        self._growing = False
        """Whether the manifest is known to expect rows behind those that it knows of."""

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row. Raises CannotWrite if it has to wait. Rows hold no times: the same run writes the same bytes."""
        self._waiting += (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            self.flush()
        except OSError as error:
            raise CannotWrite(f"cannot write {self.path}: {error.strerror or error}; make room") from error

    def flush(self) -> int:
        """Have all rows on the disk; returns how many bytes they are.

        Raises OSError, CannotWrite, FolderGone, and ValueError if there is something else in the file's place, or it
        has changed.
        """
        check_kept(self.path.parent)
        check_place(self.path, inside=self.path.parent)
        is_new = not self.path.exists()
        if self._length is None:
            self.files.check(METRICS)
            self._look()
        assert self._length is not None
        if is_new or self._waiting or self.path.stat().st_size != self._length:
            self._let_grow(self._length)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | NO_LINK | AT_ONCE, 0o644)
        try:
            # What a crash or a full disk left of a row is taken away before the next is written.
            os.ftruncate(handle, self._length)
            os.lseek(handle, self._length, os.SEEK_SET)
            write_all(handle, self._waiting)
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            fsync_dir(self.path.parent)
        self._length += len(self._waiting)
        self._sha256.update(self._waiting)
        self._waiting = b""
        return self._length

    @property
    def sha256(self) -> str:
        """Of the rows that the last flush has brought to the disk."""
        return self._sha256.hexdigest()

    def cut(self, length: int, *, sha256: str) -> None:
        """Drop the rows after the first `length` bytes, which a run that resumes from there writes again.

        Raises ValueError if the file is shorter than that, or these bytes have another SHA-256.
        """
        check_place(self.path, inside=self.path.parent)
        self.files.check(METRICS)
        there = self.path.stat().st_size if self.path.is_file() else 0
        if there < length:
            raise ValueError(
                f"{self.path} has {there:,} bytes where the checkpoint knows of {length:,}; restore it from a copy, or "
                "start over with --overwrite"
            )
        self._look(length)
        if self.sha256 != sha256:
            raise ValueError(
                f"{self.path} has changed since the checkpoint was written; restore it from a copy, or start over with "
                "--overwrite"
            )
        self._waiting = b""
        self.flush()

    def finished(self) -> dict[str, FileDigest]:
        """How the manifest names the file from now on, where no row is waiting; nothing if none was written here."""
        if self._length is None or self._waiting:
            return {}
        self._growing = False
        return {METRICS: FileDigest(self._length, self.sha256)}

    def _look(self, length: int | None = None) -> None:
        """Know the first `length` bytes, by default all whole rows."""
        self._length, self._sha256 = 0, hashlib.sha256()
        if not exists(self.path):
            return
        with open_regular(
            self.path, what="metrics", most=MOST_BYTES_OF_LINES, inside=self.path.parent
        ) as file:
            left = _whole_rows(file.fileno()) if length is None else length
            file.seek(0)
            while left > 0 and (piece := file.read(min(BLOCK, left))):
                self._sha256.update(piece)
                self._length += len(piece)
                left -= len(piece)

    def _let_grow(self, length: int) -> None:
        """Have the manifest name no more than the first `length` bytes, and expect others behind them."""
        if self._growing:
            return
        digests = self.files.digests()
        known = digests.get(GROWING)
        if METRICS in digests or known is None or known.size > length:
            self.files.write({}, known={GROWING: FileDigest(length, self.sha256)}, without=(METRICS,))
        self._growing = True

    def kinds(self) -> Collection[str]:
        """The kinds of the rows that are there. Raises ValueError for a row that is none."""
        return {row.name("kind") for _, row in read_rows(self.path.parent)}


def _whole_rows(handle: int) -> int:
    """How many bytes of a file end with its last newline."""
    end = os.lseek(handle, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - BLOCK)
        os.lseek(handle, start, os.SEEK_SET)
        newline = os.read(handle, end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
