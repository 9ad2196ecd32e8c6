"""Processes that read images: deaf to signals, gone with the program however it ends, missed when they die."""

import errno
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import torch

from xnas.data.files.folder import read_folder
from xnas.data.images import Images

STREAM = """
import sys, time
from pathlib import Path
import torch
from xnas.data.files.folder import read_folder
data = read_folder(Path(sys.argv[1]), image_size=None, test_fraction=0.2, seed=0, workers=2)
stream = data.train.stream(torch.arange(60).split(4))
next(stream)
print(*[process.pid for process in data.train.files.workers.processes], flush=True)
"""
"""A program of a user's own, without a guard for processes that would run it again."""


def read(root: Path) -> Images:
    return read_folder(root, image_size=None, test_fraction=0.2, seed=0, workers=2).train


def lots() -> tuple[torch.Tensor, ...]:
    return torch.arange(60).split(4)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")  # what has ended may wait for a parent that never asks
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def all_gone(pids: list[int], *, seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if all(map(gone, pids)):
            return True
        time.sleep(0.02)
    return False


def test_workers_import_no_torch():
    code = "import sys, xnas.data.files.readers; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_workers_do_not_hear_signals_that_are_for_the_training(image_folder):
    images = read(image_folder)
    stream = images.stream(lots())
    first = next(stream)
    for process in images.files.workers.processes:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            process.send_signal(number)
    assert torch.cat([first, *stream]).equal(torch.cat(list(images.chunks())))
    assert [process.poll() for process in images.files.workers.processes] == [None, None]


def test_this_process_hears_signals_as_before(image_folder):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    read(image_folder)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_the_death_of_a_worker_is_an_error_and_not_a_wait(image_folder):
    images = read(image_folder)
    stream = images.stream(lots())
    next(stream)
    for process in images.files.workers.processes:
        process.kill()
    with pytest.raises(
        ValueError, match=r"process that reads images has ended \(exit code -9\).*--data.workers"
    ):
        list(stream)


def test_processes_that_cannot_be_started_are_an_error_and_those_that_were_end(image_folder, monkeypatch):
    started = []

    def start(*arguments, **settings):
        if started:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        started.append(popen(*arguments, **settings))
        return started[0]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(
        ValueError, match=r"cannot start 2 processes .*: Too many open files; use fewer --data.w"
    ):
        read(image_folder)
    gc.collect()
    assert started[0].poll() == -signal.SIGKILL


@pytest.mark.parametrize("started", [False, True])
def test_workers_end_with_the_sets_that_they_read_for(image_folder, started):
    images = read(image_folder)
    workers = weakref.ref(images.files.workers)
    processes = list(images.files.workers.processes)
    stream = images.stream(lots())
    if started:
        next(stream)
    part = images.subset(torch.arange(10))
    del images, stream
    gc.collect()
    assert [process.poll() for process in processes] == [None, None]
    assert len(part.pixels(torch.arange(10))) == 10
    del part
    gc.collect()
    assert workers() is None
    assert [process.poll() for process in processes] == [-signal.SIGKILL] * 2
    assert all(process.stdin.closed and process.stdout.closed for process in processes)


def test_batches_that_were_asked_for_in_vain_are_dropped_with_their_stream(image_folder):
    images = read(image_folder)
    stream = images.stream(lots())
    next(stream)
    stream.close()
    assert torch.cat(list(images.stream(lots()))).equal(torch.cat(list(images.chunks())))


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "del stream, data"])
def test_a_program_that_ends_leaves_no_worker_and_says_nothing(image_folder, end):
    program = [sys.executable, "-W", "error", "-c", STREAM + end, str(image_folder)]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    assert all_gone([int(pid) for pid in done.stdout.split()])


def test_a_program_that_is_killed_leaves_no_worker(image_folder):
    program = [sys.executable, "-c", STREAM + "time.sleep(60)", str(image_folder)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as running:
        pids = [int(pid) for pid in running.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(map(gone, pids))
        running.kill()
    assert all_gone(pids)
