"""Compiles the kernels for this processor when they are first needed, and keeps them.

The user's own C++ compiler makes them in seconds: `$CXX` if that is set, else the first that is found. They lie in the
user's cache, under a name that says what they were made of, so that a change of the source, the compiler or the
processor makes new ones. Without a compiler everything works as well, by torch's own operations, but slower.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

SOURCES = Path(__file__).parent
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden")
# The threads are those of torch's own OpenMP, where it is GNU's: two pools would wait for each other.
LINKED = ("-fopenmp", "-shared", "-fPIC")
TYPES = {torch.float32: "float", torch.float64: "double"}
PATIENCE = 300  # seconds; a compiler that takes longer hangs


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The kernels for tensors of that type, or None where they cannot be had; `missing` says why."""
    if dtype not in TYPES:
        return None
    try:
        return ctypes.CDLL(str(_compiled(TYPES[dtype])))
    except OSError as error:
        _REASONS.append(_short(error))
        return None


def missing() -> str | None:
    """Why there are no kernels for this processor, in a few words; None where there are."""
    return None if library(torch.float32) is not None else _REASONS[0]


_REASONS: list[str] = []


def have_to_be_compiled() -> bool:
    """Whether the kernels for training are not there yet, and a compiler is."""
    return compiler_name() is not None and not _place(_command(TYPES[torch.float32])).is_file()


def compiler_name() -> str | None:
    """The compiler that makes the kernels, or None where there is none."""
    try:
        return shutil.which(_compiler()[0])
    except OSError:
        return None


def _command(real: str) -> list[str]:
    return [*_compiler(), f"-DREAL={real}", *FLAGS, *LINKED]


def _place(command: list[str]) -> Path:
    return cache_folder() / f"kernels-{_fingerprint(command)}.so"


def _compiled(real: str) -> Path:
    """The compiled kernels, made now if they are not there yet. Raises OSError if that fails."""
    command = _command(real)
    wanted = _place(command)
    if wanted.is_file():
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, whoever else compiles it at the same time.
    with tempfile.TemporaryDirectory(dir=wanted.parent, prefix="compiling-") as place:
        made = Path(place) / wanted.name
        try:
            run = subprocess.run(
                [*command, str(SOURCES / "entry.cpp"), "-o", str(made)],
                capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise OSError(f"{command[0]} did not end within {PATIENCE} s") from error
        if run.returncode != 0 or not made.is_file():
            said = run.stderr.strip().splitlines() or ["no word why"]
            raise OSError(f"{command[0]} does not compile them: {said[0]}")
        os.replace(made, wanted)
    return wanted


def cache_folder() -> Path:
    """Where compiled kernels are kept, or a folder of this process alone where the user has no place for them."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(base) / "xnas"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return _own_folder()


@functools.cache
def _own_folder() -> Path:
    _OWN.append(tempfile.TemporaryDirectory(prefix="xnas-kernels-"))
    return Path(_OWN[0].name)


_OWN: list[tempfile.TemporaryDirectory[str]] = []


def _compiler() -> list[str]:
    asked = shlex.split(os.environ.get("CXX", ""))
    for command in [asked] if asked else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise OSError(f"no C++ compiler: {asked[0] if asked else ', '.join(COMPILERS)} not found")


def _fingerprint(command: list[str]) -> str:
    """Of all that decides what comes out: source, command, compiler and processor."""
    known = hashlib.sha256()
    for source in sorted(SOURCES.glob("*.[ch]pp")):
        known.update(source.read_bytes())
    program = Path(shutil.which(command[0]) or command[0]).resolve()
    stat = program.stat()
    for fact in (*command, program, stat.st_size, stat.st_mtime_ns, platform.machine(), _features()):
        known.update(f"{fact}\0".encode())
    return known.hexdigest()[:16]


def _features() -> str:
    """What the processor can do, as Linux says it: a home shared by machines must not mix them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _short(error: OSError) -> str:
    return error.strerror or str(error)
