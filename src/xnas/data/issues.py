"""What a check of data finds: kinds of fault, each with a count, the first few places and the remedy."""

from collections.abc import Callable
from dataclasses import dataclass

EXAMPLES = 5
"""Places that are kept of a kind; of the rest only how many there are, so that memory stays bounded."""

Progress = Callable[[int, int], object]
"""Takes how many images have been looked at, and of how many."""


@dataclass(frozen=True)
class IssueType:
    """A way in which data can be wrong."""

    title: str
    remedy: str
    error: bool = True
    """Whether a run would stop at it, or its result be worthless; otherwise it is a warning."""


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One kind of fault in some data."""

    title: str
    error: bool
    count: int
    examples: tuple[str, ...]
    """The first few places, and what is wrong there."""
    remedy: str


class Issues:
    """Takes faults one by one, and gives them back by kind."""

    def __init__(self) -> None:
        self._counts: dict[IssueType, int] = {}
        self._examples: dict[IssueType, list[str]] = {}

    def add(self, kind: IssueType, where: str, *, count: int = 1) -> None:
        """A fault, or `count` of a kind with this as the example."""
        self._counts[kind] = self._counts.get(kind, 0) + count
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(where)

    def add_all(self, kind: IssueType, count: int, where: Callable[[int], str]) -> None:
        """`count` faults of a kind, numbered from 0; only the first few are asked where they are."""
        for number in range(min(count, EXAMPLES)):
            self.add(kind, where(number))
        if count > EXAMPLES:
            self._counts[kind] += count - EXAMPLES

    def by_kind(self) -> tuple[Issue, ...]:
        """Errors first, otherwise in the order in which the kinds were met."""
        found = [
            Issue(
                title=kind.title,
                error=kind.error,
                count=count,
                examples=tuple(self._examples[kind]),
                remedy=kind.remedy,
            )
            for kind, count in self._counts.items()
        ]
        return tuple(sorted(found, key=lambda finding: not finding.error))


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """Images of a class."""

    name: str
    train: int
    test: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is wrong with some data, and how much of it there is."""

    source: str
    holds: str
    """What was looked at, as `a folder of 60 images`."""
    classes: tuple[ClassCount, ...]
    """Empty where the classes cannot be told."""
    split: bool
    """Whether there are no test images, so that a run sets aside some of those counted as training images."""
    findings: tuple[Issue, ...]

    @property
    def errors(self) -> int:
        """Faults that a run would stop at, or that would make its result worthless."""
        return sum(finding.count for finding in self.findings if finding.error)

    @property
    def warnings(self) -> int:
        """Faults despite which a run continues."""
        return sum(finding.count for finding in self.findings if not finding.error)
