"""Small images and settings that a whole search takes seconds with."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xnas import Config
from xnas.config.loading import parse_config
from xnas.data.images import DataSet, ImageSet
from xnas.runs.signals import SIGNALS

from .helpers.log_lines import LogLines

TINY = """
[data]
padding = 1
[space]
nodes = 2
channels = 4
cells = 3
[search]
epochs = 2
batch_size = 12
[retrain]
channels = 4
cells = 3
epochs = 2
batch_size = 12
"""
"""A whole job in seconds."""

COLOURS = {"blue": (30, 40, 200), "green": (20, 180, 60), "red": (210, 30, 40)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults", choices=("short", "long"), default="short", help="how often tests/faults breaks things"
    )
    parser.addoption(
        "--paper", choices=("short", "full"), default="short", help="how many games tests/paper plays"
    )


@pytest.fixture(scope="session")
def long_faults(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--faults") == "long")


@pytest.fixture(scope="session")
def full_paper(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--paper") == "full")


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The lines that xnas logs during the test."""
    with LogLines() as lines:
        yield lines.said


@pytest.fixture
def silent(said: list[str]) -> Iterator[None]:
    """Nothing may be logged during the test."""
    yield
    assert said == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What tests print and log of hostile names must be UTF-8 to come from a worker."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # What a test records as a property called figures.
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(f"{report.nodeid.partition('::')[2]}: {value}")


@pytest.fixture
def blank_pictures(long_faults: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports draw no pictures, unless there is time for them."""
    if not long_faults:
        from .helpers.blank_pictures import draw_blank

        draw_blank(monkeypatch.setattr)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run folders that the test makes or changes count as written so by xnas, or by a stranger who knows how."""
    from xnas.runs.finished_files import RunFiles

    from .helpers.sealed_runs import sealing

    monkeypatch.setattr(RunFiles, "digests", sealing(RunFiles.digests))


@pytest.fixture(autouse=True, scope="session")
def _signals_are_heard() -> None:
    # What started the tests may ignore some, as nohup does; what is ignored stays so, in processes that they start too.
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            heard = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, heard)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # Tiny tensors gain nothing from more threads, which burn a core each while they wait for work; nor do those of
    # the processes that tests start.
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def tiny() -> Config:
    return parse_config(TINY, where="the tests")


@pytest.fixture
def tiny_toml(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def coloured(colour: tuple[int, int, int], *, seed: int, size: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-30, 30, (size, size, 3))
    pixels: np.ndarray = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    return pixels


@pytest.fixture(scope="session")
def data() -> DataSet:
    def images(per_class: int, seed: int) -> ImageSet:
        pixels = [
            coloured(colour, seed=1000 * seed + 100 * label + i, size=8)
            for label, colour in enumerate(COLOURS.values())
            for i in range(per_class)
        ]
        return ImageSet(
            images_NCHW=torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(),
            labels_N=torch.arange(3).repeat_interleave(per_class),
            classes=tuple(COLOURS),
        )

    return DataSet(name="colours", train=images(20, 0), test=images(6, 1))


def save_images(root: Path) -> Path:
    for part, count in (("train", 20), ("test", 4)):
        for label, (name, colour) in enumerate(COLOURS.items()):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = coloured(colour, seed=100 * label + i + (7 if part == "test" else 0) * 1000, size=16)
                Image.fromarray(pixels).save(root / part / name / f"{i:03}.png")
    return root


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """train/CLASS/*.png and test/CLASS/*.png of 16 x 16 pixels."""
    return save_images(tmp_path / "images")
