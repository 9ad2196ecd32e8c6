"""The output of the command line: a reader that leaves, a full disk or a closed stream never ends the work."""

import errno
import io
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from xnas.io.errors import CannotWrite

_LEFT = (errno.EPIPE, errno.ECONNRESET, errno.EIO)
"""Errors of writing where the reader has left: a pipe, a socket, a terminal that was closed."""


class ReaderLeft(Exception):
    """Nobody reads the output any more, and the output is all that was asked for."""


class _SteadyWriter(io.RawIOBase):
    """Writes what the stream below it takes, and drops what it does not take."""

    def __init__(self, below: io.FileIO, *, name: str, complaints: TextIO | None = None) -> None:
        self.below, self.name, self.complaints = below, name, complaints
        self.matters = False
        """Whether the output is all that was asked for: then a failure ends the work."""
        self.failed = False

    def write(self, data: Any) -> int:
        """Return the number of bytes given. Raises ReaderLeft or CannotWrite, once, where the output `matters`."""
        content = memoryview(data).cast("B")
        left = content
        while left:
            try:
                written = self.below.write(left)
            except OSError as error:
                self._fail(error)
                break
            if written is None:  # another process has made the pipe or terminal non-blocking, and it is full
                select.select((), (self.below,), (), 1)
            else:
                left = left[written:]
        return len(content)

    def _fail(self, error: OSError) -> None:
        before, self.failed = self.failed, True
        if before:
            return
        said = f"cannot write the output: {error.strerror or error}"
        if self.matters and threading.current_thread() is threading.main_thread():
            raise ReaderLeft if error.errno in _LEFT else CannotWrite(said)
        if self.complaints is not None and error.errno not in _LEFT:
            print(f"xnas: {said}; the work continues", file=self.complaints, flush=True)

    def fileno(self) -> int:
        """Return the descriptor of the stream below."""
        return self.below.fileno()

    def isatty(self) -> bool:
        """Return whether the stream below is a terminal."""
        return self.below.isatty()

    def writable(self) -> bool:
        """Always."""
        return True


class Output:
    """The standard output, while a command runs."""

    def __init__(self, writer: _SteadyWriter | None) -> None:
        self._writer = writer

    def matters(self, yes: bool = True) -> None:
        """Say whether the output is all that is asked for: where it cannot be written, the work is then in vain."""
        if self._writer is not None:
            self._writer.matters = yes


@contextmanager
def steady_streams() -> Iterator[Output]:
    """Keep standard output and standard error from failing, unless the output matters.

    Streams that are none of the process's own, as where output is captured, stay as they are.
    """
    _open_closed_streams()
    before = sys.stdout, sys.stderr
    sys.stderr, _ = _steady(sys.stderr, name="<stderr>")
    sys.stdout, writer = _steady(sys.stdout, name="<stdout>", complaints=sys.stderr)
    output = Output(writer)
    try:
        yield output
    finally:
        output.matters(False)
        for stream, given in zip((sys.stdout, sys.stderr), before, strict=True):
            with suppress(OSError, ValueError):
                stream.flush()
                if given is None:
                    stream.close()
        sys.stdout, sys.stderr = before


def _open_closed_streams() -> None:
    """Open the first three descriptors: else the next file would take one's number, and output would go into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, number)
            os.set_inheritable(number, True)
            if opened != number:
                os.close(opened)


def _steady(
    stream: TextIO | None, *, name: str, complaints: TextIO | None = None
) -> tuple[TextIO, _SteadyWriter | None]:
    if stream is None:  # it was closed when Python started
        return open(os.devnull, "w", encoding="utf-8"), None
    if not isinstance(stream, io.TextIOWrapper):
        return stream, None
    below = getattr(stream.buffer, "raw", stream.buffer)
    if not isinstance(below, io.FileIO):
        stream.reconfigure(errors="replace")
        return stream, None
    with suppress(OSError):
        stream.flush()
    writer = _SteadyWriter(below, name=name, complaints=complaints)
    plain = isinstance(stream.buffer, io.FileIO)  # python -u
    return io.TextIOWrapper(
        writer if plain else io.BufferedWriter(writer),
        encoding=stream.encoding,
        errors="replace",  # a terminal without ± must not end a run
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    ), writer
