"""Kernels are compiled once, whole or not at all, and a machine without a compiler trains without them.

The compilers here are small scripts, which write down how they were called.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from benchmarks.plain import plain_logits
from xnas import DartsSpace, StackPlan
from xnas.kernels import build, calls

MAKES = 'for last; do :; done\necho "$0 $@" >> "{log}"\n'
"""A compiler's first lines: what it is to make is its last argument."""
WORKS = MAKES + 'echo made > "$last"\n'


@pytest.fixture(autouse=True)
def _as_if_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for cached in (build._found, build._own_folder, calls._functions):
        cached.cache_clear()
    yield
    for cached in (build._found, build._own_folder, calls._functions):
        cached.cache_clear()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def compiler(path: Path, script: str, log: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + script.replace("{log}", str(log)))
    path.chmod(0o755)
    return path


@pytest.fixture
def works(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = compiler(tmp_path / "works", WORKS, log)
    monkeypatch.setenv("CXX", str(path))
    return path


def calls_in(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_kernels_are_compiled_once_and_found_again(works: Path, log: Path, tmp_path: Path) -> None:
    assert build.have_to_be_compiled()
    assert build.compiler_name() == str(works)
    made = build.compiled("float")
    assert not build.have_to_be_compiled()
    assert made.read_text() == "made\n"
    assert build.compiled("float") == made
    (call,) = calls_in(log)
    assert call.split()[0] == str(works)
    assert call.split()[-3] == str(build.SOURCES / "entry.cpp")
    assert files_in(tmp_path / "cache") == [f"xnas/{made.name}"]


def test_whatever_changes_what_comes_out_changes_the_name(
    works: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [build.compiled("float").name, build.compiled("double").name]

    sources = tmp_path / "sources"
    sources.mkdir()
    for path in build.SOURCES.glob("*.[ch]pp"):
        (sources / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(build, "SOURCES", sources)
    assert build.compiled("float").name == names[0]
    with (sources / "plane.hpp").open("a") as file:
        file.write("// more\n")
    names.append(build.compiled("float").name)

    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    names.append(build.compiled("float").name)
    monkeypatch.setattr(build, "_features", lambda: "flags: another processor")
    names.append(build.compiled("float").name)
    monkeypatch.setenv("CXX", str(compiler(tmp_path / "other", WORKS, log)))
    names.append(build.compiled("float").name)
    compiler(tmp_path / "other", WORKS + "# a new version\n", log)
    names.append(build.compiled("float").name)
    assert len(set(names)) == len(names) == len(calls_in(log))


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
        ("exit 1", "does not compile them: no word why"),
        ("exit 0", "does not compile them: no word why"),
        ('printf half > "$last"; kill -9 $$', "does not compile them: no word why"),
        ("exec sleep 9", "did not end within 0.2 s"),
    ],
    ids=["fails", "fails in silence", "makes nothing", "is killed", "hangs"],
)
def test_a_compiler_that_fails_leaves_nothing_and_says_why_in_a_line(
    script: str, reason: str, works: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "PATIENCE", 0.2)
    compiler(works, f"{MAKES}{script}\n", log)
    assert build.missing() == f"{works} {reason}"
    assert build.library(torch.float32) is None
    assert len(calls_in(log)) == 1  # it is not asked again and again
    assert list((tmp_path / "cache" / "xnas").iterdir()) == []


def test_an_interrupted_compilation_leaves_nothing(
    works: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(command: list[str], **options: object) -> None:
        Path(command[-1]).write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build.subprocess, "run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build.compiled("float")
    assert list((tmp_path / "cache" / "xnas").iterdir()) == []
    assert build.compiled("float").read_text() == "made\n"


def test_of_several_that_compile_at_once_none_sees_half(works: Path, log: Path) -> None:
    compiler(works, MAKES + 'printf ma > "$last"; sleep 0.2; echo de >> "$last"', log)
    place = build.cache_folder() / build._name(build._command("float"))
    seen = set()
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(build.compiled, "float") for _ in range(3)]
        while not all(run.done() for run in running):
            if place.exists():
                seen.add(place.read_text())
            time.sleep(0.01)
    assert {run.result() for run in running} == {place}
    assert seen | {place.read_text()} == {"made\n"}
    assert files_in(place.parent) == [place.name]


@pytest.mark.parametrize(
    "base", ["file", "/proc/1"], ids=["a file in its place", "a folder that takes no files"]
)
def test_where_nothing_can_be_kept_a_folder_of_the_process_serves(
    base: str, works: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / base))
    made = build.compiled("float")
    assert made.read_text() == "made\n"
    assert made.parent.parent == tmp_path / "temporary"
    assert made.parent.stat().st_mode & 0o777 == 0o700
    assert build.compiled("float") == made
    assert len(calls_in(log)) == 1
    assert build.have_to_be_compiled()  # by the next process


def test_what_lies_in_a_cache_that_takes_no_more_is_used(
    works: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build.compiled("float")
    monkeypatch.setattr(build, "_takes_files", lambda folder: False)
    assert build.compiled("float") == made
    assert len(calls_in(log)) == 1


def test_damaged_kernels_are_made_again(works: Path, log: Path) -> None:
    compiler(works, f'{MAKES}exec c++ -shared -x c++ /dev/null -o "$last"', log)
    made = build.compiled("float")
    made.write_bytes(made.read_bytes()[:100])
    assert build.missing() is None
    assert build.library(torch.float32) is not None
    assert len(calls_in(log)) == 2


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
    assert not build.have_to_be_compiled()
    assert build.compiler_name() is None
    torch.manual_seed(0)
    plan = StackPlan(image_channels=1, num_classes=2, channels=4, cells=2, reductions=1)
    supernet = DartsSpace(num_nodes=2).supernet(plan).double()
    images = torch.randn(3, 1, 6, 6, dtype=torch.float64)
    assert not calls.usable(images)
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


def test_by_default_they_lie_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build.cache_folder() == Path(os.path.expanduser("~")) / ".cache" / "xnas"
