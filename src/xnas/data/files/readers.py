"""Processes that read images while the training process trains.

Each is a fresh interpreter that imports neither torch nor the program that started it, so that it is there in a tenth
of a second, in 30 MB. It takes requests from its standard input, a line of JSON each: {"paths": [...], "form": {...},
"keys": [...] or null, "gib": the budget of memory for decoding, "share": among how many its half is divided}. To each
it answers on its standard output: a line of JSON, {"broken": {"place": "reason"}, "left": the places of those that take
more than its share}, then the pixels, uint8 BCHW. What it left is read in the training process. It ends when its input
does, however the training process ended.
B: images of a batch; C H W: channels, height, width.
"""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from xnas.data.files.decode import Broken, DecodeSpec, attempt, read_batch, read_image
from xnas.data.files.decode_memory import DEFAULT, DecodeMemory

HELD = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
"""Signals that are for the training process, which needs its images until it has decided to end."""
PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from xnas.data.files.readers import serve; serve()"

Answer = tuple[NDArray[np.uint8], dict[int, str]]
"""Pixels, BCHW, and for each image that is broken its place and the reason."""
Process = subprocess.Popen[bytes]


class ReaderPool:
    """Processes for many batches of many sets; they end with this object or the program, whichever is first.

    Raises ValueError if they cannot be started.
    """

    def __init__(self, count: int, *, gib: float = DEFAULT) -> None:
        assert count > 0, count
        self.count = count
        self.memory = DecodeMemory(gib, processes=count)
        # One thread for each process waits for its answers and copies them, beside the training.
        self.threads = ThreadPoolExecutor(count, thread_name_prefix="images")
        self.idle: SimpleQueue[Process] = SimpleQueue()
        self.processes: list[Process] = []
        weakref.finalize(self, _end, self.threads, self.processes)
        try:
            for _ in range(count):
                self.processes.append(_start())
                self.idle.put(self.processes[-1])
        except OSError as error:
            raise ValueError(
                f"cannot start {count} processes that read images: {error.strerror}; use fewer --data.workers"
            ) from error

    def submit(
        self, paths: Sequence[str], form: DecodeSpec, keys: Sequence[int] | None = None
    ) -> Future[Answer]:
        """The pixels and the broken ones of `read_batch`, later.

        The future raises ValueError if a process has ended before its time.
        """
        return self.threads.submit(_ask, self.idle, paths, form, keys, self.memory, self.count)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve() -> None:
    """Answer requests until there are no more; the life of a worker."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            memory = DecodeMemory(request["gib"], share=request["share"])
            pixels_BCHW, reasons, left = read_batch(
                request["paths"], DecodeSpec(**request["form"]), request["keys"], memory=memory
            )
            answers.write(json.dumps({"broken": reasons, "left": left}).encode() + b"\n")
            answers.write(pixels_BCHW.data)
            answers.flush()
    except BrokenPipeError:
        os._exit(0)  # nobody listens any more; a flush at exit would complain


def _start() -> Process:
    with _signals_held():
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )


@contextmanager
def _signals_held() -> Iterator[None]:
    """A process that is started within it never sees these signals: it inherits which are held back."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.Signals[name] for name in HELD])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ask(
    idle: "SimpleQueue[Process]",
    paths: Sequence[str],
    form: DecodeSpec,
    keys: Sequence[int] | None,
    memory: DecodeMemory,
    share: int,
) -> Answer:
    process = idle.get()
    try:
        pixels_BCHW, reasons, left = _exchange(process, paths, form, keys, memory.gib, share)
    finally:
        idle.put(process)
    for place in left:
        key = keys[place] if keys else None
        image = attempt(partial(read_image, form=form, key=key, memory=memory), paths[place])
        if isinstance(image, Broken):
            reasons[place] = image.reason
        else:
            pixels_BCHW[place] = image
    return pixels_BCHW, reasons


def _exchange(
    process: Process,
    paths: Sequence[str],
    form: DecodeSpec,
    keys: Sequence[int] | None,
    gib: float,
    share: int,
) -> tuple[NDArray[np.uint8], dict[int, str], list[int]]:
    assert process.stdin is not None
    assert isinstance(process.stdout, io.BufferedReader)
    pixels_BCHW = np.empty((len(paths), *form.shape), dtype=np.uint8)
    request = json.dumps(
        {"paths": paths, "form": dataclasses.asdict(form), "keys": keys, "gib": gib, "share": share}
    )
    try:
        process.stdin.write(request.encode() + b"\n")
        process.stdin.flush()
        head = process.stdout.readline()
        received = process.stdout.readinto(pixels_BCHW.data)
    except OSError:
        head, received = b"", 0
    if not head or received < pixels_BCHW.nbytes:
        raise ValueError(
            f"a process that reads images has ended (exit code {process.wait()}), perhaps for lack of memory; use "
            "fewer --data.workers, or 0 to read without them"
        )
    said = json.loads(head)
    return pixels_BCHW, {int(place): reason for place, reason in said["broken"].items()}, said["left"]


def _end(threads: ThreadPoolExecutor, processes: list[Process]) -> None:
    """At once: they only read, so nothing is lost with them."""
    for process in processes:
        process.kill()
    threads.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with suppress(OSError), process:  # closes its pipes and waits for its end
            pass
