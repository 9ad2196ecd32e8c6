"""The table of NAS-Bench-201: the test accuracy of each of its 15,625 cells, which others trained (Dong and Yang 2020).

An accuracy is in per cent, on test images, after 200 epochs, the mean over the seeds that the cell was trained with. On
CIFAR-10 the cell was trained on all 50,000 training images; on CIFAR-100 and ImageNet16-120 the test images are those
that the benchmark does not validate on. The table is read from either of two forms:

- CSV: `nats_bench.csv` of github.com/v-tao/nats-bench-landscape, one line a cell;
- NATS-Bench: a folder or file of the benchmark's authors, its name starting with NATS-tss, by their package
  `nats_bench`. Loading them so can run any code that is in them: give it the authors' files alone.
"""

import csv
import difflib
import io
import re
from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

from xnas.io.safe_read import check_place, exists, open_regular, read_regular_text
from xnas.io.text import printable, short_repr
from xnas.space.names import NASBENCH201_OPERATIONS as OPERATIONS
from xnas.space.nasbench201.genotype import EDGES, FORM, PATTERN, every_genotype

DATA_SETS: Mapping[str, str] = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet16_120": "ImageNet16-120",
}
"""The fields of `Accuracies`, and the names of their data sets."""

MOST_BYTES = 10_000_000
"""The most bytes of a table in CSV, which has about two million."""

_ANY_SIZE = 2**62
"""The most bytes of a file of which only the start is read."""
_LONGEST_SHOWN = 120

_ARCHITECTURE = "ArchitectureString"
_COLUMNS = {
    "cifar10": "CIFAR10TestAccuracy200Epochs",
    "cifar100": "CIFAR100TestAccuracy200Epochs",
    "imagenet16_120": "ImageNetTestAccuracy200Epochs",
}
_NATS_BENCH_NAMES = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16_120": "ImageNet16-120"}

_CSV_SOURCE = "nats_bench.csv of github.com/v-tao/nats-bench-landscape"
_NATS_BENCH_SOURCE = "NATS-tss-v1_0-3ffb9-simple of github.com/D-X-Y/NATS-Bench"
SOURCES = f"{_CSV_SOURCE}, or {_NATS_BENCH_SOURCE}"
"""The sources of a table, for errors."""
_WHAT = "table of NAS-Bench-201"
_RESTORE = f"restore the file, or get {_CSV_SOURCE} again"


@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """Test accuracies of one cell, in per cent. Raises ValueError for what is not in [0, 100]."""

    cifar10: float
    cifar100: float
    imagenet16_120: float

    def __post_init__(self) -> None:
        for key, name in DATA_SETS.items():
            value = getattr(self, key)
            if not 0 <= value <= 100:  # nor is a NaN
                raise ValueError(f"the accuracy on {name} must be in per cent, in [0, 100]; got {value}")


PUBLISHED_BEST = Accuracies(cifar10=94.37, cifar100=73.51, imagenet16_120=47.31)
"""The optimum of each data set (Dong and Yang 2020, "optimal" in the table of results), to two decimals."""


