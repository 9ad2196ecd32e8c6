"""Differences between two settings, of those that decide a result."""

import dataclasses
import os
from collections.abc import Collection
from typing import Any

from xnas.config.schema import Config, _plain, images_are_gone
from xnas.data.names import DATA_SETS
from xnas.space.names import OPEN_STEMS

FREE = (
    "data.root",
    "data.download",
    "data.workers",
    "data.decode_memory",
    "distributed.backend",
    "distributed.timeout",
)
"""Settings inside of these that decide nothing: where the images are, who reads them (but see `differences`), and what
connects processes."""


BY_SIZE = ("space.stem", "retrain.stem")
"""Settings that may be left to the size of the images; a run's file says what was chosen."""


def differences(before: Config, now: Config, *, sections: Collection[str]) -> list[str]:
    """Return the differences between two settings, of those `sections` that decide a result: "search.epochs was 50,
    is 60".

    What is left to the images' size changes with the images alone. Resized crops are cut out of a file's own picture
    where images stay in files, and out of what is held where they are in memory: there data.workers decides, too.
    """
    old, new = (_flat(_plain(dataclasses.asdict(config))) for config in (before, now))
    free = {*FREE, *(name for name in BY_SIZE if {old.get(name), new.get(name)} & {*OPEN_STEMS})}
    if "resized" in (before.data.crop, now.data.crop) and None in (before.data.workers, now.data.workers):
        free.remove("data.workers")
    if before.data.max_broken or now.data.max_broken:  # then it decides which images are left out
        free.remove("data.decode_memory")
    if _is_one_folder(before.data.source, now.data.source):
        free.add("data.source")
    moved = images_are_gone(before.data)
    return [
        f"{name} was {old.get(name, 'unset')}, is {new.get(name, 'unset')}"
        + (" (of a folder that has moved say where it is with: xnas resume RUN --data FOLDER)" * moved)
        * (name == "data.source")
        for name in sorted({*old, *new})
        if name.partition(".")[0] in sections and name not in free and old.get(name) != new.get(name)
    ]


def _is_one_folder(source: str, other: str) -> bool:
    """Return whether both lead to the same folder of images, as pets and ./pets do; the name of a data set leads to
    none."""
    try:
        if source == other or not os.path.samefile(os.path.expanduser(source), os.path.expanduser(other)):
            return False
    except (OSError, ValueError):
        return False
    return not {source, other} & {*DATA_SETS}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
