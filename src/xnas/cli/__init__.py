"""The command line: one file per command.

Help and mistakes are answered without torch: a command's file, and with it the engine, is imported when it runs.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from xnas.cli.caches import private_caches
from xnas.cli.memory import advice, lacks_memory, watch_torch
from xnas.cli.streams import Output, ReaderLeft, steady_streams
from xnas.io.errors import CannotWrite, Interrupted, OutOfMemory, RankLost, exit_code
from xnas.io.text import choose, printable
from xnas.train.launch import launched

_LONGEST = 2000
"""Characters of a line about a mistake."""

COMMANDS = {
    "run": "search, retrain, test and report: the whole job",
    "search": "search an architecture",
    "retrain": "train the network of a found or published architecture from scratch, and test it",
    "transfer": "train the network of a found architecture on other images, in a new run folder",
    "resume": "resume a run or a study that was interrupted, exactly from where it was",
    "evaluate": "test the trained network of a run again, here or on other images",
    "export": "write a trained network as safetensors, ONNX, a torch program, or for timm or the Hugging Face Hub",
    "predict": "tell the classes of images",
    "compare": "search with several methods and seeds, retrain all alike, and set the results side by side",
    "bench": "search in the space of a benchmark, and look up what the cells reach",
    "experiment": "search and train with several seeds, choose by held-out images, and report mean and spread",
    "sweep": "search and train a whole grid, here or on a Ray cluster: data, spaces, methods, seeds, settings",
    "check": "find what is wrong with data before hours are spent on it",
    "show": "look at an architecture: its cells, its cost, its text forms",
    "theory": "see what the paper claims about behaviour played out; work out a step size",
}


STUDIES = ("compare", "bench", "experiment", "sweep")
"""Commands that are functions of cli/study.py; every other is `main` of a file of its name."""
ALONE = ("export", "predict", "check", "show", "theory")
"""Commands that need no other process, and do not look at what a launcher says."""
PRINT = ("evaluate", "predict", "check", "show")
"""Commands that leave nothing but what they print: they end where nobody reads it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0: done. 1: some images could not be read (predict). 2: a mistake in the input, or numbers that are not finite.
    3: out of memory. 4: cannot write to disk. 5: another process of the same run was lost. 128 + n: stopped by
    signal n. Under a launcher of several processes this is one of them, and all end with the same code. A reader of the
    output that leaves, or a full log, changes neither a run nor its code; what only prints then ends with 0, or 4.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    watch_torch()
    with steady_streams() as output, private_caches():
        return _guarded(lambda: _start(arguments, output))


def _start(arguments: list[str], output: Output) -> int:
    command = arguments[0] if arguments else ""
    asks = command not in COMMANDS or not {"-h", "--help"}.isdisjoint(arguments)
    output.matters(asks or command in PRINT)
    launch = None if asks or command in ALONE else launched()
    if launch is None:
        return _main(arguments, alone=True)
    from xnas.train.distributed import run_rank

    return run_rank(launch, lambda: _main(arguments, alone=False), guard=_guarded)


def _main(arguments: list[str], *, alone: bool) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"xnas {version('xnas')}")
        return 0
    command, *rest = arguments
    choose("command", command, COMMANDS)
    module = importlib.import_module(f"xnas.cli.{'study' if command in STUDIES else command}")
    if hasattr(module, "request"):
        run = partial(_run_request, module.request, alone=alone)
    else:
        run = getattr(module, command if command in STUDIES else "main")
    if not {"-h", "--help"}.isdisjoint(rest):
        return int(run(rest))
    from xnas.report.terminal import log_to_terminal

    with log_to_terminal():
        return int(run(rest))


def _run_request(read: Callable[[list[str]], Any], argv: list[str], *, alone: bool) -> int:
    """Do the run that the words ask for: on every rank the one that rank 0 reads."""
    # Without other ranks a mistake is told, and help given, before torch is imported.
    request = read(argv) if alone else None
    from xnas.train.pipeline import run_request

    return run_request(lambda: request or read(argv)) or 0


def _print_error(error: BaseException, code: int, line: str) -> None:
    if not isinstance(error, KeyboardInterrupt):
        print(f"xnas: {line}", file=sys.stderr)


def _guarded(work: Callable[[], int], fail: Callable[[BaseException, int, str], None] = _print_error) -> int:
    """Return the exit code of some work; `fail` is told of an error that ends it, the code and the line that says
    why."""

    def told(error: BaseException, code: int, line: str = "") -> int:
        fail(error, code, line or _in_one_line(error))
        return code

    try:
        try:
            code = work()
        except SystemExit:  # after the help of a command
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return code
    except ReaderLeft:
        return 0
    except Interrupted as stop:
        return told(stop, stop.exit_code)
    except KeyboardInterrupt as stop:
        return told(stop, 130, "stopped by SIGINT")
    except (ValueError, OutOfMemory, RankLost, OSError, RuntimeError, MemoryError, ImportError) as error:
        # Mistakes in the input end in one line. XNAS_TRACEBACK=1 shows where they were noticed.
        if os.environ.get("XNAS_TRACEBACK"):
            raise
        if isinstance(error, ValueError | OutOfMemory | RankLost | CannotWrite):
            return told(error, exit_code(error))
        # While something is loaded, built or tested; training has a better message of its own.
        if _is_out_of_memory(error):
            return told(error, 3, f"out of memory: {_in_one_line(error)[:300]}; {_more_room()}")
        if isinstance(error, OSError):
            return told(error, exit_code(error))
        raise


def _is_out_of_memory(error: Exception) -> bool:
    if lacks_memory(error):
        return True
    memory = sys.modules.get("xnas.train.memory")  # without it nothing was computed
    return memory is not None and bool(memory.is_out_of_memory(error))


def _more_room() -> str:
    if "xnas.train.device" not in sys.modules:
        return advice()
    return "use smaller images (--data.image-size), smaller batches or fewer channels, or a machine with more memory"


def _in_one_line(error: BaseException) -> str:
    """Return an error's message in one line, safe for a terminal: it may quote a file of unknown origin."""
    line = printable(" ".join(str(error).split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def usage() -> str:
    """Return the text of `xnas --help`."""
    commands = "\n".join(f"  {command:<12}{what}" for command, what in COMMANDS.items())
    return (
        "usage: xnas COMMAND [OPTIONS]\n\n"
        "Neural architecture search with expert advice.\n\n"
        f"{commands}\n\n"
        "xnas COMMAND --help lists the options of a command.\n"
        "The whole job on the images that ship with xnas: xnas run --preset quick"
    )
