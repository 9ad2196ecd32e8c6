"""Checkpoints: the state of a run between two steps, on the disk whole or not at all.

A checkpoint is a folder PHASE-ROUNDS with tensors.safetensors, state.json, and a manifest of both files' size and
SHA-256. It is made in a staging folder: every file is forced to the disk, the manifest last, then the folder is moved
into place and its parent forced to the disk. A folder of that name is therefore whole, unless it was damaged later;
then its manifest says so, and the one before it is taken.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from xnas.io.atomic import check_kept, fsync_dir, mkdir_fsync, write_fsync
from xnas.io.json import MOST_BYTES
from xnas.io.manifest import FileDigest, WrongManifest, pack_manifest, unpack_manifest
from xnas.io.safe_read import check_folder, exists, is_folder, read_regular, remove_folder
from xnas.io.tensors import MOST_BYTES as MOST_BYTES_OF_TENSORS

log = logging.getLogger(__name__)

FORMAT, VERSION = "xnas-checkpoint", 1
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
STAGING, DISCARDED, DAMAGED = ".staging-", ".discarded-", "damaged-"


class Damaged(ValueError):
    """A checkpoint is not what was written."""


@dataclass(frozen=True, kw_only=True)
class CheckpointState:
    """A state as named tensors and plain values."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    """What JSON can say."""


class CheckpointStore:
    """The checkpoints of one phase of a run, in the folder `home`; the newest `keep` stay."""

    def __init__(self, home: Path, phase: str, *, keep: int = 2) -> None:
        assert keep >= 2, keep
        self.home, self.phase, self.keep = home, phase, keep

    def found(self) -> list[Path]:
        """The checkpoints that are there, the newest first. Raises ValueError if one is a link, or no folder."""
        name = re.compile(re.escape(self.phase) + r"-(\d{10,18})")
        if not self._is_there():
            return []
        found = sorted((path for path in self.home.iterdir() if name.fullmatch(path.name)), reverse=True)
        for path in found:
            check_folder(path, inside=self.home)
        return found

    def save(self, snapshot: CheckpointState, *, step: int) -> Path:
        """Add a checkpoint, and drop those that are too many.

        Raises OSError, with the old ones as they were, and FolderGone if the run's folder is not there any more.
        """
        check_kept(self.home)
        place = self.home / f"{self.phase}-{step:010}"
        if place not in self.found():  # a resumed run may come to the same step again
            self._write(snapshot, place)
        # Also if it was there: a process that died between these steps is made up for.
        fsync_dir(self.home)
        for old in self.found()[self.keep :]:
            self._discard(old)
        return place

    def _write(self, snapshot: CheckpointState, place: Path) -> None:
        if not self.found():
            mkdir_fsync(self.home, inside=self.home.parent)
        self.tidy()
        staging = self.home / f"{STAGING}{place.name}"
        try:
            staging.mkdir()
            contents = {TENSORS: _packed(snapshot.tensors), STATE: _json(snapshot.values)}
            for file, content in contents.items():
                write_fsync(staging / file, content)
            write_fsync(staging / MANIFEST, _manifest(contents))
            fsync_dir(staging)
            os.rename(staging, place)
        except OSError:
            with suppress(OSError, ValueError):
                remove_folder(staging)
            check_kept(self.home)
            raise

    def newest(self) -> tuple[Path, CheckpointState] | None:
        """The newest checkpoint that is as it was written, or None if there never was one.

        Damaged ones are set aside, with a warning that names the bad file. Raises Damaged if there is no other.
        """
        found, unfit = self.found(), []
        for path in found:
            try:
                snapshot = read_checkpoint(path)
            except Damaged as error:
                unfit.append((path, error))
                continue
            for bad, reason in unfit:
                log.warning(f"{reason}; resuming from {path.name} instead")
                _set_aside(bad)
            return path, snapshot
        if unfit:
            reasons = "; ".join(str(reason) for _, reason in unfit)
            raise Damaged(
                f"no checkpoint of the {self.phase} in {self.home} can be used: {reasons}; restore one from a copy, or "
                "start over with --overwrite"
            )
        return None

    def tidy(self) -> None:
        """Take away what a process that died had not finished.

        Raises OSError, and ValueError for something else in its place.
        """
        if self._is_there():
            for path in self.home.iterdir():
                if path.name.startswith((STAGING, DISCARDED)):
                    remove_folder(path)

    def drop(self) -> None:
        """Take all checkpoints of the phase away. Raises OSError."""
        for path in self.found():
            self._discard(path)

    def _discard(self, path: Path) -> None:
        # Renamed first, on the disk too: a folder of a checkpoint's name is never half of one.
        gone = path.with_name(DISCARDED + path.name)
        os.rename(path, gone)
        fsync_dir(self.home)
        remove_folder(gone)

    def _is_there(self) -> bool:
        return is_folder(self.home, inside=self.home.parent)


def read_checkpoint(path: Path) -> CheckpointState:
    """The state in a checkpoint's folder. Raises Damaged, naming the file, if it is not as it was written."""
    manifest = _read(path, MANIFEST, most=MOST_BYTES)
    try:
        written = unpack_manifest(manifest, form=FORMAT, version=VERSION, where=str(path / MANIFEST))
    except WrongManifest as error:
        raise Damaged(str(error)) from None
    contents = {
        TENSORS: _read(path, TENSORS, most=MOST_BYTES_OF_TENSORS),
        STATE: _read(path, STATE, most=MOST_BYTES),
    }
    found = {name: FileDigest.of(content) for name, content in contents.items()}
    if written != found:
        bad = next((name for name in contents if written.get(name) != found[name]), MANIFEST)
        raise Damaged(f"{path / bad} has changed since it was written")
    try:
        tensors, values = load(contents[TENSORS]), json.loads(contents[STATE])
    except Exception as error:  # a stranger may have made a manifest to go with anything
        raise Damaged(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise Damaged(f"{path / STATE} holds no object")
    return CheckpointState(tensors=tensors, values=values)


def _read(checkpoint: Path, name: str, *, most: int) -> bytes:
    if not exists(checkpoint / name):
        raise Damaged(f"{checkpoint / name} is missing")
    try:
        return read_regular(checkpoint / name, what="checkpoint's file", most=most, inside=checkpoint)
    except ValueError as error:
        raise Damaged(str(error)) from None


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def _manifest(contents: Mapping[str, bytes]) -> bytes:
    digests = {name: FileDigest.of(content) for name, content in contents.items()}
    return pack_manifest(digests, form=FORMAT, version=VERSION)


def _set_aside(path: Path) -> None:
    aside = path.with_name(DAMAGED + path.name)
    remove_folder(aside)
    os.rename(path, aside)
