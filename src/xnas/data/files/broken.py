"""Images of a folder that cannot be read: each is named once, and more than are allowed end the run."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from xnas.io.text import printable

log = logging.getLogger(__name__)

NAMED = 3
"""Broken images that an error names."""


@dataclass(frozen=True)
class BrokenImage:
    """An image that cannot be read."""

    path: str
    label: str
    """Its class."""
    number: int
    """Its place in its set."""
    part: str
    """Its set: training or test."""
    reason: str

    def __str__(self) -> str:
        where = f"class {self.label!r}, image {self.number} of the {self.part} set"
        return f"cannot read the image {printable(self.path)} ({where}): {printable(self.reason)}"


class BrokenImages:
    """The broken images that have been found in a folder."""

    def __init__(self, root: str, *, allowed: int) -> None:
        self.root = root
        self.allowed = allowed
        self.found: dict[str, BrokenImage] = {}

    def __contains__(self, path: str) -> bool:
        return path in self.found

    def add(self, images: Sequence[BrokenImage], *, what_happens: str) -> None:
        """Count and name those that are new. Raises ValueError where there are now more than are allowed."""
        new = {image.path: image for image in images if image.path not in self.found}
        self.found.update(new)
        if len(self.found) > self.allowed:
            raise ValueError(self._too_many())
        for image in new.values():
            log.warning(f"{image}; {what_happens}")

    def _too_many(self) -> str:
        images = list(self.found.values())
        if len(images) == 1:
            return f"{images[0]}; replace it, take it out, or allow --data.max-broken"
        named = "; ".join(map(str, images[:NAMED]))
        return (
            f"{len(images):,} images of {self.root} are broken, and data.max_broken allows {self.allowed:,}: {named}"
            f"{'; ...' if len(images) > NAMED else ''}; replace them, take them out, or allow more --data.max-broken"
        )
