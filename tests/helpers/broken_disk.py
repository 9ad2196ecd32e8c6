"""A disk that is watched: what it would hold if everything ended at any step of what is done to it.

A step is a call that changes something or forces it to the disk; a write has one more in its middle. What it would hold
depends on what ends:

- the process: all that it did is there;
- the power, with everything lost that was not forced to the disk: names as the last fsync of their folder left them,
  contents as the last fsync of their file did;
- the power, with names kept: contents alone are as their last fsync left them. A new file that was not forced is empty.
- the power, at random: of a folder's changes some first ones are there; of what was written into a file a part, zeros,
  or nothing.

No `finally` of a dead process tidies up in any of these.
"""

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Image = Mapping[str, bytes | None]
"""A disk: contents of files, None for folders, by their path."""
ENDS = ("process", "power, all lost", "power, names kept")
RANDOM = "power, at random"


@dataclass(eq=False)
class File:
    """A file, as programs see it and as the disk has it for sure."""

    live: bytes = b""
    safe: bytes = b""


@dataclass(eq=False)
class Folder:
    """Names, as programs see them and as the disk has them for sure, and the changes between the two in their order."""

    live: dict[str, "File | Folder"] = field(default_factory=dict)
    safe: dict[str, "File | Folder"] = field(default_factory=dict)
    waiting: list[dict[str, "File | Folder | None"]] = field(default_factory=list)

    def change(self, names: dict[str, "File | Folder | None"]) -> None:
        """One step: None takes a name away."""
        _apply(self.live, names)
        self.waiting.append(names)


Node = File | Folder


@dataclass(frozen=True)
class Moment:
    """What would be there if everything ended after a step."""

    step: int
    call: str
    images: Mapping[str, Image]
    """By what ends."""


class Disk:
    """Follows what is done below `home`; what is there before counts as safe."""

    def __init__(self, home: Path, *, seed: int = 0) -> None:
        self.home = home.resolve()
        self.root = _read(self.home)
        self.handles: dict[int, Node] = {}
        self.moments: list[Moment] = []
        self._random = random.Random(seed)
        self.look("start")

    def image(self, end: str) -> Image:
        """What would be there now."""
        found: dict[str, bytes | None] = {}

        def gather(folder: Folder, prefix: str) -> None:
            for name, node in self._names(folder, end).items():
                if isinstance(node, Folder):
                    found[prefix + name] = None
                    gather(node, f"{prefix}{name}/")
                else:
                    found[prefix + name] = self._content(node, end)

        gather(self.root, "")
        return found

    def look(self, call: str) -> None:
        """A step has been made."""
        ends = (*ENDS, RANDOM)
        self.moments.append(Moment(len(self.moments), call, {end: self.image(end) for end in ends}))

    def _names(self, folder: Folder, end: str) -> Mapping[str, Node]:
        if end == "power, all lost":
            return folder.safe
        if end != RANDOM:
            return folder.live
        names = dict(folder.safe)
        for change in folder.waiting[: self._random.randint(0, len(folder.waiting))]:
            _apply(names, change)
        return names

    def _content(self, file: File, end: str) -> bytes:
        if end == "process" or file.live == file.safe:
            return file.live
        if end != RANDOM:
            return file.safe
        # What was forced to the disk and not written since is there in any case.
        pairs = zip(file.safe, file.live, strict=False)
        sure = next(
            (i for i, (old, new) in enumerate(pairs) if old != new), min(len(file.safe), len(file.live))
        )
        part = file.live[: self._random.randint(sure, len(file.live))]
        return self._random.choice([file.safe, part, part + bytes(len(file.live) - len(part)), file.live])

    def spot(self, path: Any, within: int | None = None) -> tuple[Folder, str] | None:
        """The folder and the name that a path is, if it is below home."""
        if within is not None:
            folder = self.handles.get(within)
            return (folder, str(path)) if isinstance(folder, Folder) else None
        whole = Path(os.path.abspath(path))
        if self.home not in whole.parents:
            return None
        node: Node | None = self.root
        for part in whole.relative_to(self.home).parts[:-1]:
            node = node.live.get(part) if isinstance(node, Folder) else None
        assert isinstance(node, Folder), path
        return node, whole.name

    def node(self, path: Any, within: int | None = None) -> Node | None:
        """What is at a path, if it is home or below."""
        if within is None and Path(os.path.abspath(path)) == self.home:
            return self.root
        spot = self.spot(path, within)
        return spot[0].live.get(spot[1]) if spot else None


