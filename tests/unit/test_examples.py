"""The examples run as they stand."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_model_of_ones_own_is_searched_in_a_plain_loop(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("own_model", EXAMPLES / "own_model.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    chosen = example.main(epochs=1)
    assert set(chosen) == {"kernel", "activation", "block"}
    assert chosen["kernel"] != "1x1"
    printed = capsys.readouterr().out
    assert "kernel: 1 forecasters, N = 3 experts" in printed
    assert "is out of" in printed
