"""What processes tell each other is counted and timed."""

import json

import pytest
import torch

from benchmarks.communication import main, measure
from benchmarks.options import Options


def test_a_process_alone_tells_others_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        main("sample", small=True)
    finally:
        torch.set_num_threads(threads)
    told = json.loads(capsys.readouterr().out)
    assert list(told["bytes"]) == ["gradients"]  # what two would have to
    assert min(told["seconds"]) > 0


@pytest.mark.long
def test_two_processes_are_measured_against_one() -> None:
    figures = measure(Options(n=1, small=True))
    assert len({found.name for found in figures}) == len(figures)
    assert all(value > 0 for found in figures for value in found.values)
