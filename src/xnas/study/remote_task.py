"""What a cluster's worker is told, and what it answers: plain text, JSON, so that nothing of it can run as code."""

import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

from xnas.io.atomic import atomic_write
from xnas.io.errors import CannotWrite, Interrupted, NonFinite, OutOfMemory
from xnas.io.json import parse_json_object
from xnas.io.safe_read import read_regular_text
from xnas.io.text import choose

TOKEN = ".token"
"""The file by which a worker knows that it sees the same folder as the one who sends it."""
PATIENCE = 15.0
"""Seconds that a shared disk may take until it shows everywhere what was written."""

End = Literal["ended", "not finite", "memory", "mistake", "disk", "interrupted", "lost", "unseen", "version"]
"""lost: with its worker, which therefore does not say so. unseen, version: of a machine that cannot take part."""


@dataclass(frozen=True, kw_only=True)
class RemoteTask:
    """A run, in a folder of its own inside that of the whole."""

    whole: str
    """Path of the folder of all."""
    token: str
    version: str
    """Of xnas."""
    cwd: str
    """Where relative paths of the settings begin."""
    name: str
    """Of the run's folder."""
    verb: str
    fixed: tuple[str, ...]
    """The settings in which it must agree with what has begun."""
    config: str
    """TOML."""
    genotype: str | None
    """JSON: what a training trains."""

    def to_text(self) -> str:
        """As `of` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> "RemoteTask":
        """That of the text. Raises ValueError for anything else."""
        fields = parse_json_object(text, where="an errand")
        texts = {
            name: fields.text(name) for name in ("whole", "token", "version", "cwd", "name", "verb", "config")
        }
        genotype = None if fields.values.get("genotype") is None else fields.text("genotype")
        return cls(**texts, fixed=fields.names("fixed"), genotype=genotype)

    def check_worker(self) -> "TaskResult | None":
        """Why it cannot be done by this process, if it cannot: it looks for the token, and takes its time."""
        if self.version != (here := version("xnas")):
            return TaskResult.here("version", f"it has xnas {here}, and the sweep is of xnas {self.version}")
        path, until = Path(self.whole) / TOKEN, time.monotonic() + PATIENCE
        while True:
            with suppress(ValueError, OSError):
                found = read_regular_text(path, what="token", most=100, inside=path.parent)
                if found == self.token:
                    return None
            if time.monotonic() > until:
                return TaskResult.here("unseen", f"it does not see {self.whole}")
            time.sleep(0.5)


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What has become of an errand."""

    end: End
    reason: str
    host: str
    """Name of the machine."""

    @classmethod
    def here(cls, end: End, reason: str = "") -> "TaskResult":
        """An outcome on this machine."""
        return cls(end=end, reason=reason, host=socket.gethostname())

    @classmethod
    def of_error(cls, error: Exception) -> "TaskResult":
        """That of an errand that an error has ended."""
        ends: tuple[tuple[type[Exception], End], ...] = (
            (NonFinite, "not finite"),
            (OutOfMemory, "memory"),
            (Interrupted, "interrupted"),
            (CannotWrite, "disk"),
            (OSError, "disk"),
        )
        end: End = next((end for kind, end in ends if isinstance(error, kind)), "mistake")
        return cls.here(end, " ".join(str(error).split()))

    def to_text(self) -> str:
        """As `of` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> "TaskResult":
        """That of the text. Raises ValueError for anything else."""
        fields = parse_json_object(text, where="an outcome")
        end = choose("outcome", fields.text("end"), get_args(End))
        return cls(end=end, reason=fields.text("reason"), host=fields.name("host"))  # type: ignore[arg-type]

    def error(self) -> Exception:
        """The error that it stands for."""
        kinds: dict[str, type[Exception]] = {
            "not finite": NonFinite,
            "memory": OutOfMemory,
            "disk": CannotWrite,
        }
        return kinds.get(self.end, ValueError)(self.reason)


@contextmanager
def shared_folder_token(folder: Path) -> Iterator[str]:
    """Within it the folder has a token that no other folder has. Raises CannotWrite."""
    token = secrets.token_hex(16)
    atomic_write(folder / TOKEN, token.encode(), inside=folder)
    try:
        yield token
    finally:
        with suppress(OSError):
            os.unlink(folder / TOKEN)
