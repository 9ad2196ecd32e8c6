"""What the tests that break things share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..helpers.fork_server import Forks, forking
from ..helpers.smallest_run import SMALLEST


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory, long_faults: bool) -> Iterator[Forks]:
    """Starts commands in processes of their own."""
    with forking(tmp_path_factory.mktemp("forks") / "said", blank=not long_faults) as forks:
        assert forks.start("--version").wait() == 0  # by then everything is imported
        yield forks


@pytest.fixture
def settings(image_folder: Path, tmp_path: Path, blank_pictures: None) -> list[str]:
    """The smallest job, as words of the command line."""
    (tmp_path / "smallest.toml").write_text(SMALLEST)
    images = ["--data", str(image_folder), "--device", "cpu", "--threads", "1"]
    return ["--config", f"{tmp_path}/smallest.toml", *images]


@pytest.fixture
def words(settings: list[str], tmp_path: Path) -> list[str]:
    """A search in runs/mine."""
    return ["search", *settings, "--runs", f"{tmp_path}/runs", "--name", "mine"]
