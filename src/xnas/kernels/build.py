"""Compiles the kernels for this processor when they are first needed, and keeps them.

The user's own C++ compiler makes them in seconds: `$CXX` if that is set, else the first that is found. They lie in the
user's cache, under a name that says what they were made of, so that a change of the source, the compiler or the
processor makes new ones. Without a compiler everything works as well, by torch's own operations, but slower and to
other last bits. So a compiler that merely was ended, or had no memory or disk, does not count as none.
"""

import contextlib
import ctypes
import errno
import functools
import hashlib
import itertools
import logging
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from xnas.kernels.cache import TrustedFolder, trusted, work_folder

log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden")
# The threads are those of torch's own OpenMP, where it is GNU's: two pools would wait for each other.
LINKED = ("-fopenmp", "-shared", "-fPIC")
TYPES = {torch.float32: "float", torch.float64: "double"}
PATIENCE = 1800  # seconds; a compiler that takes longer hangs, however busy the machine is
POLL = 0.2  # seconds
ATTEMPTS = 3
"""Starts of a compiler that was killed."""

Kind = Literal["memory", "disk", "time", "signal"]
PASSING: dict[int, Kind] = {
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE), "memory"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS), "disk"),
}
"""Errors of the system that say nothing about the compiler, and of what there is too little."""
SIGNS: dict[str, Kind] = {os.strerror(number): kind for number, kind in PASSING.items()} | {
    "out of memory": "memory",
    "memory exhausted": "memory",
    "bad_alloc": "memory",
    "Killed signal": "memory",  # of a part of the compiler: "Killed signal terminated program cc1plus"
    "unable to execute command: Killed": "memory",
    "signal terminated program": "signal",
    "unable to execute command": "signal",
    "failed due to signal": "signal",
}
"""Messages of a compiler that was killed."""


Check = Callable[[], object]


class CompilerFailed(OSError):
    """A compiler that may well make the kernels another time: it was ended by a signal, or had no memory or disk."""

    def __init__(self, reason: str, kind: Kind) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Kernels:
    """Compiled kernels, loaded."""

    library: ctypes.CDLL
    sha256: str
    """Hash of the library's bytes: the same bytes compute the same bits."""


def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The kernels for tensors of that type, or None where they cannot be had; `missing` says why.

    Raises CompilerFailed where they can be had another time: torch's operations would compute other last bits.
    """
    found = _found(dtype)
    return found.library if isinstance(found, Kernels) else None


def missing() -> str | None:
    """Return the reason why there are no kernels for this processor, None if there are. Raises CompilerFailed."""
    found = _found(torch.float32)
    return found if isinstance(found, str) else None


def version() -> str | None:
    """The kernels for training, by the SHA-256 of their library; None where there are none. Raises CompilerFailed."""
    found = _found(torch.float32)
    return found.sha256 if isinstance(found, Kernels) else None


def prepare(*, check: Check) -> None:
    """Have the kernels for training ready, if they can be had.

    Logs a line if they have to be compiled, and why that will be so another time. `check` is called while a
    compiler is at work, several times a second, and before another is started in place of one that did not come to its
    end: if it raises, that one is ended. Raises CompilerFailed if none comes to its end.
    """
    _found(torch.float32, check=check)


def compiler_name() -> str | None:
    """The compiler that makes the kernels, or None where there is none."""
    try:
        return shutil.which(_compiler()[0])
    except OSError:
        return None


_loads = itertools.count()
_known: dict[torch.dtype, Kernels | str] = {}
"""What this process has found: it must not go from torch's operations to kernels in the middle."""


def _never() -> None:
    """Nobody wants a compiler to be ended."""


def _found(dtype: torch.dtype, *, check: Check = _never) -> Kernels | str:
    """The kernels, or why there are none."""
    if dtype not in _known:
        _known[dtype] = _find(dtype, check)
    return _known[dtype]


def _find(dtype: torch.dtype, check: Check) -> Kernels | str:
    if dtype not in TYPES:
        return f"none for {dtype}"
    try:
        content = compiled(TYPES[dtype], check=check)
        return Kernels(_loaded(content), hashlib.sha256(content).hexdigest())
    except CompilerFailed:
        raise
    except OSError as error:
        if kind := _passing(error):
            raise CompilerFailed(_reason(error), kind) from error
        return _reason(error)


def compiled(real: str, *, check: Check = _never) -> bytes:
    """The library of the kernels for C++'s `real`, made now if it is not there yet. Raises OSError if that fails."""
    command = _command(real)
    name = _name(command)
    with contextlib.ExitStack() as stack:
        try:
            cache = stack.enter_context(trusted(cache_folder()))
        except OSError as error:
            log.warning(f"compiling kernels at each start, about ten seconds: {error}")
            return _made(command, None, check)
        cache.clear()
        try:
            return cache.read(name)
        except FileNotFoundError:
            log.info("compiling kernels for this processor, once: about ten seconds")
        except OSError as error:
            log.warning(f"{cache.path / name}: {_reason(error)}; compiling it again, about ten seconds")
        content = _made(command, cache, check)
        try:
            cache.keep(name, content)
        except OSError as error:
            log.warning(
                f"the kernels cannot be kept in {cache.path}, each start compiles them: {_reason(error)}"
            )
        return content


def _made(command: list[str], cache: TrustedFolder | None, check: Check) -> bytes:
    """What the compiler makes; where it fails in the cache's folder, another one may do."""
    for attempt in range(ATTEMPTS):
        try:
            with _place_to_compile(cache if attempt == 0 else None) as place:
                return _compile(command, place, check)
        except OSError as error:
            kind = error.kind if isinstance(error, CompilerFailed) else _passing(error)
            if kind is None:
                raise
            if attempt == ATTEMPTS - 1 or kind == "time":
                raise CompilerFailed(_reason(error), kind) from error
            check()
            log.warning(f"{_reason(error)}; compiling again")
    raise AssertionError


