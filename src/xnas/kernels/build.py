"""Compiles the kernels for this processor when they are first needed, and keeps them.

The user's own C++ compiler makes them in seconds: `$CXX` if that is set, else the first that is found. They lie in the
user's cache, under a name that says what they were made of, so that a change of the source, the compiler or the
processor makes new ones. Without a compiler everything works as well, by torch's own operations, but slower.
"""

import atexit
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


def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The kernels for tensors of that type, or None where they cannot be had; `missing` says why."""
    found = _found(dtype)
    return found if isinstance(found, ctypes.CDLL) else None


def missing() -> str | None:
    """Why there are no kernels for this processor, in a few words; None where there are."""
    found = _found(torch.float32)
    return found if isinstance(found, str) else None


def have_to_be_compiled() -> bool:
    """Whether the kernels for training are not there yet, and a compiler is."""
    try:
        return not (cache_folder() / _name(_command(TYPES[torch.float32]))).is_file()
    except OSError:
        return False


def compiler_name() -> str | None:
    """The compiler that makes the kernels, or None where there is none."""
    try:
        return shutil.which(_compiler()[0])
    except OSError:
        return None


@functools.cache
def _found(dtype: torch.dtype) -> ctypes.CDLL | str:
    """The kernels, or why there are none."""
    if dtype not in TYPES:
        return f"none for {dtype}"
    try:
        return _loaded(TYPES[dtype])
    except OSError as error:
        return str(error)


def _loaded(real: str) -> ctypes.CDLL:
    path = compiled(real)
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # damaged where it lay
        path.unlink()
        return ctypes.CDLL(str(compiled(real)))


def compiled(real: str) -> Path:
    """The kernels for C++'s `real`, made now if they are not there yet. Raises OSError if that fails."""
    command = _command(real)
    place = cache_folder() / _name(command)
    if not place.is_file() and not _takes_files(place.parent):
        place = _own_folder() / place.name
    if not place.is_file():
        _compile(command, place)
    return place


def _compile(command: list[str], place: Path) -> None:
    # Whole or not at all, whoever else compiles it at the same time.
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="compiling-") as folder:
        made = Path(folder) / place.name
        try:
            run = subprocess.run(
                [*command, str(SOURCES / "entry.cpp"), "-o", str(made)],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=PATIENCE,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise OSError(f"{command[0]} did not end within {PATIENCE} s") from error
        if run.returncode != 0 or not made.is_file():
            said = run.stderr.strip().splitlines() or ["no word why"]
            raise OSError(f"{command[0]} does not compile them: {said[0]}")
        os.replace(made, place)


def cache_folder() -> Path:
    """Where compiled kernels are kept; it may not be there."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "xnas"


def _takes_files(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def _own_folder() -> Path:
    """A folder of this process alone, where the user has no place for compiled kernels."""
    folder = tempfile.mkdtemp(prefix="xnas-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _command(real: str) -> list[str]:
    return [*_compiler(), f"-DREAL={real}", *FLAGS, *LINKED]


def _compiler() -> list[str]:
    try:
        asked = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise OSError(f"no C++ compiler: CXX is no command: {str(error).lower()}") from error
    for command in [asked] if asked else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise OSError(f"no C++ compiler: {asked[0] if asked else ', '.join(COMPILERS)} not found")


def _name(command: list[str]) -> str:
    """Of compiled kernels, by all that decides what comes out: source, command, compiler and processor."""
    known = hashlib.sha256()
    for source in sorted(SOURCES.glob("*.[ch]pp")):
        known.update(source.read_bytes())
    program = Path(shutil.which(command[0]) or command[0]).resolve()
    stat = program.stat()
    for fact in (*command, program, stat.st_size, stat.st_mtime_ns, platform.machine(), _features()):
        known.update(f"{fact}\0".encode())
    return f"kernels-{known.hexdigest()[:16]}.so"


def _features() -> str:
    """What the processor can do, as Linux says it: a home shared by machines must not mix them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
