"""Kernels are compiled once, whole or not at all, and a machine without a compiler trains without them.

The compilers here are small scripts, which write down how they were called.
"""

import ctypes
import errno
import os
import pwd
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from benchmarks.plain import plain_logits
from xnas import DartsSpace, NetworkSpec
from xnas.kernels import build, cache, calls

from ...helpers.log_lines import LogLines

MAKES = 'for last; do :; done\necho "$0 $@" >> "{log}"\n'
"""A compiler's first lines: what it is to make is its last argument."""
WORKS = MAKES + 'echo made > "$last"\n'


@pytest.fixture(autouse=True)
def _as_if_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "_known", {})
    calls._functions.cache_clear()
    yield
    calls._functions.cache_clear()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def compiler(path: Path, script: str, log: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + script.replace("{log}", str(log)))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with the kernels' names that does nothing; beside it its source."""
    source = tmp_path_factory.mktemp("named") / "named.cpp"
    names = build._exported()
    assert len(names) == 9
    source.write_text("".join(f'extern "C" int {name}() {{ return ANSWER; }}\n' for name in names))
    library = source.with_suffix(".so")
    subprocess.run(["c++", "-shared", "-fPIC", "-DANSWER=0", source, "-o", library], check=True)
    return library


@pytest.fixture
def works(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = compiler(tmp_path / "works", WORKS, log)
    monkeypatch.setenv("CXX", str(path))
    return path


def calls_in(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def kept() -> Path:
    """Where the kernels for training are kept."""
    return build.cache_folder() / build._name(build._command("float"))


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def prepared() -> list[str]:
    """Have the kernels ready, as a process of its own would; what was said about it."""
    build._known.clear()
    with LogLines() as lines:
        build.prepare(check=list)
    return lines.said


def test_kernels_are_compiled_once_and_found_again(
    said: list[str], works: Path, log: Path, tmp_path: Path
) -> None:
    assert build.compiler_name() == str(works)
    for _ in range(2):
        assert build.compiled("float") == b"made\n"
    assert said == ["compiling kernels for this processor, once: about ten seconds"]
    (call,) = calls_in(log)
    assert call.split()[0] == str(works)
    assert call.split()[-3] == str(build.SOURCES / "entry.cpp")
    assert entries(tmp_path / "cache" / "xnas") == [kept().name]
    assert kept().parent.stat().st_mode & 0o777 == 0o700


def test_whatever_changes_what_comes_out_makes_others(
    works: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.compiled("float")
    build.compiled("double")

    sources = tmp_path / "sources"
    sources.mkdir()
    for path in build.SOURCES.glob("*.[ch]pp"):
        (sources / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(build, "SOURCES", sources)
    build.compiled("float")
    assert len(calls_in(log)) == 2
    with (sources / "plane.hpp").open("a") as file:
        file.write("// more\n")
    build.compiled("float")

    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    build.compiled("float")
    monkeypatch.setattr(build, "_features", lambda: "flags: another processor")
    build.compiled("float")
    monkeypatch.setenv("CXX", str(compiler(tmp_path / "other", WORKS, log)))
    build.compiled("float")
    compiler(tmp_path / "other", WORKS + "# a new version\n", log)
    build.compiled("float")
    assert len(entries(tmp_path / "cache" / "xnas")) == len(calls_in(log)) == 7


def test_a_compiler_may_come_with_arguments_and_lie_anywhere(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = compiler(tmp_path / "a place" / "cxx", WORKS, log)
    monkeypatch.setenv("CXX", f"'{path}' -DMORE=1")
    build.compiled("float")
    assert "-DMORE=1 -DREAL=float" in calls_in(log)[0]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('echo "this is wrong" >&2; echo "much more" >&2; exit 1', "does not compile them: this is wrong"),
        (
            "echo 'fatal error: signal.h: No such file' >&2; exit 1",
            "does not compile them: fatal error: signal.h",
        ),
        ("exit 1", "does not compile them: no word why"),
        ("exit 0", "does not compile them: no word why"),
        ('printf half > "$last"', "makes them, but they cannot be loaded: "),
        ('exec c++ -shared -x c++ /dev/null -o "$last"', "makes them without dense_backward"),
    ],
    ids=[
        "fails",
        "lacks a header",
        "fails in silence",
        "makes nothing",
        "makes no library",
        "makes another library",
    ],
)
def test_a_compiler_that_does_not_make_them_counts_as_none_and_says_why_in_a_line(
    script: str, reason: str, works: Path, log: Path
) -> None:
    compiler(works, f"{MAKES}{script}\n", log)
    assert str(build.missing()).startswith(f"{works} {reason}")
    assert build.library(torch.float32) is None
    assert build.version() is None
    assert len(calls_in(log)) == 1  # it is not asked again and again


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        ("kill -9 $$", "memory", "was ended by SIGKILL, as happens where memory runs out"),
        ("kill -TERM $$", "signal", "was ended by SIGTERM"),
        ("exit 130", "signal", "was ended by SIGINT"),
        (
            "echo Terminated signal terminated program cc1plus >&2; exit 1",
            "signal",
            "did not come to an end: Term",
        ),
        (
            "echo 'fatal error: Killed signal terminated program cc1plus' >&2; exit 4",
            "memory",
            "did not come to an end",
        ),
        (
            "echo 'cc1plus: out of memory allocating 65536 bytes' >&2; exit 1",
            "memory",
            "did not come to an end",
        ),
        (
            "echo 'error: closing kernels.so: No space left on device' >&2; exit 1",
            "disk",
            "did not come to an end",
        ),
        ("echo 'fork: Resource temporarily unavailable' >&2; exit 1", "memory", "did not come to an end"),
    ],
    ids=[
        "killed",
        "ended",
        "ended in a script",
        "a part ended",
        "a part killed",
        "no memory",
        "full disk",
        "no fork",
    ],
)
def test_a_compiler_that_was_kept_from_it_does_not_count_as_none(
    said: list[str], script: str, kind: str, reason: str, works: Path, log: Path, tmp_path: Path
) -> None:
    compiler(works, f'{MAKES}printf half > "$last"\n{script}\n', log)
    with pytest.raises(build.CompilerFailed, match=reason) as caught:
        build.prepare(check=list)
    assert caught.value.kind == kind
    assert len(calls_in(log)) == build.ATTEMPTS
    assert len([line for line in said if reason in line]) == build.ATTEMPTS - 1
    for question in (build.missing, build.version, lambda: build.library(torch.float32)):
        said.clear()
        with pytest.raises(build.CompilerFailed):
            question()
        assert any(line.endswith("; compiling again") for line in said)
    assert entries(tmp_path / "cache" / "xnas") == []

    # The next one comes to an end, in the same process, and after it failed at first.
    compiler(
        works,
        f'{MAKES}[ -e "{log}.once" ] || {{ touch "{log}.once"; {script}; }}\necho made > "$last"\n',
        log,
    )
    assert build.compiled("float") == b"made\n"
    assert entries(tmp_path / "cache" / "xnas") == [kept().name]


def test_a_compiler_that_hangs_is_ended_with_all_that_it_started(
    works: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "PATIENCE", 0.2)
    compiler(works, f'{MAKES}sleep 60 &\necho $! > "{log}.part"\nwait\n', log)
    with pytest.raises(build.CompilerFailed, match=re.escape("did not end within 0.2 s")):
        build.missing()
    assert len(calls_in(log)) == 1
    assert has_ended(int(Path(f"{log}.part").read_text()))
    assert entries(tmp_path / "cache" / "xnas") == []


def has_ended(pid: int) -> bool:
    """Whether a process has ended, or does so within seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("by_check", [False, True], ids=["by Ctrl-C", "by the run"])
def test_an_interrupted_compilation_is_ended_and_leaves_nothing(
    by_check: bool, works: Path, log: Path, tmp_path: Path
) -> None:
    waits = f'echo $$ > "{log}.part"\nuntil [ -e "{log}.waited" ]; do sleep 0.01; done\n'
    signal = "" if by_check else "kill -INT $PPID\n"
    compiler(works, f'{MAKES}printf half > "$last"\n{waits}{signal}exec sleep 60\n', log)

    def check() -> None:
        Path(f"{log}.waited").touch()
        if by_check and Path(f"{log}.part").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.compiled("float", check=check)
    assert has_ended(int(Path(f"{log}.part").read_text()))
    assert entries(tmp_path / "cache" / "xnas") == []
    assert len(calls_in(log)) == 1
    compiler(works, WORKS, log)
    assert build.compiled("float") == b"made\n"


def test_a_signal_to_the_process_group_does_not_reach_the_compiler(works: Path, log: Path) -> None:
    compiler(works, f'{MAKES}ps -o pgid= -p $$ > "$last"\n', log)
    assert int(build.compiled("float")) != os.getpgrp()


def test_of_several_that_compile_at_once_none_sees_half(works: Path, log: Path) -> None:
    compiler(works, MAKES + 'printf ma > "$last"; sleep 0.2; echo de >> "$last"', log)
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(build.compiled, "float") for _ in range(3)]
    assert {run.result() for run in running} == {b"made\n"}
    assert len(calls_in(log)) == 3
    assert entries(kept().parent) == [kept().name]


NOWHERE: dict[str, tuple[dict[str, str | None], str]] = {
    "a file in its place": ({"XDG_CACHE_HOME": "{here}/file"}, "file/xnas cannot be used: Not a directory"),
    "a folder that takes no files": ({"XDG_CACHE_HOME": "/proc/1"}, "/proc/1/xnas cannot be used: "),
    "a home that is not there": (
        {"XDG_CACHE_HOME": None, "HOME": "/proc/none"},
        "cannot be used: No such file",
    ),
    "no home": ({"XDG_CACHE_HOME": None, "HOME": None}, "no home folder"),
    "an empty home": ({"XDG_CACHE_HOME": "", "HOME": ""}, "no home folder"),
    "a home from here": ({"XDG_CACHE_HOME": "~/.cache", "HOME": "home"}, "no home folder"),
}


@pytest.mark.parametrize(("environment", "reason"), NOWHERE.values(), ids=NOWHERE)
def test_where_nothing_can_be_kept_it_works_all_the_same_and_is_told_in_a_line(
    environment: dict[str, str | None],
    reason: str,
    works: Path,
    log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: Path,
) -> None:
    for folder in ("temporary", "here"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name, value in environment.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value.format(here=tmp_path))
    compiler(
        works,
        f'{MAKES}[ "$(stat -c %a "$(dirname "$last")")" = 700 ] && cp "{named}" "$last"',
        log,
    )
    said = prepared()
    assert len(said) == 1
    assert said[0].startswith("warning: compiling kernels at each start, about ten seconds: ")
    assert reason in said[0]
    assert build.library(torch.float32) is not None
    assert len(calls_in(log)) == 1
    assert str(tmp_path / "temporary") in calls_in(log)[0]
    assert entries(tmp_path / "temporary") == entries(tmp_path / "here") == []


def unknown(number: int) -> None:
    raise KeyError(number)


def test_a_cache_that_is_not_absolute_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("relative", "~/cache", "./cache", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert build.cache_folder() == tmp_path / ".cache" / "xnas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert build.cache_folder() == tmp_path / ".cache" / "xnas"
    for value in (None, "", "relative"):
        monkeypatch.setenv("HOME", value) if value is not None else monkeypatch.delenv("HOME")
        assert build.cache_folder() == Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".cache" / "xnas"


def test_what_lies_in_a_cache_that_takes_no_more_is_used(
    works: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.compiled("float")
    monkeypatch.setattr(cache, "work_folder", broken)
    assert build.compiled("float") == b"made\n"
    assert len(calls_in(log)) == 1


def broken(parent: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_kernels_that_cannot_be_kept_serve_once_and_that_is_told(
    said: list[str], works: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "work_folder", broken)
    assert build.compiled("float") == b"made\n"
    assert said[1:] == [
        f"warning: the kernels cannot be kept in {kept().parent}, each start compiles them: No space left on device"
    ]


def test_they_serve_from_a_disk_from_which_nothing_is_executed(
    works: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: Path
) -> None:
    compiler(works, f'{MAKES}cp "{named}" "$last"', log)
    loader, disks = ctypes.CDLL, (str(tmp_path),)

    def refuse(path: str) -> ctypes.CDLL:
        if path.startswith(disks):
            raise OSError(f"{path}: failed to map segment from shared object")
        return loader(path)

    monkeypatch.setattr(build.ctypes, "CDLL", refuse)
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path))
    assert prepared() == ["compiling kernels for this processor, once: about ten seconds"]
    assert prepared() == []
    assert build.library(torch.float32) is not None
    disks = (str(tmp_path), "/proc/self/fd")
    assert prepared() == []
    assert str(build.missing()).startswith(f"{works} makes them, but they cannot be loaded: ")


def test_without_files_in_memory_they_serve_from_a_folder_that_goes(
    works: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: Path
) -> None:
    compiler(works, f'{MAKES}cp "{named}" "$last"', log)
    monkeypatch.delattr(os, "memfd_create")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path / "temporary"))
    assert build.library(torch.float32) is not None
    assert entries(tmp_path / "temporary") == []


def test_two_libraries_are_never_taken_for_one(works: Path, log: Path, named: Path) -> None:
    size = 'case "$*" in *double*) size=8;; *) size=4;; esac'
    source = named.with_suffix(".cpp")
    compiler(works, f'{MAKES}{size}\nexec c++ -shared -fPIC -DANSWER=$size "{source}" -o "$last"', log)
    for _ in range(2):
        build._known.clear()
        for dtype in (torch.float32, torch.float64):
            library = build.library(dtype)
            assert library is not None
            assert library.mix() == dtype.itemsize


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("", "no C++ compiler: c++, g++, clang++ not found"),
        ("nowhere -O2", "no C++ compiler: nowhere not found"),
        ("'g++", "no C++ compiler: CXX is no command: no closing quotation"),
    ],
)
def test_without_a_compiler_a_supernet_trains_module_by_module(
    asked: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", asked)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert build.missing() == reason
    assert build.version() is None
    assert build.compiler_name() is None
    torch.manual_seed(0)
    plan = NetworkSpec(image_channels=1, num_classes=2, channels=4, cells=2, reductions=1)
    supernet = DartsSpace(num_nodes=2).supernet(plan).double()
    images = torch.randn(3, 1, 6, 6, dtype=torch.float64)
    assert not calls.supported(images)
    seen = []
    for module in supernet.modules():
        if type(module) is torch.nn.ReLU:
            module.register_forward_hook(lambda *given: seen.append(1))
    found, (expected, _) = supernet(images), plain_logits(supernet, images)
    assert len(seen) > 50
    torch.testing.assert_close(found, expected)
    F.cross_entropy(found, torch.tensor([0, 1, 1])).backward()
    assert all(parameter.grad is not None for parameter in supernet.parameters())


def test_there_are_none_for_other_types_and_nothing_is_compiled_for_them(works: Path, log: Path) -> None:
    assert build.library(torch.bfloat16) is None
    assert build.library(torch.int64) is None
    assert calls_in(log) == []
