"""Reading JSON that should hold certain things: each getter checks the type, and errors say where and what.

A number is finite: the engine never writes others.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from xnas.space.genotype import shown


def parse_object(text: str, *, where: str) -> "Fields":
    """The JSON object in `text`. Raises ValueError, naming `where` it is, for anything else."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{where} is damaged: {reason}; restore it or take it away") from None
    return Fields.of(value, where=where)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no finite number")


class Fields:
    """The keys of a JSON object."""

    def __init__(self, values: Mapping[str, Any], *, where: str) -> None:
        self.values = values
        self.where = where

    @classmethod
    def of(cls, value: object, *, where: str) -> "Fields":
        """The keys of `value`. Raises ValueError if it is no object."""
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a JSON object; got {shown(value)}")
        return cls(cast("dict[str, Any]", value), where=where)

    def number(self, key: str) -> float:
        """A finite number. Raises ValueError for anything else."""
        return float(self._checked(key, _is_number, "a finite number"))

    def optional_number(self, key: str) -> float | None:
        """A finite number, or None where the key is missing or null."""
        return None if self.values.get(key) is None else self.number(key)

    def integer(self, key: str) -> int:
        """A whole number that is not negative. Raises ValueError for anything else."""
        return int(self._checked(key, _is_count, "a whole number, not negative"))

    def text(self, key: str) -> str:
        """A string. Raises ValueError for anything else."""
        return str(self._checked(key, lambda value: isinstance(value, str), "a string"))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings. Raises ValueError for anything else."""
        return tuple(self._checked(key, lambda value: _is_list_of(value, str), "a list of strings"))

    def numbers_EK(self, key: str, *, shape: tuple[int, int]) -> tuple[tuple[float, ...], ...]:
        """E lists of K finite numbers. Raises ValueError for anything else."""
        rows = self._table(key, shape, _is_number, "numbers")
        return tuple(tuple(map(float, row)) for row in rows)

    def flags_EK(self, key: str, *, shape: tuple[int, int]) -> tuple[tuple[bool, ...], ...]:
        """E lists of K truth values. Raises ValueError for anything else."""
        rows = self._table(key, shape, lambda value: isinstance(value, bool), "true or false")
        return tuple(tuple(map(bool, row)) for row in rows)

    def inner(self, key: str) -> "Fields":
        """An object inside this one. Raises ValueError for anything else."""
        return Fields.of(self._value(key), where=f"{self.where}: {key!r}")

    def _table(self, key: str, shape: tuple[int, int], fits: Any, what: str) -> list[list[Any]]:
        num_rows, num_columns = shape

        def is_table(value: object) -> bool:
            return (
                isinstance(value, list)
                and len(value) == num_rows
                and all(
                    isinstance(row, list) and len(row) == num_columns and all(map(fits, row)) for row in value
                )
            )

        return list(self._checked(key, is_table, f"{num_rows} lists of {num_columns} {what}"))

    def _checked(self, key: str, fits: Any, what: str) -> Any:
        value = self._value(key)
        if not fits(value):
            raise ValueError(f"{self.where}: {key!r} must be {what}; got {shown(value)}")
        return value

    def _value(self, key: str) -> Any:
        if key not in self.values:
            raise ValueError(f"{self.where}: {key!r} is missing")
        return self.values[key]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
