"""Devices and the environment."""

import os
import sys
import threading

import pytest
import torch

from xnas.io.errors import CannotWrite, Interrupted, OutOfMemory
from xnas.kernels import build
from xnas.kernels.build import CompilerFailed, Kind
from xnas.runs.environment import environment
from xnas.train.device import busy_cores, keeping_process_state, make_repeatable, pick_device, prepare_kernels
from xnas.train.memory import is_out_of_memory, peak_memory, reset_peak_memory


def test_auto_picks_a_device_that_works() -> None:
    assert torch.ones(2, device=pick_device("auto")).sum().item() == 2


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "xpu"])
def test_a_device_that_is_not_there_is_named_with_what_there_is(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"device '{name}'( is not there; this machine has|; use auto, cpu)"
    ):
        pick_device(name)


def test_the_environment_says_versions_hardware_and_device() -> None:
    described = environment(torch.device("cpu"))
    assert described["versions"]["torch"] == torch.__version__  # type: ignore[index]
    assert described["device_name"]
    assert described["cores"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [("memory", OutOfMemory), ("disk", CannotWrite), ("signal", ValueError), ("time", ValueError)],
)
def test_a_compiler_that_was_kept_from_its_work_stops_what_needs_kernels(
    kind: Kind, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*, check: object) -> None:
        raise CompilerFailed("c++ was kept from it", kind)

    monkeypatch.setattr(build, "prepare", fail)
    with pytest.raises(
        error, match=r"could not be compiled: c\+\+ was kept from it; .* by CXX=none"
    ) as caught:
        prepare_kernels(torch.device("cpu"))
    assert type(caught.value) is error
    prepare_kernels(torch.device("meta"))  # needs none

    def interrupted() -> None:
        raise Interrupted(15)

    with pytest.raises(Interrupted):  # which is why it was ended
        prepare_kernels(torch.device("cpu"), check=interrupted)


def test_the_same_seed_gives_the_same_numbers() -> None:
    with keeping_process_state():
        make_repeatable(5)
        first = torch.randn(3)
        make_repeatable(5)
        assert torch.equal(first, torch.randn(3))


def test_threads_that_work_at_once_leave_the_process_as_it_was_before_the_first() -> None:
    before, deterministic = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    first_is_in, second_is_in = threading.Event(), threading.Event()
    still: list[bool] = []

    def first() -> None:
        with keeping_process_state():
            make_repeatable(1)
            first_is_in.set()
            second_is_in.wait(10)

    def second() -> None:
        first_is_in.wait(10)
        with keeping_process_state():
            make_repeatable(2)
            second_is_in.set()
            threads[0].join(10)
            still.append(
                torch.are_deterministic_algorithms_enabled()
            )  # the first has gone, this one computes

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert still == [True]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.are_deterministic_algorithms_enabled() == deterministic


def test_busy_cores_are_between_none_and_all() -> None:
    assert 0 <= busy_cores(0.05) <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("could not create a primitive"), False),
    ],
)
def test_want_of_memory_is_told_from_other_errors(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
def test_a_peak_that_is_forgotten_leaves_what_is_held() -> None:
    cpu = torch.device("cpu")
    blocks = [
        torch.ones(2**15) for _ in range(2000)
    ]  # 250 MiB, in pieces that the allocator keeps when they are freed
    reset_peak_memory(cpu)
    held = peak_memory(cpu)
    del blocks
    assert peak_memory(cpu) >= held - 2**20  # Linux counts the pages of a thread in lots
    reset_peak_memory(cpu)
    assert peak_memory(cpu) < held - 200 * 2**20
