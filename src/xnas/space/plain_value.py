"""Numbers and lists of numpy and torch as Python's own, by which settings and genotypes are checked and written."""

from collections.abc import Mapping
from typing import Any


def plain_value(value: Any) -> Any:
    """A number, switch or text of numpy or torch, and an array without axes, as Python's own; all else as it is."""
    # Known by what it does: this file imports neither.
    if type(value) in (int, float, bool, str) or getattr(value, "shape", None) != ():
        return value
    try:
        item = value.item()
        # A long double stays one; Python has no other number for it.
        found = item if isinstance(item, int | float | str) else float(item)
    except (AttributeError, TypeError, ValueError, RuntimeError, OverflowError):
        return value  # whoever checks it says what it is
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
