"""metrics.jsonl as it is written: whole rows, in their order, none missing and none twice, whatever the disk does."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from xnas.report.metrics import read_rows
from xnas.report.whole_file import CannotWrite, check_kept, sync_folder, write_all
from xnas.space.regular_file import AT_ONCE, NO_LINK, check_place

BLOCK = 2**16


class MetricsLog:
    """Appends rows to a file. Rows that the disk does not take wait for the next attempt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._length: int | None = None
        """Bytes of the file that are whole rows; None before it was looked at."""
        self._waiting = b""

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row. Raises CannotWrite if it has to wait. Rows hold no times: the same run writes the same bytes."""
        self._waiting += (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            self.flush()
        except OSError as error:
            raise CannotWrite(f"cannot write {self.path}: {error.strerror or error}; make room") from error

    def flush(self) -> int:
        """Have all rows on the disk; returns how many bytes they are.

        Raises OSError, FolderGone, and ValueError if there is something else in the file's place.
        """
        check_kept(self.path.parent)
        check_place(self.path, inside=self.path.parent)
        is_new = not self.path.exists()
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | NO_LINK | AT_ONCE, 0o644)
        try:
            if self._length is None:
                self._length = _whole_rows(handle)
            # What a crash or a full disk left of a row is taken away before the next is written.
            os.ftruncate(handle, self._length)
            os.lseek(handle, self._length, os.SEEK_SET)
            write_all(handle, self._waiting)
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            sync_folder(self.path.parent)
        self._length += len(self._waiting)
        self._waiting = b""
        return self._length

    def cut(self, length: int) -> None:
        """Drop the rows after the first `length` bytes, which a run that goes on from there will write again.

        Raises ValueError if the file is shorter than that.
        """
        check_place(self.path, inside=self.path.parent)
        there = self.path.stat().st_size if self.path.is_file() else 0
        if there < length:
            raise ValueError(
                f"{self.path} has {there:,} bytes where the checkpoint knows of {length:,}; restore it from a copy, or "
                "start anew with --overwrite"
            )
        self._length, self._waiting = length, b""
        self.flush()

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
