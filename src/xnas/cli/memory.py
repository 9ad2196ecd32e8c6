"""Memory that does not even suffice to load torch, as under `ulimit -v`: told apart from other failures of an import.

This file imports nothing heavy.
"""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from xnas.io.errors import OutOfMemory

_SIGNS = ("failed to map segment", "cannot allocate memory", "std::bad_alloc", "can't start new thread")
"""Messages of the system's loader, C++ and Python where memory for code, numbers or a thread is missing."""
_KILLED = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL, signal.SIGILL, signal.SIGTRAP)
"""Signals that end a process in which a library found no memory while it was loaded."""
_NO_MEMORY = 3
"""The exit code of a child process that found none, and could say so."""
_ROOM = 2**28
"""Bytes that must be left when torch is loaded: with less, what follows ends in the middle of anything."""


def lacks_memory(error: BaseException | None) -> bool:
    """Return whether an error says that there is too little memory, or another does that led to it."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        said = str(error).lower()
        if isinstance(error, ImportError | OSError | RuntimeError | SystemError) and any(
            sign in said for sign in _SIGNS
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def address_limit() -> int | None:
    """Bytes of address space that this process may take; None where there is no limit, or no such thing."""
    try:
        import resource
    except ImportError:
        return None
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=None)


def advice() -> str:
    """Return the remedy for too little memory for torch."""
    limit = address_limit()
    if limit is None:
        return "use a machine with more memory, or end other work on it"
    return f"this process may take {limit / 2**30:.2g} GiB (ulimit -v); raise that limit"


class TorchUnderLimit(MetaPathFinder):
    """Before torch is imported under a limit of memory a child process tries it.

    Where there is too little, torch's C++ parts may end the process on the spot, and nothing would say why.
    """

    tried = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds nothing itself. Raises OutOfMemory."""
        if fullname == "torch" and not self.tried:
            self.tried = True
            if _try_in_child() in (_NO_MEMORY, *(-number for number in _KILLED)):
                raise OutOfMemory(f"out of memory: there is too little to load torch; {advice()}")
        return None


def watch_torch() -> None:
    """Have torch tried first, if this process is under a limit and has not imported it yet."""
    watched = any(isinstance(finder, TorchUnderLimit) for finder in sys.meta_path)
    if address_limit() is not None and not watched and "torch" not in sys.modules and hasattr(os, "fork"):
        sys.meta_path.insert(0, TorchUnderLimit())


def _try_in_child() -> int:
    """Return the exit code of a process that loads what trains, with a little less memory; minus the signal that
    ended it."""
    child = os.fork()
    if child == 0:
        try:
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
                soft, hard = resource.getrlimit(kind)
                if soft != resource.RLIM_INFINITY:
                    resource.setrlimit(kind, (max(soft - _ROOM, 0), hard))
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            from xnas.train.memory import take_memory_early

            take_memory_early()
        except BaseException as error:  # what has another reason is tried again, and says what it was
            os._exit(_NO_MEMORY if lacks_memory(error) else 1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
