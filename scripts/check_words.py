"""Refuse words that this project does not use: each has a plainer one that everybody in the field greps for.

Looks at every line of the Python files under src/xnas, and prints `file:line: word (say: ...)` for each that it finds.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "xnas"

WORDS = {
    r"(?<!of )courses?": "trainer, history, run",
    r"errands?": "task",
    r"the whole(?=[.,;:)]|$| of\b| is\b| has\b| was\b| goes\b)": "study, all",
    r"anew": "again, over",
    r"begun": "started",
    r"gone on with|go on with": "resume",
    r"broken off": "interrupted, stopped",
    r"heard": "received, seen",
    r"of no account": "ignored",
    r"whoever": "anyone who, the caller",
    r"members? of": "task of, one of",
    r"settled": "resolved",
    r"standings?": "regret, result",
}
"""Regular expressions of words, and what to say in their place."""

PENDING = ()
"""Folders and files below src/xnas that are not looked at."""

_FORBIDDEN = {re.compile(rf"\b(?:{word})(?!\w)", re.IGNORECASE): better for word, better in WORDS.items()}


def forbidden_words(lines: Iterable[str]) -> Iterator[tuple[int, str, str]]:
    """Yield the number of the line, from 1, the word, and what to say instead."""
    for number, line in enumerate(lines, start=1):
        for pattern, better in _FORBIDDEN.items():
            for found in pattern.finditer(line):
                yield number, found[0], better


def main() -> int:
    """Print what is found; return 1 if there is anything."""
    code = 0
    for path in sorted(SOURCE.rglob("*.py")):
        if any(path.is_relative_to(SOURCE / item) for item in PENDING):
            continue
        for number, word, better in forbidden_words(path.read_text(encoding="utf-8").splitlines()):
            print(f"{path.relative_to(SOURCE.parents[1])}:{number}: {word} (say: {better})")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