@contextlib.contextmanager
def _place_to_compile(cache: TrustedFolder | None) -> Iterator[TrustedFolder]:
    with contextlib.ExitStack() as stack:
        try:
            place = stack.enter_context(work_folder(cache or _temporary()))
        except OSError:
            if cache is None:
                raise
            place = stack.enter_context(work_folder(_temporary()))
        yield place


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:  # none takes a file: they may all be full
        raise OSError(errno.ENOSPC, "no folder takes temporary files; set TMPDIR to one") from error


def _compile(command: list[str], place: TrustedFolder, check: Check) -> bytes:
    with subprocess.Popen(
        [*command, str(SOURCES / "entry.cpp"), "-o", str(place.path / "kernels.so")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        # What it leaves behind when it is killed lies in the folder that goes; and what it says is looked for.
        env={**os.environ, "TMPDIR": str(place.path), "LC_ALL": "C"},
        process_group=0,  # Ctrl-C is for the process that waits, which then ends it
    ) as process:  # fmt: skip
        try:
            printed = _printed(process, command[0], check)
        except BaseException:
            _kill(process)
            raise
    lines = printed.strip().splitlines() or ["no word why"]
    code = process.returncode
    if number := -code if code < 0 else code - 128 if 128 < code < 128 + 65 else 0:
        name = _signal_name(number)
        why = ", as happens where memory runs out" if name == "SIGKILL" else ""
        raise CompilerFailed(f"{command[0]} was ended by {name}{why}", "memory" if why else "signal")
    if code == 0:
        with contextlib.suppress(FileNotFoundError):
            return place.read_regular("kernels.so")
    for sign, kind in SIGNS.items():
        if said := next((line for line in lines if sign in line), None):
            raise CompilerFailed(f"{command[0]} did not come to an end: {said}", kind)
    raise OSError(f"{command[0]} does not compile them: {lines[0]}")


def _printed(process: "subprocess.Popen[str]", name: str, check: Check) -> str:
    """What a compiler has complained of when it has ended."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=min(POLL, PATIENCE))[1]
        check()
    raise CompilerFailed(f"{name} did not end within {PATIENCE} s", "time")


def _kill(process: "subprocess.Popen[str]") -> None:
    """Kill the compiler and the processes that it started."""
    with contextlib.suppress(OSError, AttributeError):  # it has ended; Windows has no groups
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _passing(error: OSError) -> Kind | None:
    """Of what there was too little, where an error of the system says that; None for others."""
    return PASSING.get(error.errno or 0)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _loaded(content: bytes) -> ctypes.CDLL:
    """A library, from a copy that nobody else can change. Raises OSError, also if it is not one of these kernels."""
    try:
        found = _load_from_memory(content)
    except (OSError, AttributeError):  # another system than Linux, or one that forbids it
        found = _load_from_folder(content)
    for name in sorted(_exported()):
        if not hasattr(found, name):
            raise OSError(f"{_compiler()[0]} makes them without {name}")
    return found


def _load_from_memory(content: bytes) -> ctypes.CDLL:
    # Any disk may be one from which nothing is executed.
    with os.fdopen(os.memfd_create("kernels", os.MFD_CLOEXEC), "wb") as file:
        file.write(content)
        file.flush()
        # The loader takes two libraries of one path for one, and the number may be that of an earlier one.
        return ctypes.CDLL(f"/proc/self/fd/{'./' * next(_loads)}{file.fileno()}")


def _load_from_folder(content: bytes) -> ctypes.CDLL:
    with work_folder(_temporary()) as folder:
        (folder.path / "kernels.so").write_bytes(content)
        try:
            return ctypes.CDLL(str(folder.path / "kernels.so"))
        except OSError as error:
            number = errno.ENOMEM if os.strerror(errno.ENOMEM) in str(error) else errno.ENOEXEC
            raise OSError(
                number, f"{_compiler()[0]} makes them, but they cannot be loaded: {error}"
            ) from error


@functools.cache
def _exported() -> tuple[str, ...]:
    """The functions that the library has, as its source says."""
    return tuple(re.findall(r"^EXPORT \w+ (\w+)\(", (SOURCES / "entry.cpp").read_text(), re.MULTILINE))


def cache_folder() -> Path:
    """Return the cache folder of compiled kernels; it may not exist. Raises OSError for a user without a home."""
    # A path that is not absolute does not count, says the standard of these folders.
    if os.path.isabs(base := os.environ.get("XDG_CACHE_HOME", "")):
        return Path(base) / "xnas"
    homes = [os.environ.get("HOME", "")]
    with contextlib.suppress(ImportError, KeyError):
        import pwd

        homes.append(pwd.getpwuid(os.geteuid()).pw_dir)
    if os.name == "nt":
        homes.append(os.path.expanduser("~"))
    for home in homes:
        if os.path.isabs(home):
            return Path(home) / ".cache" / "xnas"
    raise OSError("this user has no home folder to keep them in; set XDG_CACHE_HOME to a folder of your own")


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
    """Name of compiled kernels: a hash of source, command, compiler and processor."""
    known = hashlib.sha256()
    for source in sorted(SOURCES.glob("*.[ch]pp")):
        known.update(source.read_bytes())
    program = Path(shutil.which(command[0]) or command[0]).resolve()
    stat = program.stat()
    for fact in (*command, program, stat.st_size, stat.st_mtime_ns, platform.machine(), _features()):
        known.update(f"{fact}\0".encode())
    return f"kernels-{known.hexdigest()[:16]}.library"


def _features() -> str:
    """The processor's features, from /proc/cpuinfo: machines that share a home must not mix kernels."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
