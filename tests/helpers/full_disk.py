"""A disk that fails: chosen calls raise an error of the system instead of doing their work, some after half of it."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

CALLS = ("open", "write", "fsync", "mkdir", "rename", "replace", "ftruncate", "unlink", "rmdir")
"""Each kind of call that saving makes."""
ANY = "any"


class Faults:
    """Which calls fail, how often, and how."""

    def __init__(self, call: str, error: int, *, path: str, times: int, skip: int = 0) -> None:
        self.call, self.error, self.path, self.left, self.skip = call, error, path, times, skip
        self.raised = self.seen = 0

    def hit(self, call: str, path: str) -> bool:
        """Whether this call fails now."""
        if self.call not in (call, ANY) or not fnmatch(path, self.path):
            return False
        self.seen += 1
        if self.left == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.left -= 1
        self.raised += 1
        return True

    def fail(self) -> OSError:
        return OSError(self.error, os.strerror(self.error))


@contextmanager
def failing(call: str, error: int, *, path: str, times: int = 1, skip: int = 0) -> Iterator[Faults]:
    """Within it the first `times` calls of a kind on what `path` matches fail, after `skip` that do not."""
    faults = Faults(call, error, path=path, times=times, skip=skip)
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, _wrapper(name, getattr(os, name), faults))
        yield faults


def _wrapper(name: str, real: Callable[..., Any], faults: Faults) -> Callable[..., Any]:
    def wrapper(target: Any, *rest: Any, **options: Any) -> Any:
        if not faults.hit(name, _path(target, options)):
            return real(target, *rest, **options)
        if name == "write" and faults.error == errno.ENOSPC:
            (content,) = rest
            real(target, bytes(content)[: len(content) // 2])  # what there was room for
        raise faults.fail()

    return wrapper


def _path(target: Any, options: dict[str, Any]) -> str:
    """Of an open file or a name, that of a name relative to an open folder too."""
    folder = options.get("dir_fd")
    if folder is not None:
        return f"{_path(folder, {})}/{target}"
    return os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(Path(target))
