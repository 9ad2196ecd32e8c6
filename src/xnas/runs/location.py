"""Run folder selection: create, resume or overwrite."""

import itertools
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xnas.config.schema import CONFIG
from xnas.io.atomic import check_kept, fsync_dir, mkdir_fsync
from xnas.io.errors import CannotWrite
from xnas.io.safe_read import check_folder, check_place, exists, remove_folder
from xnas.runs.finished_files import AT_THE_START, MANIFEST, RunFiles
from xnas.runs.folder import ENVIRONMENT, RunFolder
from xnas.runs.lock import LOCK, locked


@dataclass(frozen=True, kw_only=True)
class RunLocation:
    """Where a run goes: the folder `runs/name`, or without a name `runs/stem-` and the next free number."""

    runs: Path
    name: str | None
    stem: str = ""
    overwrite: bool = False
    in_study: bool = False
    """Whether `runs` is the folder of many runs together, and not one that a user keeps runs in: it is not made, and no
    link in it is followed."""

    @classmethod
    def named(
        cls,
        name: str | None,
        *,
        runs: Path,
        stem: str,
        overwrite: bool,
        in_study: bool = False,
        restarts: bool = False,
    ) -> "RunLocation":
        """The place that a user's words mean. Raises ValueError for a name that is none."""
        if name is not None and not re.fullmatch(r"[\w][\w.\-]*", name):
            raise ValueError(f"a run's name is letters, digits, '-', '_' and '.'; got {name!r}")
        if restarts and (name is None or overwrite):
            what = (
                "--overwrite would start over" if overwrite else "without --name nobody finds the run again"
            )
            raise ValueError(
                f"when torchrun --max-restarts begins again, {what}; give --name, and no --overwrite"
            )
        return cls(runs=runs, name=name, stem=stem, overwrite=overwrite, in_study=in_study)

    @classmethod
    def of(cls, folder: Path) -> "RunLocation":
        """The place of a run folder that is there, whatever it is called."""
        path = folder.resolve() if folder.name in ("", "..") else folder
        return cls(runs=path.parent, name=path.name)

    def existing(self) -> RunFolder | None:
        """The run that is there and is to be continued. Raises ValueError if something else is there."""
        if self.name is None or not exists(self.runs / self.name):
            return None
        path = self.runs / self.name
        if self.in_study:
            check_folder(path, inside=self.runs)
        elif path.is_symlink() and (self.overwrite or not os.path.exists(path)):
            why = "so it is not overwritten" if self.overwrite else "and leads nowhere"
            raise ValueError(f"{path} is a link, {why}; choose another --name, or take it away")
        if path.is_dir():
            check_place(path / CONFIG, inside=path)
        if self.overwrite and (path / CONFIG).is_file():
            return None
        if (exists(path / MANIFEST) or exists(path / CONFIG)) and CONFIG in RunFiles(path).digests():
            return None if self.overwrite else RunFolder(path)
        # A process that ended while it made the folder: the settings are written last, and are no file of a user's.
        names = {item.name for item in path.iterdir()} if path.is_dir() else {""}
        if names <= INCOMPLETE_FILES and (CONFIG not in names or ENVIRONMENT in names):
            return None
        raise ValueError(f"{path} is there and is not a run folder; choose another --name")

    def create(self) -> Path:
        """The folder, made if it is missing, empty if it is to be overwritten.

        Raises ValueError if it is in use, or cannot be made.
        """
        path = self.runs / (self.name or "")
        check_kept(self.runs)
        try:
            if not self.in_study:
                mkdir_fsync(self.runs)
            if self.name is None:
                path = self._next_free()
            else:
                gone = path.with_name(f".{path.name}.discarded")
                with suppress(OSError):  # of a process that died
                    remove_folder(gone)
                if self.overwrite and os.path.exists(path):
                    with locked(path):
                        # In one step out of the way, on the disk too: there is never half a run of that name.
                        os.rename(path, gone)
                        fsync_dir(self.runs)
                with suppress(OSError):
                    remove_folder(gone)
            path.mkdir(exist_ok=True)
            fsync_dir(self.runs)
        except OSError as error:
            raise CannotWrite(f"cannot make the run folder {path}: {error.strerror}") from error
        return path

    def _next_free(self) -> Path:
        for number in itertools.count(1):
            path = self.runs / f"{self.stem}-{number}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
        raise AssertionError


def slugify(text: str) -> str:
    """`text`, such as the name of a file, with what no run's name can have exchanged for '-'."""
    return re.sub(r"[^\w.\-]", "-", text).strip("-.")


INCOMPLETE_FILES = {
    LOCK,
    *(name for file in (*AT_THE_START, MANIFEST) for name in (file, f".{file}.part")),
}
"""Files that may be in a folder whose run has not started."""
