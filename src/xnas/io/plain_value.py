"""Numbers and lists of numpy and torch as Python's own, by which settings and genotypes are checked and written."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from xnas.io.text import short_repr


def plain_value(value: Any) -> Any:
    """Return a number, switch or text of numpy or torch, and an array without axes, as Python's own; all else as it
    is."""
    # Known by what it does: this file imports neither.
    if type(value) in (int, float, bool, str) or getattr(value, "shape", None) != ():
        return value
    try:
        item = value.item()
        # A long double stays one; Python has no other number for it.
        found = item if isinstance(item, int | float | str) else float(item)
    except (AttributeError, TypeError, ValueError, RuntimeError, OverflowError):
        return value  # its check says what it is
    return found


def plain_tree(value: Any) -> Any:
    """Settings in dictionaries and lists, all of Python's own: arrays and tuples are lists, numbers are plain."""
    if isinstance(value, Mapping):
        return {key: plain_tree(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_tree(inner) for inner in value]
    if (
        isinstance(shape := getattr(value, "shape", None), tuple)
        and len(shape) == 1
        and hasattr(value, "tolist")
    ):
        return value.tolist()
    return plain_value(value)


def take_plain(settings: Any, *whole: str) -> None:
    """Have a frozen dataclass hold plain values. Raises ValueError if one of the fields `whole` is no whole number."""
    for item in fields(settings):
        given = getattr(settings, item.name)
        value = tuple(map(plain_value, given)) if isinstance(given, list | tuple) else plain_value(given)
        if value is not given:
            object.__setattr__(settings, item.name, value)
        if item.name in whole and type(value) is not int:
            raise ValueError(f"{item.name} must be a whole number; got {short_repr(given)}")
