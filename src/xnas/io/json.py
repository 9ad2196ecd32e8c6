"""Reading JSON that should hold certain things: each getter checks the type, and errors say where and what.

A number is finite, at most LARGEST in size, and a count fits 63 bits: the engine never writes others, and what draws
and prints them need not fear for overflow.
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from xnas.io.safe_read import exists, read_regular_text
from xnas.io.text import printable, short_repr


def without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the fields of a JSON object. Raises ValueError for a key that is given twice."""
    fields: dict[str, object] = {}
    for key, value in pairs:
        if key in fields:
            raise ValueError(f"the key {short_repr(key)} is given twice; keep one")
        fields[key] = value
    return fields


MOST_BYTES = 1_000_000
"""Bytes of a JSON file in a run folder; they have a few thousand."""

MOST_BYTES_OF_LINES, MOST_LINE_BYTES, MOST_LINES = 64_000_000, 4_000_000, 250_000
"""Of a file of lines; the default search writes one of 14,000 bytes an epoch."""

LARGEST = 1e38


MOST_COUNT = 2**63 - 1


LONGEST_NAME = 255

Numbers = tuple[Sequence[float], ...]
"""Lists of numbers; they are arrays, as a run has millions."""

_ROUNDING = 1e-9


_NAME = f"a string of at most {LONGEST_NAME} characters"


_NUMBER = f"a finite number of at most {LARGEST:g} in size"


def read_json_object(path: Path, *, inside: Path, most: int = MOST_BYTES) -> "JsonObject | None":
    """The JSON object in a file, of at most so many bytes, of the run folder `inside`, or None if it is not there.

    Raises ValueError, naming the file, for one that is damaged, too large, no regular file, or elsewhere by a link.
    """
    if not exists(path):
        return None
    text = read_regular_text(path, what="file", most=most, inside=inside)
    return parse_json_object(text, where=str(path))


def parse_json_object(text: str, *, where: str) -> "JsonObject":
    """The JSON object in `text`. Raises ValueError, naming `where` it is, for anything else."""
    return JsonObject.of(parse_json(text, where=where), where=where)


def parse_json(text: str, *, where: str) -> object:
    """Return the value that the JSON in `text` stands for.

    Raises ValueError, naming `where` it is, for what is no JSON.
    """
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{where} is damaged: {reason}; restore it or take it away") from None


def read_json_lines(file: BinaryIO, *, where: str) -> Iterator[tuple[bytes, "JsonObject"]]:
    """Yield the lines of an open file that are not blank, and the JSON objects in them.

    A last line without its newline was still being written, and is left out where it is damaged. Raises ValueError,
    naming the line, for another that is damaged, and for more or longer lines than a run has.
    """
    for number, line in enumerate(iter(lambda: file.readline(MOST_LINE_BYTES + 1), b""), start=1):
        at = f"{where}, line {number}"
        if len(line) > MOST_LINE_BYTES or number > MOST_LINES:
            raise ValueError(
                f"{at} is too much: a run has at most {MOST_LINES:,} lines of {MOST_LINE_BYTES:,} bytes; "
                "is it the right file?"
            )
        if not line.strip():
            continue
        try:
            row = _parse_line(line, where=at)
        except ValueError:
            if line.endswith(b"\n"):
                raise
            continue
        yield line, row


def _parse_line(line: bytes, *, where: str) -> "JsonObject":
    # Bytes: a crash may have cut the last line inside a character.
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{where} is damaged: it is not UTF-8; restore it or take it away") from None
    return parse_json_object(text, where=where)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no finite number")


_DECODER = json.JSONDecoder(object_pairs_hook=without_duplicates, parse_constant=_refuse_constant)


