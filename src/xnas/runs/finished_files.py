"""The finished files of a folder that holds a run, or many runs, each with its size and SHA-256 in manifest.json.

A file is finished once the manifest names it. One that a process had written when it died, but not named, counts as
not there and is written again. What is replaced is announced first: for that moment the manifest has the old content
and the next, either of which is right. metrics.jsonl grows while a phase is at work: then its first rows are named, and
all of it when the phase has ended (checkpoints know of the rows between).
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from xnas.io.atomic import atomic_write
from xnas.io.json import MOST_BYTES, MOST_BYTES_OF_LINES, JsonObject, parse_json_object
from xnas.io.manifest import FileDigest, pack_manifest, unpack_manifest
from xnas.io.safe_read import check_folder, check_place, exists, open_regular, read_regular
from xnas.io.toml import MOST_BYTES as MOST_BYTES_OF_SETTINGS

MANIFEST = "manifest.json"
FORMAT, VERSION = "xnas-run", 1
METRICS = "metrics.jsonl"
GROWING = f"{METRICS} (growing)"
"""How a manifest names the first rows, while there may be more."""
AT_THE_START = (
    "job.json",
    "environment.json",
    "genotype.json",
    "study.toml",
    "config.toml",
)
"""What a run writes before it begins, in this order."""
LATER = (
    "genotype-so-far.json",
    METRICS,
    "timing.json",
    "result.json",
    "report.html",
    "selection.json",
    "checkpoints",
)
"""Files that show that a run has started."""
SUMMARIES = ("study.json", "study.csv")
"""The results of a study."""
NEXT = " (next)"
NO_ROWS = FileDigest.of(b"")
MOST_SIZE = 2**40


class RunFiles:
    """Reads and writes the finished files of one folder. One process at a time may write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: tuple[object, dict[str, FileDigest]] = (None, {})

    def digests(self) -> dict[str, FileDigest]:
        """What the manifest names; nothing where no run has started.

        Raises ValueError for a manifest that has changed, or is missing where there are files that it must have named.
        """
        path = self.folder / MANIFEST
        if not exists(path):
            if found := [name for name in LATER if exists(self.folder / name)]:
                raise ValueError(
                    f"{self.folder} has {found[0]} but no {MANIFEST}, without which nothing in it can be checked; "
                    f"restore it from a copy, or start over with --overwrite"
                )
            return {}
        seen = path.lstat()
        state = (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        if self._read[0] != state:  # asked for every file, and parsed once
            content = read_regular(path, what="manifest", most=MOST_BYTES, inside=self.folder)
            try:
                digests = unpack_manifest(content, form=FORMAT, version=VERSION, where=str(path))
            except ValueError as error:
                raise ValueError(f"{error}; restore it from a copy, or start over with --overwrite") from None
            self._read = state, digests
        return dict(self._read[1])

    def has(self, name: str) -> bool:
        """Whether a file is finished. Raises ValueError if it was, and is missing, or for what is no file."""
        check_place(self.folder / name, inside=self.folder)
        if name not in self.digests():
            return False
        if exists(self.folder / name):
            return True
        if is_drawn(name):
            return False  # it is drawn again
        raise ValueError(self.said_of(name))

    def content(self, name: str, *, what: str, most: int) -> bytes | None:
        """The content of a file of at most `most` bytes; None if it is not finished.

        Raises ValueError, in one line with the remedy, if it is missing or not as it was written.
        """
        for accepted in self._accepted(name):
            content = read_regular(self.folder / name, what=what, most=most, inside=self.folder)
            if FileDigest.of(content) in accepted.values():
                return content
        return None

    def text(self, name: str, *, what: str, most: int) -> str | None:
        """The text of a file, as `content` has it. Raises ValueError for what is no UTF-8, too."""
        content = self.content(name, what=what, most=most)
        try:
            return None if content is None else content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"cannot read the {what} {self.folder / name}: it is not UTF-8 at byte {error.start:,}; "
                "save it as UTF-8"
            ) from None

    def settings_text(self, name: str) -> str | None:
        """The text of a file of settings, as `text` has it."""
        return self.text(name, what="settings", most=MOST_BYTES_OF_SETTINGS)

    def json_object(self, name: str) -> JsonObject | None:
        """The JSON object in a file, as `text` has it. Raises ValueError for one that is damaged, too."""
        text = self.text(name, what="file", most=MOST_BYTES)
        return None if text is None else parse_json_object(text, where=str(self.folder / name))

    def check(self, name: str) -> bool:
        """Whether a file of any size is finished. Raises ValueError if it is missing or not as it was written."""
        if name == METRICS:
            return self._check_metrics()
        for accepted in self._accepted(name):
            with open_regular(self.folder / name, what="file", most=MOST_SIZE, inside=self.folder) as file:
                if FileDigest.of_file(file) in accepted.values():
                    return True
        return False

    def _check_metrics(self) -> bool:
        file = self.open_metrics()
        if file is not None:
            file.close()
        return file is not None

    def open_metrics(self) -> BinaryIO | None:
        """metrics.jsonl, open at its start; None if no row is finished.

        Raises ValueError if it is missing, or a row that the manifest knows of is not as it was written.
        """
        for accepted in self._accepted(METRICS):
            file = open_regular(
                self.folder / METRICS, what="metrics", most=MOST_BYTES_OF_LINES, inside=self.folder
            )
            for key, digest in accepted.items():
                if FileDigest.of_file(file, most=digest.size if key == GROWING else None) == digest:
                    file.seek(0)
                    return file
                file.seek(0)
            file.close()
        return None

    def write(
        self,
        contents: Mapping[str, bytes],
        *,
        known: Mapping[str, FileDigest] | None = None,
        without: Collection[str] = (),
    ) -> None:
        """Write files, in their order, and name them, and what is `known`; what is `without` is named no more.

        Raises ValueError for a damaged manifest, and CannotWrite: what there was is then there as it was.
        """
        before = self.digests()
        kept = self._settled(before)
        new = {name: FileDigest.of(content) for name, content in contents.items()}
        fresh = [name for name in new if kept.get(name) != new[name] or not self._holds(name, new[name])]
        growing = (METRICS,) if GROWING in kept else ()
        if replaced := {next_of(name): new[name] for name in fresh if name in (*kept, *growing)}:
            self._write_manifest(kept | replaced, before=before)
        for name in fresh:
            atomic_write(self.folder / name, contents[name], inside=self.folder)
        after = (
            {name: digest for name, digest in kept.items() if name not in without} | new | dict(known or {})
        )
        self._write_manifest(after, before={} if replaced else before)

    def _write_manifest(self, digests: Mapping[str, FileDigest], *, before: Mapping[str, FileDigest]) -> None:
        if dict(digests) != before:
            content = pack_manifest(dict(sorted(digests.items())), form=FORMAT, version=VERSION)
            atomic_write(self.folder / MANIFEST, content, inside=self.folder)

    def _settled(self, digests: Mapping[str, FileDigest]) -> dict[str, FileDigest]:
        """The digests where nothing is being replaced: a process that died may have come to it or not."""
        resolved = {name: digest for name, digest in digests.items() if not name.endswith(NEXT)}
        for following in digests.keys() - resolved.keys():
            name = following.removesuffix(NEXT)
            if self._holds(name, digests[following]):
                resolved[name] = digests[following]
                if name == METRICS:
                    resolved.pop(GROWING, None)
        return resolved

    def _holds(self, name: str, digest: FileDigest) -> bool:
        if not exists(self.folder / name):
            return False
        with open_regular(self.folder / name, what="file", most=MOST_SIZE, inside=self.folder) as file:
            return FileDigest.of_file(file) == digest

    def _accepted(self, name: str) -> Iterator[Mapping[str, FileDigest]]:
        """The digests that a file may have; once more where they have changed meanwhile, as another process writes.

        Nothing where the file is not finished. Raises ValueError if it is missing, or none has fitted.
        """
        keys = (name, next_of(name), *((GROWING,) if name == METRICS else ()))
        before: dict[str, FileDigest] = {}
        while True:
            digests = self.digests()
            accepted = {key: digests[key] for key in keys if key in digests}
            there = exists(self.folder / name)
            if not accepted or (not there and accepted == {GROWING: NO_ROWS}):
                return
            if accepted == before:
                raise ValueError(self.said_of(name))
            if there:
                yield accepted
            before = accepted

    def said_of(self, name: str) -> str:
        """That a file is missing or has changed, and what to do, in a line."""
        path = self.folder / name
        if name in ("genotype.json", "genotype-so-far.json"):
            what_to_do = (
                "restore it from a copy; what is in it now is trained by: xnas retrain --genotype FILE"
            )
        elif name == "config.toml":
            what_to_do = "restore it from a copy; other settings are for a new run, with --config FILE"
        elif is_drawn(name):
            what_to_do = f"xnas resume {self.folder} writes it again"
        else:
            what_to_do = "restore it from a copy, or start over with --overwrite"
        said = "has changed since it was written" if exists(path) else f"is missing, but {MANIFEST} names it"
        return f"{path} {said}; {what_to_do}"


