"""Signals."""

import os
import signal

import pytest

from xnas.io.errors import Interrupted
from xnas.runs.signals import StopRequest, stop_on_signals


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGHUP, 129)],
)
def test_a_signal_waits_for_the_next_check_and_ends_with_128_plus_n(
    number: signal.Signals, code: int
) -> None:
    with stop_on_signals() as stop_request:
        stop_request.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted) as stopped:
            stop_request.check()
    assert stopped.value.exit_code == code
    assert number.name in str(stopped.value)


def test_a_second_signal_acts_at_once() -> None:
    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_listened_to_signals_before_listens_again_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_the_parent_process_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop_request:
            os.kill(os.getpid(), signal.SIGHUP)
            stop_request.check()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_a_signal_nothing_happens() -> None:
    StopRequest().check()