class JsonObject:
    """The keys of a JSON object."""

    def __init__(self, values: Mapping[str, Any], *, where: str) -> None:
        self.values = values
        self.where = where

    @classmethod
    def of(cls, value: object, *, where: str) -> "JsonObject":
        """Return the keys of `value`. Raises ValueError if it is no object."""
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a JSON object; got {short_repr(value)}")
        return cls(cast("dict[str, Any]", value), where=where)

    def number(self, key: str) -> float:
        """Return a finite number. Raises ValueError for anything else."""
        return float(self._checked(key, _is_number, _NUMBER))

    def optional_number(self, key: str) -> float | None:
        """Return a finite number, or None where the key is missing or null."""
        return None if self.values.get(key) is None else self.number(key)

    def share(self, key: str) -> float:
        """Return a number in [0, 1]. Raises ValueError for anything else."""
        return float(self._checked(key, lambda value: _is_number(value) and 0 <= value <= 1, "in [0, 1]"))

    def optional_share(self, key: str) -> float | None:
        """Return a number in [0, 1], or None where the key is missing or null."""
        return None if self.values.get(key) is None else self.share(key)

    def integer(self, key: str, *, most: int = MOST_COUNT) -> int:
        """Return a whole number from 0 to `most`. Raises ValueError for anything else."""

        def is_count(value: object) -> bool:
            return type(value) is int and 0 <= value <= most

        return int(self._checked(key, is_count, f"a whole number, not negative, at most {most}"))

    def optional_integer(self, key: str) -> int | None:
        """Return a whole number that is not negative, or None where the key is missing or null."""
        return None if self.values.get(key) is None else self.integer(key)

    def flag(self, key: str) -> bool:
        """Return a switch. Raises ValueError unless it is true or false."""
        return bool(self._checked(key, lambda value: isinstance(value, bool), "true or false"))

    def text(self, key: str) -> str:
        """Return a string of any length. Raises ValueError for anything else."""
        return str(self._checked(key, lambda value: isinstance(value, str), "a string"))

    def name(self, key: str) -> str:
        """Return a short string, its control characters made visible. Raises ValueError for anything else."""
        return printable(self._checked(key, _is_name, _NAME))

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of short strings, as `name` has them. Raises ValueError for anything else."""
        return tuple(map(printable, self.exact_names(key)))

    def exact_names(self, key: str) -> tuple[str, ...]:
        """Return a list of short strings as they are, to be compared: `printable` is for showing one.

        Raises ValueError for anything else.
        """

        def are_names(value: object) -> bool:
            return isinstance(value, list) and all(map(_is_name, value))

        kind = f"a list of strings of at most {LONGEST_NAME} characters"
        return tuple(self._checked(key, are_names, kind))

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a list of finite numbers. Raises ValueError for anything else."""

        def are_numbers(value: object) -> bool:
            return isinstance(value, list) and _are_numbers(value)

        return tuple(map(float, self._checked(key, are_numbers, "a list of finite numbers")))

    def integers(self, key: str, *, most: int = MOST_COUNT) -> tuple[int, ...]:
        """Return a list of whole numbers from 0 to `most`. Raises ValueError for anything else."""

        def are_counts(value: object) -> bool:
            return isinstance(value, list) and all(type(item) is int and 0 <= item <= most for item in value)

        kind = f"a list of whole numbers, not negative, at most {most}"
        return tuple(self._checked(key, are_counts, kind))

    def numbers_E(self, key: str, *, count: int) -> Sequence[float]:
        """So many finite numbers. Raises ValueError for anything else."""
        return array("d", self._list(key, count, _are_numbers, "finite numbers"))

    def sizes_E(self, key: str, *, count: int) -> Sequence[float]:
        """So many finite numbers, none negative. Raises ValueError for anything else."""
        return array("d", self._list(key, count, _are_sizes, "finite numbers, none negative"))

    def shares_E(self, key: str, *, count: int) -> Sequence[float]:
        """So many numbers in [0, 1]. Raises ValueError for anything else."""
        return array("d", self._list(key, count, _are_shares, "numbers in [0, 1]"))

    def numbers_EK(self, key: str, *, shape: tuple[int, int]) -> Numbers:
        """E lists of K finite numbers. Raises ValueError for anything else."""
        return tuple(array("d", row) for row in self._table(key, shape, _are_numbers, "numbers"))

    def shares_EK(self, key: str, *, shape: tuple[int, int]) -> Numbers:
        """E lists of K numbers in [0, 1]. Raises ValueError for anything else."""
        return tuple(array("d", row) for row in self._table(key, shape, _are_shares, "numbers in [0, 1]"))

    def flags_EK(self, key: str, *, shape: tuple[int, int]) -> tuple[tuple[bool, ...], ...]:
        """E lists of K truth values. Raises ValueError for anything else."""
        return tuple(map(tuple, self._table(key, shape, _are_flags, "true or false")))

    def nested(self, key: str) -> "JsonObject":
        """Return an object inside this one. Raises ValueError for anything else."""
        return JsonObject.of(self._value(key), where=f"{self.where}: {key!r}")

    def optional_inner(self, key: str) -> "JsonObject | None":
        """Return an object inside this one, or None where the key is missing or null.

        Raises ValueError for anything else.
        """
        return None if self.values.get(key) is None else self.nested(key)

    def _list(self, key: str, count: int, fit: Any, what: str) -> list[Any]:
        def is_list(value: object) -> bool:
            return isinstance(value, list) and len(value) == count and fit(value)

        return list(self._checked(key, is_list, f"a list of {count} {what}"))

    def _table(self, key: str, shape: tuple[int, int], fit: Any, what: str) -> list[list[Any]]:
        """Lists of one length whose entries `fit`, which looks at a whole list: most numbers of a run are in them."""
        num_rows, num_columns = shape

        def is_table(value: object) -> bool:
            return (
                isinstance(value, list)
                and len(value) == num_rows
                and all(isinstance(row, list) and len(row) == num_columns and fit(row) for row in value)
            )

        return list(self._checked(key, is_table, f"{num_rows} lists of {num_columns} {what}"))

    def _checked(self, key: str, fits: Any, what: str) -> Any:
        value = self._value(key)
        if not fits(value):
            raise ValueError(f"{self.where}: {key!r} must be {what}; got {short_repr(value)}")
        return value

    def _value(self, key: str) -> Any:
        if key not in self.values:
            raise ValueError(f"{self.where}: {key!r} is missing")
        return self.values[key]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and _are_numbers([value])


def _are_numbers(values: list[Any]) -> bool:
    # Compared, not converted: an integer of hundreds of digits has no float. True is an int to Python.
    return (
        set(map(type, values)) <= {int, float}
        and -LARGEST <= min(values, default=0) <= max(values, default=0) <= LARGEST
    )


def _are_sizes(values: list[Any]) -> bool:
    return _are_numbers(values) and min(values, default=0) >= 0


def _are_shares(values: list[Any]) -> bool:
    return _are_numbers(values) and 0 <= min(values, default=0) <= max(values, default=0) <= 1 + _ROUNDING


def _are_flags(values: list[Any]) -> bool:
    return set(map(type, values)) <= {bool}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME
