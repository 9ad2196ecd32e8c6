"""What comes of a command whose output nobody takes: the reader has left, the disk is full, the stream is closed."""

import errno
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load

from xnas.cli import main
from xnas.cli.streams import steady_streams

pytestmark = pytest.mark.usefixtures("blank_pictures")


_OPENED: list[io.TextIOWrapper] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while _OPENED:
        _OPENED.pop().close()


def opened(number: int, *, unbuffered: bool = False) -> io.TextIOWrapper:
    """A stream as Python opens standard output."""
    raw = os.fdopen(number, "wb", 0)
    stream = io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw), encoding="utf-8", write_through=unbuffered
    )
    _OPENED.append(stream)
    return stream


def nobody_reads(**how: bool) -> io.TextIOWrapper:
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    return opened(writer, **how)


def full(**how: bool) -> io.TextIOWrapper:
    """A file on a disk without room."""
    return opened(os.open("/dev/full", os.O_WRONLY), **how)


KINDS = {"left": nobody_reads, "full": full, "closed": lambda **how: None}


@pytest.fixture(params=[False, True], ids=["buffered", "unbuffered"])
def unbuffered(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What goes to standard error from now on. Pytest puts its own there before each test, after the fixtures."""
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    return text


def run_files(run: Path) -> dict[str, object]:
    """What a run leaves that says its result."""
    names = ("metrics.jsonl", "genotype.json", "result.json")
    weights = load((run / "checkpoints" / "network.safetensors").read_bytes())
    return {
        **{name: (run / name).read_bytes() for name in names},
        **{name: value.numpy().tobytes() for name, value in weights.items()},
    }


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, object]:
    """Filled by the first run of the test below."""
    return {}


@pytest.mark.parametrize("kind", ["taken", *KINDS])
def test_a_run_whose_output_nobody_takes_ends_with_the_same_files_and_code(
    kind: str,
    undisturbed: dict[str, object],
    tiny_toml: Path,
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["run", "--config", str(tiny_toml), "--data", str(image_folder), "--threads", "1"]
    complaints = said(monkeypatch)
    if kind != "taken":
        monkeypatch.setattr(sys, "stdout", KINDS[kind]())
    assert main([*words, "--runs", str(tmp_path / "runs"), "--name", "mine"]) == 0
    found = run_files(tmp_path / "runs" / "mine")
    assert found == (undisturbed or found)
    undisturbed.update(found)
    lost = "xnas: cannot write the output: No space left on device; the work continues\n"
    assert complaints.getvalue() == (lost if kind == "full" else "")


@pytest.mark.parametrize(("kind", "code"), [("left", 0), ("full", 4), ("closed", 0)])
@pytest.mark.parametrize(
    "words",
    ["show --genotype xnas", "--help", "--version", "run --help", "check IMAGES", "check IMAGES --json"],
)
def test_what_only_prints_ends_quietly_without_a_reader_and_with_4_without_room(
    words: str,
    kind: str,
    code: int,
    unbuffered: bool,
    image_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complaints = said(monkeypatch)
    monkeypatch.setattr(sys, "stdout", KINDS[kind](unbuffered=unbuffered))
    try:
        found = main(words.replace("IMAGES", str(image_folder)).split())
    except SystemExit as end:  # after the help
        found = int(end.code or 0)
    assert found == code
    assert complaints.getvalue() == (
        "xnas: cannot write the output: No space left on device\n" if code else ""
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_keeps_its_code_where_nobody_takes_its_line(
    kind: str, unbuffered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", KINDS[kind](unbuffered=unbuffered))
    assert main(["show", "--genotype", "xnass"]) == 2


@pytest.mark.parametrize("kind", ["left", "full"])
def test_nothing_fails_after_the_streams_were_steady(
    kind: str, unbuffered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = KINDS[kind](unbuffered=unbuffered)
    monkeypatch.setattr(sys, "stdout", stream)
    with steady_streams():
        for _ in range(3):
            sys.stdout.write("x" * 100_000)
            sys.stdout.flush()
        sys.stdout.write("the rest")
    assert sys.stdout is stream
    stream.close()  # as Python does at its end, where a failure is exit code 120


def test_a_pipe_that_is_full_and_does_not_wait_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    monkeypatch.setattr(sys, "stdout", opened(writer))
    found = bytearray()

    def read() -> None:
        while part := os.read(reader, 1000):
            found.extend(part)

    reading = threading.Thread(target=read)
    with steady_streams():
        reading.start()
        sys.stdout.write("x" * 1_000_000)
    sys.stdout.close()
    reading.join()
    os.close(reader)
    assert found == b"x" * 1_000_000


def test_a_closed_descriptor_is_not_taken_by_the_next_file(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number in range(3):
                os.close(number)
            sys.stdout = sys.stderr = None  # type: ignore[assignment]
            with steady_streams():
                handle = os.open(tmp_path / "checkpoint", os.O_WRONLY | os.O_CREAT)
                sys.stdout.write("nobody reads this")
                os.write(2, b"nor what C++ writes")
                code = 0 if handle > 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "checkpoint").read_bytes() == b""


def test_other_broken_pipes_are_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints = said(monkeypatch)

    def worker_is_gone(*given: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("xnas.cli.show.read_genotype", worker_is_gone)
    assert main(["show", "--genotype", "xnas"]) == 4
    assert complaints.getvalue().count("\n") == 1
