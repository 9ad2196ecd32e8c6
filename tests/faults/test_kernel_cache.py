"""No kernels but those that were compiled run, whatever lies in the cache; and no signal has a run go on by others.

The compilers are small scripts that copy the true library. Each case is a process of its own.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xnas.kernels import build
from xnas.kernels.cache import SUM, WORK, trusted
from xnas.runs.checkpoint import CheckpointStore

from ..helpers.fork_server import Fork, Forks, nobody_is_left
from ..helpers.outcomes import differing, outcome
from ..helpers.rehearsal import Rehearsal
from ..helpers.sealed_runs import seal

FOREIGN = """
#include <cstdio>
__attribute__((constructor)) static void run() { std::fclose(std::fopen("RAN", "w")); }
"""
"""A library that says that it was loaded."""
USE = """
import json, logging, os, pathlib
os.environ.update({environment!r})
import torch
from xnas.kernels import build, calls
said = []
log = logging.getLogger("xnas.kernels")
log.setLevel(logging.INFO)
log.addHandler(handler := logging.Handler())
handler.emit = lambda record: said.append("warning: " * (record.levelno > logging.INFO) + record.getMessage())
build.prepare(check=list)
images = torch.arange(6 * 5 * 7 * 7, dtype=torch.float32).sin().reshape(6, 5, 7, 7)
norm = calls.moments(calls.dense(images), eps=1e-5)
pathlib.Path({answer!r}).write_text(json.dumps({{"said": said, "norm": norm.tolist()}}))
os._exit(0)
"""
"""Compute something by kernels."""
COMPILING = "compiling kernels for this processor, once: about ten seconds"


class Bench:
    """A cache, a compiler for it, and what kernels from it compute."""

    def __init__(self, place: Path, forks: Forks, library: Path) -> None:
        self.place, self.forks, self.library = place, forks, library
        self.answer, self.calls = place / "answer", place / "calls"
        compiler = place / "compiler"
        compiler.write_text(
            f'#!/bin/sh\nfor last; do :; done\necho call >> "{self.calls}"\nexec cp "{library}" "$last"\n'
        )
        compiler.chmod(0o755)
        self.base = place / "cache"
        self.folder = self.base / "xnas"
        self.environment = {"XDG_CACHE_HOME": str(self.base), "CXX": str(compiler)}
        self.reset()
        assert self.use() == [COMPILING]
        (self.kept,) = self.folder.iterdir()
        self.good = self.kept.read_bytes()
        self.norm = self.computed
        assert self.use() == []

    def reset(self) -> None:
        """Nothing is kept."""
        for path in (self.base, self.folder):
            path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.place / "elsewhere", ignore_errors=True)

    def restore(self) -> None:
        """As it was when the kernels had been compiled."""
        self.reset()
        self.folder.mkdir(mode=0o700, parents=True)
        self.kept.write_bytes(self.good)

    def use(self) -> list[str]:
        """Have a process compute by kernels; what it says."""
        self.answer.unlink(missing_ok=True)
        before = len(self.forks.said())
        fork = self.forks.start(
            "--version", before=USE.format(environment=self.environment, answer=str(self.answer))
        )
        assert fork.wait() == 0, self.forks.said()[before:]
        found = json.loads(self.answer.read_text())
        self.computed: list[list[float]] = found["norm"]
        said: list[str] = found["said"]
        return said

    def times_compiled(self) -> int:
        return len(self.calls.read_text().splitlines())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The true kernels."""
    path = tmp_path_factory.mktemp("library") / "kernels.so"
    path.write_bytes(build.compiled("float"))
    return path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another library."""
    place = tmp_path_factory.mktemp("foreign")
    (place / "foreign.cpp").write_text(FOREIGN.replace("RAN", str(place / "ran")))
    command = ["c++", "-shared", "-fPIC", str(place / "foreign.cpp"), "-o", str(place / "foreign.so")]
    subprocess.run(command, check=True)
    return place / "foreign.so"


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Rehearsal:
    """A search, and what it leaves if nothing happens to it. Each test leaves it without a run folder."""
    place, noise = tmp_path_factory.mktemp("rehearsal"), np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 4)):
        for name in ("one", "two"):
            (place / "images" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / "images" / part / name / f"{number}.png")
    return Rehearsal("search", place, place / "images", forks)


@pytest.fixture
def bench(tmp_path: Path, forks: Forks, library: Path) -> Bench:
    return Bench(tmp_path, forks, library)


Damage = Callable[[Bench, random.Random], None]


def flip(bench: Bench, draw: random.Random) -> None:
    content = bytearray(bench.good)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    bench.kept.write_bytes(content)


def cut(bench: Bench, draw: random.Random) -> None:
    os.truncate(bench.kept, draw.randrange(len(bench.good)))


def zero_page(bench: Bench, draw: random.Random) -> None:
    start = draw.randrange(len(bench.good) // 4096) * 4096
    page = bench.good[start : start + 4096]
    bench.kept.write_bytes(bench.good[:start] + bytes(len(page)) + bench.good[start + 4096 :])
    if not any(page):
        flip(bench, draw)


def swap_pages(bench: Bench, draw: random.Random) -> None:
    one, other = draw.sample(range(0, len(bench.good) - 8192, 4096), 2)
    content = bytearray(bench.good)
    content[one : one + 4096], content[other : other + 4096] = (
        bench.good[other : other + 4096], bench.good[one : one + 4096],
    )  # fmt: skip
    bench.kept.write_bytes(content)
    if bytes(content) == bench.good:
        flip(bench, draw)


def append(bench: Bench, draw: random.Random) -> None:
    bench.kept.write_bytes(bench.good + draw.randbytes(draw.randrange(1, 100)))


def without_sum(bench: Bench, draw: random.Random) -> None:
    bench.kept.write_bytes(bench.good[:-SUM])


FILES: dict[str, Damage] = {
    "a bit": flip, "cut off": cut, "a zero page": zero_page, "swapped pages": swap_pages, "longer": append,
    "without its sum": without_sum,
}  # fmt: skip
"""What the kernels are made again from, in their place."""


def put_foreign(bench: Bench, foreign: Path, *, how: str) -> None:
    content = foreign.read_bytes()
    sums = {"as it is": b"", "with the sum of the kernels": bench.good[-SUM:]}
    if how in sums:
        bench.kept.write_bytes(content + sums[how])
    elif how == "under another name":
        with trusted(bench.folder) as folder:
            folder.keep("kernels-other.so", content)
        (bench.folder / "kernels-other.so").rename(bench.kept)
    else:  # good, if anybody were let to write here
        with trusted(bench.folder) as folder:
            folder.keep(bench.kept.name, content)
        if how == "of another user":
            os.chown(bench.kept, 65534, 65534)
        elif how == "that all can write to":
            bench.kept.chmod(0o666)
        elif how == "that a group can write to":
            bench.kept.chmod(0o620)
        elif how in ("behind a link", "behind a link to nowhere"):
            bench.kept.rename(bench.place / "linked.so")
            bench.kept.symlink_to(bench.place / ("linked.so" if how == "behind a link" else "none.so"))
        elif how == "in a folder of another user":
            os.chown(bench.folder, 65534, 65534)
        elif how == "in a folder of all":
            bench.folder.chmod(0o777)
        elif how == "in a folder of a group":
            bench.folder.chmod(0o770)
        elif how == "in a folder behind a link":
            bench.folder.rename(bench.place / "elsewhere")
            bench.folder.symlink_to(bench.place / "elsewhere")
        elif how == "below a folder of all":
            bench.base.chmod(0o777)
        else:
            assert how == "below a folder of another user", how
            os.chown(bench.base, 65534, 65534)


FOREIGN_FILES = (
    "as it is", "with the sum of the kernels", "under another name", "of another user", "that all can write to",
    "that a group can write to", "behind a link", "behind a link to nowhere",
)  # fmt: skip
FOREIGN_FOLDERS = (
    "in a folder of another user", "in a folder of all", "in a folder of a group", "in a folder behind a link",
    "below a folder of all", "below a folder of another user",
)  # fmt: skip
BY_ROOT = ("of another user", "in a folder of another user", "below a folder of another user")


def possible(ways: tuple[str, ...]) -> Iterator[str]:
    return (how for how in ways if os.geteuid() == 0 or how not in BY_ROOT)


def test_a_damaged_or_foreign_library_is_never_loaded_and_made_again(
    bench: Bench, foreign: Path, long_faults: bool, record_property: Callable[[str, object], None]
) -> None:
    draw = random.Random(1)
    damages = [(name, FILES[name]) for name in FILES for _ in range(27 if long_faults else 1)]
    foreigners = [how for how in possible(FOREIGN_FILES) for _ in range(4 if long_faults else 1)]

    def check(about: str) -> None:
        before = bench.times_compiled()
        (line,) = bench.use()
        assert line.startswith("warning: " if bench.kept.name in line else COMPILING), about
        assert bench.computed == bench.norm, about
        assert not foreign.with_name("ran").exists(), about
        assert bench.times_compiled() == before + 1, about
        assert bench.kept.read_bytes() == bench.good, about
        assert [path.name for path in bench.folder.iterdir()] == [bench.kept.name], about

    for name, damage in damages:
        bench.restore()
        damage(bench, draw)
        check(name)
    for how in foreigners:
        bench.restore()
        put_foreign(bench, foreign, how=how)
        check(how)
    record_property(
        "figures",
        f"{len(damages)} damages, {len(foreigners)} foreign libraries: 0 crashes, 0 foreign code run",
    )


def test_a_folder_that_others_could_change_is_not_used_and_that_is_told_in_one_line(
    bench: Bench, foreign: Path, long_faults: bool
) -> None:
    for how in [how for how in possible(FOREIGN_FOLDERS) for _ in range(2 if long_faults else 1)]:
        bench.restore()
        put_foreign(bench, foreign, how=how)
        was = bench.kept.read_bytes()
        (line,) = bench.use()
        assert line.startswith("warning: compiling kernels at each start, about ten seconds: /"), how
        assert bench.computed == bench.norm, how
        assert not foreign.with_name("ran").exists(), how
        assert bench.kept.read_bytes() == was, how
        assert [path.name for path in bench.folder.iterdir()] == [bench.kept.name], how


def pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def listening(path: Path) -> None:
    with chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # which must be short


@pytest.mark.parametrize("make", [pipe, listening, os.mkdir])
def test_what_is_no_file_in_their_place_neither_hangs_nor_crashes(
    make: Callable[[Path], None], bench: Bench
) -> None:
    bench.kept.unlink()
    make(bench.kept)
    said = bench.use()
    assert said[0].startswith(f"warning: {bench.kept}: is no regular file; compiling it again")
    assert len(said) == (2 if make is os.mkdir else 1)  # which stays, so that nothing can be kept
    assert bench.computed == bench.norm
    assert (bench.use() == []) is (make is not os.mkdir)


WAITS = """#!/bin/sh
for last; do :; done
cp "{library}" "$last.part"
if mkdir "{there}.$(ls -d "{there}".* 2>/dev/null | wc -l)"; then
    echo $$ > "{there}.pid"
    [ ! -e "{there}.waits" ] || {{ touch "{there}"; while [ -e "{there}.waits" ]; do sleep 0.02; done; }}
