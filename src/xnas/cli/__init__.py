"""The command line: one file per verb.

Help and mistakes are answered without torch: a verb's file, and with it the engine, is imported when it runs.
"""

import importlib
import io
import os
import sys
from collections.abc import Sequence

from xnas.engine.launch import launched
from xnas.engine.stops import Interrupted, OutOfMemory, RankLost
from xnas.report.whole_file import CannotWrite
from xnas.space.lookup import lookup
from xnas.space.shown import visible

_LONGEST = 2000
"""Characters of a line about a mistake."""

VERBS = {
    "run": "search, retrain, test and report: the whole job",
    "search": "search an architecture",
    "retrain": "train the network of a found or published architecture from scratch, and test it",
    "transfer": "train the network of a found architecture on other images, in a new run folder",
    "resume": "go on with a run that was broken off, exactly from where it was",
    "evaluate": "test the trained network of a run again, here or on other images",
    "export": "write a trained network as safetensors, ONNX, a torch program, or for timm or the Hugging Face Hub",
    "predict": "tell the classes of images",
    "compare": "search with several optimizers and seeds, retrain all alike, and set the results side by side",
    "bench": "search in the space of a benchmark, and look up what the cells reach",
    "experiment": "search and train with several seeds, choose by held-out images, and report mean and spread",
    "sweep": "search and train a whole grid, here or on a Ray cluster: data, spaces, optimizers, seeds, settings",
    "check": "find what is wrong with data before hours are spent on it",
    "show": "look at an architecture: its cells, its cost, its text forms",
    "theory": "see what the paper claims about behaviour played out; work out a step size",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0: done. 1: some images could not be read (predict). 2: a mistake in the input, or numbers that are not finite.
    3: out of memory. 4: the disk takes nothing. 5: another process of the same run was lost. 128 + n: stopped by
    signal n. Under a launcher of several processes this is one of them, and all end with the same code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        launch = launched()
    except ValueError as error:
        print(f"xnas: {error}", file=sys.stderr)
        return 2
    if launch is None:
        return _main(arguments)
    from xnas.engine.serve import run_together

    return run_together(launch, lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ± must not end a run
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"xnas {version('xnas')}")
        return 0
    verb, *rest = arguments
    try:
        module = importlib.import_module(f"xnas.cli.{lookup('verb', verb, VERBS)}")
        return int(module.main(rest))
    except Interrupted as stop:
        print(f"xnas: {_in_one_line(stop)}", file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OutOfMemory, RankLost, OSError) as error:
        # Mistakes in the input end in one line. XNAS_TRACEBACK=1 shows where they were noticed.
        if os.environ.get("XNAS_TRACEBACK"):
            raise
        print(f"xnas: {_in_one_line(error)}", file=sys.stderr)
        return exit_code(error)
    except (RuntimeError, MemoryError) as error:
        # While something is built or tested; courses have a better message of their own.
        from xnas.engine.runtime import is_out_of_memory

        if not is_out_of_memory(error) or os.environ.get("XNAS_TRACEBACK"):
            raise
        print(
            f"xnas: out of memory: {' '.join(str(error).split())[:300]}; use smaller images (--data.image-size), "
            "smaller batches or fewer channels, or a machine with more memory",
            file=sys.stderr,
        )
        return 3


def exit_code(error: Exception) -> int:
    """The code with which the program ends after an error."""
    if isinstance(error, OutOfMemory):
        return 3
    if isinstance(error, RankLost):
        return error.exit_code
    return 4 if isinstance(error, CannotWrite | OSError) else 2


def _in_one_line(error: BaseException) -> str:
    """What an error says, in one line that does nothing to a terminal: a stranger's file may be quoted in it."""
    line = visible(" ".join(str(error).split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def usage() -> str:
    """What `xnas --help` prints."""
    verbs = "\n".join(f"  {verb:<12}{what}" for verb, what in VERBS.items())
    return (
        "usage: xnas VERB [OPTIONS]\n\n"
        "Neural architecture search with expert advice.\n\n"
        f"{verbs}\n\n"
        "xnas VERB --help lists the options of a verb.\n"
        "The whole job on the images that ship with xnas: xnas run --preset quick"
    )