@dataclass(frozen=True, kw_only=True)
class Nasbench201Table:
    """The accuracies of all 15,625 cells, by architecture string.

    Raises ValueError, naming `source`, unless every architecture is there and the optima are as published.
    """

    accuracies: Mapping[str, Accuracies] = field(repr=False)
    source: Path
    form: str
    """The form of the source: "CSV" or "NATS-Bench"."""

    def __post_init__(self) -> None:
        _check_complete(self.accuracies.keys(), self.source)
        for key, name in DATA_SETS.items():
            best, published = (f"{getattr(each, key):.2f}" for each in (self.best, PUBLISHED_BEST))
            if best != published:
                raise ValueError(
                    f"{self.source}: the best accuracy on {name} is {best} %, published is {published} %; "
                    f"it must hold test accuracies after 200 epochs, in per cent: take {SOURCES}"
                )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the table at `path`: NATS-Bench if its name starts with NATS-tss, else CSV.

        Raises ValueError in one line that names the file, the line or value, and the remedy, for a table that is
        missing, damaged, incomplete or another one, and where `nats_bench` is needed and not installed.
        """
        if not exists(path):
            raise ValueError(f"there is no {_WHAT} at {path}; get {SOURCES}, and give its path")
        if must_be_trusted(path):
            return cls(accuracies=_read_nats_bench(path), source=path, form="NATS-Bench")
        _check_form(path)
        return cls(accuracies=_read_csv(path), source=path, form="CSV")

    def __getitem__(self, architecture: str) -> Accuracies:
        """Return the accuracies of a cell. Raises ValueError, naming the nearest, for what is no architecture."""
        try:
            return self.accuracies[architecture]
        except KeyError:
            raise ValueError(_unknown(architecture)) from None

    @cached_property
    def best(self) -> Accuracies:
        """The optimum of each data set; no one cell has all three."""
        return Accuracies(
            **{key: max(getattr(each, key) for each in self.accuracies.values()) for key in DATA_SETS}
        )

    def rank(self, architecture: str) -> int:
        """Return the rank of a cell among all by accuracy on CIFAR-10: 1 is the best, and equals share the better rank.

        Raises ValueError as a lookup does.
        """
        accuracy = self[architecture].cifar10
        return 1 + len(self._ascending) - bisect_right(self._ascending, accuracy)

    @cached_property
    def _ascending(self) -> list[float]:
        return sorted(each.cifar10 for each in self.accuracies.values())


def must_be_trusted(path: Path) -> bool:
    """Return whether reading the table there can run code that is in it, which only the caller can allow."""
    return path.absolute().name.startswith("NATS-tss")


_FORMS = {
    b"PK\x03\x04": "a zip archive, as torch and spreadsheets write",
    b"\x80": "a pickle, as torch writes",
    b"\x1f\x8b": "packed by gzip",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"SQLite format": "a database",
    b"%PDF": "a PDF",
    b"{": "JSON",
    b"<": "a page of HTML",
}
"""The first bytes of files that are taken for a table, and are no CSV."""


def _check_form(path: Path) -> None:
    """Raise ValueError for a file in another form than CSV, by its name or its first bytes."""
    wanted = (
        f"give {_CSV_SOURCE}, or with the package nats_bench {_NATS_BENCH_SOURCE}, each under its own name"
    )
    name = path.absolute().name
    if name.startswith("NAS-Bench-201") and path.suffix != ".csv":
        raise ValueError(
            f"{path} is the benchmark in its older form, a pickle of torch for nas_201_api, which xnas does "
            f"not read; {wanted}"
        )
    if name.startswith("NATS-sss"):
        raise ValueError(
            f"{path} is of the other search space of NATS-Bench, that of sizes; NAS-Bench-201 is that of topologies, "
            f"NATS-tss; {wanted}"
        )
    if path.is_dir():
        raise ValueError(f"{path} is a folder, and no {_WHAT}; {wanted}")
    with open_regular(path, what=_WHAT, most=_ANY_SIZE) as file:
        try:
            start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
        except OSError as error:
            raise ValueError(f"cannot read the {_WHAT} {path}: {error.strerror or error}") from None
    for magic, what in _FORMS.items():
        if start.startswith(magic):
            raise ValueError(f"{path} is {what}, and no {_WHAT} in CSV; {wanted}")


@cache
def _every_architecture() -> frozenset[str]:
    return frozenset(genotype.text for genotype in every_genotype())


def _check_complete(architectures: Collection[str], source: Path) -> None:
    """Raise ValueError unless these are the architectures of NAS-Bench-201, all of them."""
    every = _every_architecture()
    for unknown in set(architectures) - every:
        raise ValueError(f"{source}: {_unknown(unknown)}")
    if missing := every - set(architectures):
        raise ValueError(
            f"{source} has {len(every) - len(missing):,} of the {len(every):,} architectures of "
            f"NAS-Bench-201; {min(missing)} is missing; get {SOURCES}"
        )


def _unknown(text: str) -> str:
    hint = f"did you mean {near}?" if (near := _neighbour(text)) else f"the form is {FORM}"
    shortened = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    return (
        f"NAS-Bench-201 has no architecture {printable(repr(shortened))}; {hint} "
        f"Operations: {', '.join(OPERATIONS)}"
    )


def _neighbour(text: str) -> str | None:
    """Return the architecture with the most similar operation on each edge, if `text` has an operation for each."""
    # Compared edge by edge: comparing with all 15,625 strings takes seconds.
    names = [piece.partition("~")[0] for piece in re.split(r"[|+\s]+", text[: 2 * _LONGEST_SHOWN]) if piece]
    if len(names) != len(EDGES):
        return None
    near = [difflib.get_close_matches(name.lower(), OPERATIONS, n=1, cutoff=0.0)[0] for name in names]
    return PATTERN.format(*near)


def _read_csv(path: Path) -> dict[str, Accuracies]:
    # Excel puts a byte order mark before the text.
    text = read_regular_text(path, what=_WHAT, most=MOST_BYTES).removeprefix("\ufeff")
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    every = _every_architecture()
    accuracies: dict[str, Accuracies] = {}
    first_lines: dict[str, int] = {}
    try:
        header = next(rows, [])
        _check_header(header)
        columns = {key: header.index(column) for key, column in _COLUMNS.items()}
        architecture_column = header.index(_ARCHITECTURE)
        for row in filter(None, rows):
            if len(row) != len(header):
                raise ValueError(f"it has {len(row)} fields, and the first line {len(header)}")
            architecture = row[architecture_column]
            if architecture not in every:
                raise ValueError(_unknown(architecture))
            if architecture in first_lines:
                raise ValueError(f"{architecture} is on line {first_lines[architecture]} too")
            first_lines[architecture] = rows.line_num
            accuracies[architecture] = Accuracies(
                **{key: _number(row[column], _COLUMNS[key]) for key, column in columns.items()}
            )
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}, line {max(rows.line_num, 1)}: {error}; {_RESTORE}") from None
    return accuracies


def _check_header(header: list[str]) -> None:
    for column in (*_COLUMNS.values(), _ARCHITECTURE):
        if header.count(column) != 1:
            raise ValueError(
                f"the column {column} is there {header.count(column)} times; found {short_repr(','.join(header[:9]))}"
            )


def _number(text: str, column: str) -> float:
    try:
        # Python reads 9_4 as 94, and digits of every script.
        return float(text if text.isascii() and "_" not in text else "no number")
    except ValueError:
        raise ValueError(f"{column} must be a number; got {short_repr(text)}") from None


def _read_nats_bench(path: Path) -> dict[str, Accuracies]:
    try:
        from nats_bench import create
    except ImportError:
        raise ValueError(
            f"{path} needs the package nats_bench: pip install 'xnas[nasbench201]', or give {_CSV_SOURCE}"
        ) from None
    if path.suffix == ".tar":
        raise ValueError(f"{path} is packed; unpack it (tar xf), and give the folder that comes out")
    in_folder = path.is_dir()
    if not in_folder:
        check_place(path)
    try:
        api = create(str(path), "tss", fast_mode=in_folder, verbose=False)
        architectures = [str(api.arch(index)) for index in range(len(api))]
    except Exception as error:
        raise _unreadable(path, "the benchmark", error) from error
    _check_complete(architectures, path)  # before thousands of files are opened
    return {architecture: _query(api, index, path) for index, architecture in enumerate(architectures)}


def _query(api: Any, index: int, path: Path) -> Accuracies:
    """Return the accuracies of one cell, by the calls that the table in CSV was made with."""
    try:
        found = {
            key: float(api.get_more_info(index, name, hp="200", is_random=False)["test-accuracy"])
            for key, name in _NATS_BENCH_NAMES.items()
        }
        api.arch2infos_dict.pop(index, None)  # it keeps all that it read
        return Accuracies(**found)
    except Exception as error:
        raise _unreadable(path, f"architecture {index}", error) from error


def _unreadable(path: Path, what: str, error: Exception) -> Exception:
    """Return the error to raise for what nats_bench raised: anything can come of unpickling what is damaged."""
    if isinstance(error, MemoryError):
        return error
    reason = printable(f"{type(error).__name__}: {error}")[:_LONGEST_SHOWN]
    return ValueError(f"{path}: nats_bench cannot read {what} ({reason}); get {_NATS_BENCH_SOURCE} again")