fi
exec mv "$last.part" "$last"
"""
"""A compiler that says that it is there, and waits as long as it is told to."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGKILL)
RUNS = [(number, to) for to in ("process", "group", "compiler", "all") for number in SIGNALS]
SHORT_RUNS = [(signal.SIGINT, "all"), (signal.SIGKILL, "compiler")]


def wait_for(path: Path, fork: Fork) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, fork.said()[-2000:]
        time.sleep(0.01)


def test_a_signal_while_kernels_are_compiled_changes_no_bit(
    long_faults: bool,
    rehearsal: Rehearsal,
    forks: Forks,
    library: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    there = tmp_path / "there"
    compiler = tmp_path / "compiler"
    compiler.write_text(WAITS.format(library=library, there=there))
    compiler.chmod(0o755)
    cases = RUNS if long_faults else SHORT_RUNS
    for number, to in cases:
        about = f"{number.name} to the {to}"
        cache = tmp_path / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        for path in tmp_path.glob("there*"):
            path.rmdir() if path.is_dir() else path.unlink()
        Path(f"{there}.waits").touch()
        environment = {"XDG_CACHE_HOME": str(cache), "CXX": str(compiler)}
        prepared = f"import os; os.environ.update({environment!r})"
        before = len(forks.said())
        fork = forks.start(*rehearsal.words, before=prepared)
        wait_for(there, fork)
        part = int(Path(f"{there}.pid").read_text())
        if to in ("compiler", "all"):
            os.kill(part, number)
        if to != "compiler":
            (os.kill if to == "process" else os.killpg)(fork.pid, number)
        if to == "compiler" or number == signal.SIGKILL:
            Path(f"{there}.waits").unlink()  # the next one, or the one that is left, does its work
        code = fork.wait()
        said = forks.said()[before:]
        assert "Traceback" not in said, f"{about}: {said}"
        assert nobody_is_left(fork.pid), about
        if to == "compiler":
            assert code == 0, f"{about}: {said}"
            assert f"warning: {compiler} was ended by {number.name}" in said, about
            assert said.count("; compiling again\n") == 1, about
        else:
            assert code == (-number if number == signal.SIGKILL else 128 + number), f"{about}: {said}"
            assert nobody_is_left(part), about  # it leads a group of its own
            Path(f"{there}.waits").unlink(missing_ok=True)
            assert forks.start(*rehearsal.words, before=prepared).wait() == 0
        assert differing(outcome(rehearsal.run), rehearsal.whole) == [], about
        assert "warning: kernels was" not in forks.said()[before:], about
        assert [path.name for path in (cache / "xnas").iterdir() if path.name.startswith(WORK)] == [], about
        rehearsal.start_anew()
    record_property("figures", f"{len(cases)} signals, 0 differences, 0 hangs, 0 orphans")


def test_a_compiler_that_never_comes_to_its_end_stops_the_run_before_anything_is_computed(
    rehearsal: Rehearsal, forks: Forks, tmp_path: Path, long_faults: bool
) -> None:
    compiler = tmp_path / "compiler"
    scripts = {"kill -9 $$": 3, "echo 'error: No space left on device' >&2; exit 1": 4, "kill -TERM $$": 2}
    for script, code in list(scripts.items())[: None if long_faults else 1]:
        compiler.write_text(f"#!/bin/sh\n{script}\n")
        compiler.chmod(0o755)
        environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "CXX": str(compiler)}
        before = len(forks.said())
        fork = forks.start(*rehearsal.words, before=f"import os; os.environ.update({environment!r})")
        assert fork.wait() == code
        said = forks.said()[before:]
        assert said.count("xnas: kernels for this processor could not be compiled: ") == 1
        assert "CXX=none" in said
        assert "Traceback" not in said
        (checkpoint,) = CheckpointStore(rehearsal.run / "checkpoints", "search").found()
        assert int(checkpoint.name.rpartition("-")[2]) == 0
    rehearsal.start_anew()


def test_a_run_that_goes_on_by_other_kernels_says_so_in_a_line(rehearsal: Rehearsal, forks: Forks) -> None:
    rehearsal.go()
    noted = json.loads((rehearsal.run / "environment.json").read_text())
    assert noted["kernels"].startswith("sha256 ")
    assert noted["instructions"]
    none = "none, torch's own operations"
    for now, was, prepared in (
        (none, noted["kernels"], "import os; os.environ['CXX'] = 'none'"),
        (noted["kernels"], none, ""),
    ):
        (rehearsal.run / "genotype.json").unlink()
        seal(rehearsal.run)
        before = len(forks.said())
        assert forks.start("resume", str(rehearsal.run), before=prepared).wait() == 0
        said = " ".join(forks.said()[before:].split())
        assert said.count("warning: kernels was ") == 1
        assert f"warning: kernels was {was!r}, is {now!r}: results may differ in the last bits" in said
        assert json.loads((rehearsal.run / "environment.json").read_text())["kernels"] == now
    earlier = json.loads((rehearsal.run / "environment.json").read_text())["earlier"]
    assert [each["kernels"] for each in earlier] == [noted["kernels"], none]
    rehearsal.start_anew()
