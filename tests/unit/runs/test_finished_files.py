"""Finished files are known by their digests; what is replaced is right before and after, and at no time lost."""

import os
from pathlib import Path

import pytest

from xnas.io.errors import CannotWrite
from xnas.io.manifest import FileDigest, pack_manifest
from xnas.runs.finished_files import (
    FORMAT,
    GROWING,
    MANIFEST,
    METRICS,
    VERSION,
    RunFiles,
    changed_file,
    check_files,
)


@pytest.fixture(autouse=True)
def _by_hand() -> None:
    """In place of the fixture of that name: these tests are about manifests as they are."""


def read(files: RunFiles, name: str) -> bytes | None:
    return files.content(name, what="file", most=10_000)


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    files = RunFiles(tmp_path)
    files.write({"config.toml": b"seed = 1\n", "timing.json": b"{}"})
    return files


def test_what_was_written_is_read_and_what_was_not_named_counts_as_not_there(files: RunFiles) -> None:
    assert read(files, "config.toml") == b"seed = 1\n"
    (files.folder / "genotype.json").write_bytes(b"{}")
    assert read(files, "genotype.json") is None
    assert not files.has("genotype.json")
    files.write({"genotype.json": b"[]"})
    assert read(files, "genotype.json") == b"[]"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("config.toml", "restore it from a copy; other settings are for a new run, with --config FILE"),
        (
            "genotype.json",
            "restore it from a copy; what is in it now is trained by: xnas retrain --genotype FILE",
        ),
        ("timing.json", "restore it from a copy, or start over with --overwrite"),
        ("report.html", "xnas resume .* writes it again"),
    ],
)
def test_a_file_that_is_missing_or_has_changed_is_named_with_the_remedy(
    name: str, remedy: str, files: RunFiles
) -> None:
    files.write({name: b"as it was"})
    (files.folder / name).write_bytes(b"as it is.")
    for look in (lambda: read(files, name), lambda: files.check(name)):
        with pytest.raises(ValueError, match=rf"{name} has changed since it was written; {remedy}"):
            look()
    assert "has changed since it was written; what is in it now is taken" in changed_file(files.folder / name)
    (files.folder / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing, but manifest.json names it; {remedy}"):
        read(files, name)


def test_without_its_manifest_nothing_of_a_run_is_read(files: RunFiles) -> None:
    (files.folder / MANIFEST).unlink()
    for look in (files.digests, lambda: read(files, "config.toml"), lambda: check_files(files.folder)):
        with pytest.raises(ValueError, match=r"has timing.json but no manifest.json, without which nothing"):
            look()


def test_wherever_replacing_ends_a_file_is_as_before_or_as_after(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, ended = os.replace, []

    def ending(left: int) -> None:
        def counted(old: Path, new: Path) -> None:
            nonlocal left
            if left == 0:
                raise OSError(5, "the process ends here")
            left -= 1
            replace(old, new)

        monkeypatch.setattr(os, "replace", counted)

    for moves in range(4):
        files.write({"timing.json": b"before", "config.toml": b"before"})
        ending(moves)
        try:
            files.write({"timing.json": b"after", "config.toml": b"after"})
        except CannotWrite:
            pass
        finally:
            monkeypatch.setattr(os, "replace", replace)
        found = RunFiles(files.folder)
        ended.append((read(found, "timing.json"), read(found, "config.toml")))
        assert check_files(files.folder) == []
        found.write({"job.json": b"%d" % moves})  # what comes next settles what was open
        assert not any(name.endswith("(next)") for name in found.digests())
        assert (read(found, "timing.json"), read(found, "config.toml")) == ended[-1]
    assert ended == [
        (b"before", b"before"),
        (b"before", b"before"),
        (b"after", b"before"),
        (b"after", b"after"),
    ]


def test_a_reader_looks_again_where_another_process_has_written_meanwhile(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = RunFiles.digests
    stale = [files.digests()]
    files.write({"config.toml": b"seed = 2\n"})
    monkeypatch.setattr(RunFiles, "digests", lambda self: stale.pop() if stale else digests(self))
    assert read(files, "config.toml") == b"seed = 2\n"


def test_rows_may_follow_while_the_file_grows_and_none_when_it_is_finished(files: RunFiles) -> None:
    rows, path = b'{"kind": "a"}\n', files.folder / METRICS
    files.write({}, known={GROWING: FileDigest.of(b"")})
    assert files.open_metrics() is None  # the process ended before the first row
    path.write_bytes(rows)
    files.write({}, known={GROWING: FileDigest.of(rows)})
    path.write_bytes(rows + b'{"kind": "to')
    opened = files.open_metrics()
    assert opened is not None
    with opened:
        assert opened.read().startswith(rows)
    path.write_bytes(b'{"kind": "b"}\n' + rows)
    with pytest.raises(ValueError, match=r"metrics.jsonl has changed"):
        files.open_metrics()
    path.write_bytes(rows)
    files.write({}, known={METRICS: FileDigest.of(rows)}, without=(GROWING,))
    assert files.check(METRICS)
    path.write_bytes(rows + b"\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl has changed"):
        files.check(METRICS)


def test_all_files_of_a_folder_and_its_runs_are_looked_at_and_pictures_may_be_taken_away(
    files: RunFiles,
) -> None:
    inner = RunFiles(files.folder / "controls" / "one")
    inner.folder.mkdir(parents=True)
    inner.write({"config.toml": b"", "result.json": b"{}", "pictures/a.svg": b"<svg/>"})
    (inner.folder / "pictures" / "a.svg").unlink()
    (gone,) = check_files(files.folder)
    assert "a.svg is missing" in gone
    (inner.folder / "result.json").write_bytes(b"[]")
    (files.folder / "timing.json").write_bytes(b"[]")
    with pytest.raises(ValueError, match=r"timing.json has changed .* \(and 1 more files of "):
        check_files(files.folder)


def test_what_did_not_change_is_not_written_again(files: RunFiles) -> None:
    before = {path: path.stat().st_ino for path in files.folder.iterdir()}
    files.write({"config.toml": b"seed = 1\n"})
    assert {path: path.stat().st_ino for path in files.folder.iterdir()} == before
    (files.folder / "config.toml").write_bytes(b"seed = 3\n")
    files.write({"config.toml": b"seed = 1\n"})
    assert read(files, "config.toml") == b"seed = 1\n"


def test_folders_within_folders_and_many_names_are_looked_at_once(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    files.write({"config.toml": b""})
    place = tmp_path
    for _ in range(300):
        place = place / "a"
        place.mkdir()
        (place / "config.toml").write_text("")
    assert check_files(tmp_path) == []  # only the first is one of many runs, and its own controls are none


def test_a_manifest_that_names_a_file_in_two_ways_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"")
    for name in ("./config.toml", "a//b", "a/./b"):
        names = {"config.toml": FileDigest.of(b""), name: FileDigest.of(b"")}
        (tmp_path / MANIFEST).write_bytes(pack_manifest(names, form=FORMAT, version=VERSION))
        with pytest.raises(ValueError, match="names a file in two ways"):
            RunFiles(tmp_path).digests()
