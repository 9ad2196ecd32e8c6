"""How many images the classes have, and whether that is enough to learn from."""

from collections.abc import Mapping

from xnas.data.issues import Issues, IssueType
from xnas.io.text import printable

UNEQUAL = 10
"""Ratio of the largest class to the smallest beyond which it is worth a word."""
FEW = 10
"""Images of a class below which there is little to learn from."""

UNEQUAL_CLASSES = IssueType(
    f"classes more than {UNEQUAL} times as large as others",
    "add images to the small ones: as they are, accuracy hardly counts them",
    error=False,
)
TOO_SMALL = IssueType(
    "classes too small to be split",
    "a search needs 2 training images of every class, besides the test's: add some, or leave the class out",
)
SMALL = IssueType(f"classes of fewer than {FEW} training images", "add images to them", error=False)


def unequal_classes(counts: Mapping[str, int]) -> str | None:
    """A sentence on the largest and the smallest class if they are very unequal; empty ones aside."""
    there = {name: count for name, count in counts.items() if count}
    if not there:
        return None
    large, small = max(there, key=there.__getitem__), min(there, key=there.__getitem__)
    if there[large] <= UNEQUAL * there[small]:
        return None
    return f"{printable(large)} has {there[large]:,} training images, {printable(small)} has {there[small]:,}"


def check_counts(counts: Mapping[str, int], findings: Issues, *, split: bool) -> None:
    """Training images by class; with `split` those of the test are still among them."""
    for name, count in counts.items():
        said = f"{printable(name)} ({count} image{'s' if count > 1 else ''})"
        if 0 < count < (3 if split else 2):
            findings.add(TOO_SMALL, said)
        elif 0 < count < FEW:
            findings.add(SMALL, said)
    if unequal := unequal_classes(counts):
        findings.add(UNEQUAL_CLASSES, unequal)
