"""xnas check: find what is wrong with data before hours are spent on it."""

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xnas.cli.args import parse
from xnas.config.limits import check_decode_memory, check_text

if TYPE_CHECKING:
    from rich.console import Console

    from xnas.data.issues import ClassCount, Issue, Report

log = logging.getLogger(__name__)

FORMAT, VERSION = "xnas-check", 1
LARGE = 2000
"""Images from which on looking at them is worth a line on how far it is."""
MOST_CLASSES = 40
"""Classes that are printed one by one; --json has them all."""
LONG = 200


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """The data to check."""

    data: Annotated[str, tyro.conf.Positional]
    """A folder of images, or a data set by name."""
    root: Annotated[Path | None, tyro.conf.arg(aliases=("--data.root",))] = None
    """Where the files of a named data set are, or are downloaded to."""
    image_size: Annotated[int | None, tyro.conf.arg(aliases=("--data.image-size",))] = None
    """Side in pixels to which a run would bring the images of the folder; by default their own or a middle size."""
    download: Annotated[bool, tyro.conf.arg(aliases=("--data.download",))] = False
    """Fetch a named data set whose files are missing."""
    fold: Annotated[int | None, tyro.conf.arg(aliases=("--data.fold",))] = None
    """Which of freiburg's five official folds, 0 to 4; by default the first."""
    decode_memory: Annotated[float, tyro.conf.arg(aliases=("--data.decode-memory",))] = 2.0
    """GiB of memory that decoding takes at most; an image that would take more than half of it is an error."""
    json: bool = False
    """Print the findings as JSON, and nothing else."""

    def __post_init__(self) -> None:
        if self.image_size is not None and self.image_size < 8:
            raise ValueError(f"image_size must be at least 8; got {self.image_size}")
        check_decode_memory("decode_memory", self.decode_memory)
        check_text("data", self.data)


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0 clean or warnings only, 2 with errors."""
    description = "Go through labelled images and list everything that is wrong with them."
    arguments = parse(CheckArguments, argv, command="check", description=description)
    from xnas.data.check import check_data
    from xnas.report.terminal import console

    terminal = console()
    if arguments.json and terminal is not None:
        terminal.file = sys.stderr  # lines on the way must not get into the JSON
    started = time.monotonic()
    with _progress(terminal) as progress:
        report = check_data(
            arguments.data,
            root=arguments.root,
            image_size=arguments.image_size,
            download=arguments.download,
            fold=arguments.fold,
            decode_memory=arguments.decode_memory,
            progress=progress,
        )
    if arguments.json:
        print(_json(report))
    else:
        for line in _lines(report, seconds=time.monotonic() - started):
            log.info(line)
    return 2 if report.errors else 0


@contextmanager
def _progress(console: "Console | None") -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line at every quarter elsewhere."""
    if console is None or not console.is_terminal:

        def log_quarter(done: int, total: int) -> None:
            if total >= LARGE and done % -(-total // 4) == 0:
                log.info(f"looked at {done:,} of {total:,} images")

        yield log_quarter
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("looking at images"), BarColumn(), MofNCompleteColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _json(report: "Report") -> str:
    counts = {"errors": report.errors, "warnings": report.warnings}
    return json.dumps(
        {"format": FORMAT, "version": VERSION, **dataclasses.asdict(report), **counts}, indent=2
    )


def _lines(report: "Report", *, seconds: float) -> Iterator[str]:
    for title, is_error in (
        ("errors: a run would stop, or its result be worthless", True),
        ("warnings: a run continues", False),
    ):
        found = [finding for finding in report.findings if finding.error == is_error]
        if found:
            yield title
            for finding in found:
                yield from _finding_lines(finding)
            yield ""
    if report.classes:
        yield from _class_lines(report.classes, split=report.split)
        yield ""
    said = f"{_plural(report.errors, 'error')}, {_plural(report.warnings, 'warning')}"
    if not report.findings:
        said = "nothing wrong was found"
    yield f"{_printable(report.source)}, {report.holds}: {said} ({seconds:.1f} s)"


def _finding_lines(finding: "Issue") -> Iterator[str]:
    yield f"  {finding.title}: {finding.count:,}"
    for example in finding.examples:
        yield f"    {_printable(example)}"
    if finding.count > len(finding.examples):
        yield f"    and {finding.count - len(finding.examples):,} more"
    yield f"    -> {finding.remedy}"


def _class_lines(classes: "Sequence[ClassCount]", *, split: bool) -> Iterator[str]:
    names = [_printable(item.name) for item in classes]
    width = max(map(len, ("class", *names)))
    shown = list(zip(names, classes, strict=True))
    hidden = len(shown) - MOST_CLASSES
    if hidden > 0:
        shown.sort(key=lambda row: row[1].train)
    yield f"{'class':<{width}}  {'train':>8}" + ("" if split else f"  {'test':>8}")
    for number, (name, item) in enumerate(shown):
        if hidden > 0 and number == MOST_CLASSES // 2:
            yield f"... {hidden:,} classes between these in size; --json has them all"
        if hidden <= 0 or not MOST_CLASSES // 2 <= number < len(shown) - MOST_CLASSES // 2:
            yield f"{name:<{width}}  {item.train:>8,}" + ("" if split else f"  {item.test:>8,}")
    if split:
        yield "There are no test images: a run sets some of these aside."


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _printable(text: str) -> str:
    """Return a name that is safe for a terminal, and shortened."""
    plain = text if text.isprintable() else text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return plain if len(plain) <= LONG else f"{plain[: LONG // 2]}...{plain[-LONG // 2 :]}"