@contextmanager
def watched(home: Path, *, seed: int = 0) -> Iterator[Disk]:
    """Within it everything that is done below `home` is followed. Checks at the end that nothing went unseen."""
    disk = Disk(home, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        for name, wrapper in _wrappers(disk).items():
            patch.setattr(os, name, wrapper)
        yield disk
    assert _without_locks(disk.image("process")) == _without_locks(_flat(disk.home))


def put_back(image: Image, home: Path) -> None:
    """Make `home` hold what an image does."""
    home.mkdir()
    for path, content in sorted(image.items()):
        if content is None:
            (home / path).mkdir()
        else:
            (home / path).write_bytes(content)


def _wrappers(disk: Disk) -> dict[str, Callable[..., Any]]:
    real = {
        name: getattr(os, name)
        for name in ("open", "close", "write", "ftruncate", "fsync", "mkdir", "rename", "unlink", "rmdir")
    }

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        assert not flags & os.O_TRUNC, path
        handle: int = real["open"](path, flags, mode, dir_fd=dir_fd)
        node, spot = disk.node(path, dir_fd), disk.spot(path, dir_fd)
        if node is None and spot is not None:
            node = File()
            spot[0].change({spot[1]: node})
            disk.look(f"create {path}")
        if node is not None:
            disk.handles[handle] = node
        return handle

    def close(handle: int) -> None:
        disk.handles.pop(handle, None)
        real["close"](handle)

    def write(handle: int, content: bytes) -> int:
        file = disk.handles.get(handle)
        if isinstance(file, File):
            before = file.live[: os.lseek(handle, 0, os.SEEK_CUR)]
            for part, call in ((len(content) // 2, "half a write"), (len(content), "write")):
                file.live = before + bytes(content[:part])
                disk.look(call)
        return int(real["write"](handle, content))

    def ftruncate(handle: int, length: int) -> None:
        real["ftruncate"](handle, length)
        file = disk.handles.get(handle)
        if isinstance(file, File):
            file.live = file.live[:length]
            disk.look("truncate")

    def fsync(handle: int) -> None:
        real["fsync"](handle)
        node = disk.handles.get(handle)
        if isinstance(node, File):
            node.safe = node.live
        elif node is not None:
            node.safe, node.waiting = dict(node.live), []
        disk.look("fsync")

    def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real["mkdir"](path, mode, dir_fd=dir_fd)
        if spot := disk.spot(path, dir_fd):
            spot[0].change({spot[1]: Folder()})
            disk.look(f"mkdir {path}")

    def rename(old: Any, new: Any) -> None:
        real["rename"](old, new)
        source, target = disk.spot(old), disk.spot(new)
        if source and target:
            assert source[0] is target[0], "a move between folders is not one change of a folder"
            source[0].change({source[1]: None, target[1]: source[0].live[source[1]]})
            disk.look(f"rename {old}")

    def remove(name: str) -> Callable[..., None]:
        def wrapper(path: Any, *, dir_fd: int | None = None) -> None:
            real[name](path, dir_fd=dir_fd)
            if spot := disk.spot(path, dir_fd):
                spot[0].change({spot[1]: None})
                disk.look(f"{name} {path}")

        return wrapper

    return {
        "open": open_, "close": close, "write": write, "ftruncate": ftruncate, "fsync": fsync, "mkdir": mkdir,
        "rename": rename, "replace": rename, "unlink": remove("unlink"), "rmdir": remove("rmdir"),
    }  # fmt: skip


def _apply(names: dict[str, Node], change: Mapping[str, Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            del names[name]
        else:
            names[name] = node


def _read(place: Path) -> Folder:
    names: dict[str, Node] = {
        path.name: _read(path) if path.is_dir() else File(path.read_bytes(), path.read_bytes())
        for path in place.iterdir()
    }
    return Folder(dict(names), dict(names))


def _flat(home: Path) -> Image:
    return {
        str(path.relative_to(home)): None if path.is_dir() else path.read_bytes() for path in home.rglob("*")
    }


def _without_locks(image: Image) -> Image:
    # Who holds a lock is written past these calls; nobody reads it but a person.
    return {path: content for path, content in image.items() if not path.endswith(".lock")}