def is_drawn(name: str) -> bool:
    """Whether a file only shows what the others hold."""
    return name in ("report.html", *SUMMARIES) or name.startswith("pictures/")


def next_of(name: str) -> str:
    """How a manifest names what a file is about to hold."""
    return f"{name}{NEXT}"


def changed_file(path: Path) -> str:
    """That a file which the user names is one of a run, and not as it was written; empty for every other file."""
    if not (exists(path) and exists(path.parent / MANIFEST)):
        return ""
    try:
        files = RunFiles(path.parent)
        if path.name in files.digests():
            files.check(path.name)
    except (OSError, ValueError) as error:
        return f"{str(error).partition(';')[0]}; what is in it now is taken, as it is named here"
    return ""


def check_files(folder: Path) -> list[str]:
    """Compare all finished files of a folder, and of the runs in it, with their digests.

    Returns a line for each report or picture that has been taken away: it can be drawn again. Raises ValueError, in one
    line, for all else that is missing or has changed.
    """
    gone: list[str] = []
    wrong: list[str] = []
    inside = _runs_inside(folder) if RunFiles(folder).digests() else ()
    for place in (folder, *inside):
        files = RunFiles(place)
        try:
            names = files.digests()
        except ValueError as error:
            wrong.append(str(error))
            continue
        for name in dict.fromkeys(name.removesuffix(NEXT).replace(GROWING, METRICS) for name in names):
            if is_drawn(name) and not exists(place / name):
                gone.append(files.said_of(name))
                continue
            try:
                files.check(name)
            except ValueError as error:
                wrong.append(str(error))
    if wrong:
        more = f" (and {len(wrong) - 1:,} more files of {folder})" if len(wrong) > 1 else ""
        raise ValueError(f"{wrong[0]}{more}")
    return gone


def _runs_inside(folder: Path, *, many: bool = True) -> Iterator[Path]:
    """The folders of runs in that of `many`, with their controls, and of controls in that of a run."""
    for home in (*((folder,) if many else ()), folder / "controls"):
        check_folder(home, inside=folder)
        try:
            found = sorted(path for path in home.iterdir() if path.is_dir())
        except OSError:
            continue
        for path in found:
            if exists(path / "config.toml") or exists(path / MANIFEST):
                check_folder(path, inside=folder)
                yield path
                if home is folder:
                    yield from _runs_inside(path, many=False)
