"""What is kept is read as it was written, from folders and files that nobody else can write to, or not at all."""

import os
import shutil
import socket
from collections.abc import Callable
from contextlib import ExitStack, chdir
from pathlib import Path

import pytest

from xnas.kernels.cache import OLD, WORK, WORK_ELSEWHERE, trusted, work_folder

NAME, CONTENT = "kernels-1.so", bytes(range(256)) * 33
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder in which something is kept."""
    path = tmp_path / "cache" / "xnas"
    with trusted(path) as folder:
        folder.keep(NAME, CONTENT)
    return path


def read(path: Path, name: str = NAME) -> bytes:
    with trusted(path) as folder:
        return folder.read(name)


@pytest.mark.parametrize("umask", [0, 0o22, 0o77])
def test_what_is_kept_belongs_to_this_user_alone_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "xnas"
    before = os.umask(umask)
    try:
        with trusted(path) as folder:
            folder.keep(NAME, b"old")
            folder.keep(NAME, CONTENT)
    finally:
        os.umask(before)
    assert {at.stat().st_mode & 0o777 for at in (path, path.parent, path.parent.parent)} == {0o700}
    assert (path / NAME).stat().st_mode & 0o777 == 0o600
    assert read(path) == CONTENT
    assert [at.name for at in path.iterdir()] == [NAME]


def damages() -> dict[str, Callable[[bytes], bytes]]:
    """Of a file's bytes."""
    return {
        "empty": lambda kept: b"",
        "the sum alone": lambda kept: kept[-32:],
        "without its sum": lambda kept: kept[:-32],
        "one byte short": lambda kept: kept[:-1],
        "one byte more": lambda kept: kept + b"\0",
        "a bit of the content": lambda kept: bytes([kept[0] ^ 1]) + kept[1:],
        "a bit of the sum": lambda kept: kept[:-1] + bytes([kept[-1] ^ 128]),
        "twice": lambda kept: kept * 2,
        "zeros": lambda kept: bytes(len(kept)),
    }


@pytest.mark.parametrize("damage", damages().values(), ids=damages())
def test_a_damaged_file_is_not_read(damage: Callable[[bytes], bytes], path: Path) -> None:
    (path / NAME).write_bytes(damage((path / NAME).read_bytes()))
    with pytest.raises(OSError, match="is not as it was written"):
        read(path)


def test_a_whole_file_under_another_name_is_not_read(path: Path) -> None:
    (path / NAME).rename(path / "kernels-2.so")
    with pytest.raises(FileNotFoundError):
        read(path)
    with pytest.raises(OSError, match="is not as it was written"):
        read(path, "kernels-2.so")


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o620, 0o777])
def test_a_file_or_folder_that_others_can_write_to_is_not_read(mode: int, path: Path) -> None:
    (path / NAME).chmod(mode)
    with pytest.raises(OSError, match=f"can be written to by others \\(mode {mode:o}\\)"):
        read(path)
    (path / NAME).chmod(0o644)
    assert read(path) == CONTENT
    path.chmod(mode | 0o700)
    with pytest.raises(
        OSError, match=f"{path} can be written to by others .*; mend that, or set XDG_CACHE_HOME"
    ):
        read(path)
    path.chmod(0o755)
    path.parent.chmod(0o777)
    with pytest.raises(OSError, match=f"{path.parent} can be written to by others"):
        read(path)
    for harmless in (0o1777, 0o775):  # like /tmp; a group that is this user's own
        path.parent.chmod(harmless)
        assert read(path) == CONTENT


@as_root
def test_what_belongs_to_another_user_is_not_read(path: Path) -> None:
    for number, place in enumerate((path / NAME, path, path.parent)):
        os.chown(place, 65534, 65534)
        with pytest.raises(OSError, match="belongs to another user \\(65534\\)"):
            read(path)
        os.chown(place, 0, 0)
        assert read(path) == CONTENT, number


def make_link(path: Path) -> None:
    shutil.copy(path, path.with_name("elsewhere"))
    path.unlink()
    path.symlink_to("elsewhere")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def make_socket(path: Path) -> None:
    path.unlink()
    with chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # which must be short


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (make_link, "is a link"),
        (make_pipe, "is no regular file"),
        (make_socket, "is no regular file"),
        (make_folder, "is no regular file"),
    ],
)
def test_what_is_no_file_is_not_read_and_gives_way(
    change: Callable[[Path], None], reason: str, path: Path
) -> None:
    change(path / NAME)
    with pytest.raises(OSError, match=reason):
        read(path)
    if change is not make_folder:
        with trusted(path) as folder:
            folder.keep(NAME, b"new")
        assert read(path) == b"new"
        if change is make_link:
            assert (path / "elsewhere").read_bytes()[:-32] == CONTENT
    else:
        with trusted(path) as folder, pytest.raises(OSError, match="directory"):
            folder.keep(NAME, b"new")
        assert [at.name for at in path.iterdir()] == [NAME]


def test_a_folder_behind_a_link_is_not_used_but_one_below_it_is(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path.parent)
    assert read(tmp_path / "link" / "xnas") == CONTENT
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "xnas").symlink_to(path)
    with pytest.raises(OSError, match="is a link"):
        read(tmp_path / "other" / "xnas")


def test_what_ended_processes_left_behind_is_cleared_and_what_is_at_work_stays(path: Path) -> None:
    left = path / f"{WORK}left"
    left.mkdir()
    (left / "kernels.so").write_text("half")
    (path / f"{WORK}link").symlink_to("/")
    with trusted(path) as folder, work_folder(folder) as work:
        (work.path / "half").touch()
        os.utime(work.path, (0, 0))
        folder.clear()
        assert not left.exists()
        assert (work.path / "half").exists()
        assert (path / f"{WORK}link").is_symlink()
    assert not work.path.exists()
    assert read(path) == CONTENT


@as_root
def test_in_a_folder_for_all_what_is_left_of_this_user_alone_is_cleared(tmp_path: Path) -> None:
    left = {
        name: tmp_path / name for name in (f"{WORK_ELSEWHERE}left", f"{WORK_ELSEWHERE}others", f"{WORK}other")
    }
    for folder in left.values():
        folder.mkdir()
    os.chown(left[f"{WORK_ELSEWHERE}others"], 65534, 65534)
    (tmp_path / f"{WORK_ELSEWHERE}link").symlink_to(left[f"{WORK}other"])
    with work_folder(tmp_path) as work:
        assert work.path.stat().st_mode & 0o777 == 0o700
        assert [folder.exists() for folder in left.values()] == [False, True, True]


def test_on_a_disk_without_locks_only_what_is_old_is_cleared(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xnas.kernels.cache._hold", lambda handle: None)
    with trusted(path) as folder, ExitStack() as stack:
        works = [stack.enter_context(work_folder(folder)) for _ in range(2)]
        os.utime(works[0].path, (0, os.stat(works[0].path).st_mtime - OLD - 9))
        folder.clear()
        assert [work.path.exists() for work in works] == [False, True]


def test_a_process_whose_new_folder_was_taken_for_left_behind_makes_another(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter((False, True))
    monkeypatch.setattr("xnas.kernels.cache._hold", lambda handle: next(answers))
    with trusted(path) as folder, work_folder(folder) as work:
        assert next(answers, None) is None
        assert work.path.exists()
    assert [at.name for at in path.iterdir()] == [NAME]
