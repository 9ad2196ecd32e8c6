"""What the tests that break things share."""

from collections.abc import Callable, Iterator

import pytest

from .forks import Forks, forking


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Starts commands in processes of their own."""
    with forking(tmp_path_factory.mktemp("forks") / "said") as forks:
        assert forks.start("--version").wait() == 0  # by then everything is imported
        yield forks


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes a figure, for the lines at the end of the tests' output."""
    figures: list[str] = request.config.stash.setdefault(FIGURES, [])
    return figures.append


FIGURES = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The figures of the tests that took any."""
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)
