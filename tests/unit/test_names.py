"""Names and words: a class name means one thing, and forbidden words are found."""

import ast
import runpy
from collections import defaultdict
from pathlib import Path

import xnas

SOURCE = Path(xnas.__file__).parent


def test_every_class_name_is_unique_in_the_package() -> None:
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(SOURCE)))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_forbidden_words_are_found_where_they_are_meant() -> None:
    forbidden_words = runpy.run_path("scripts/check_words.py")["forbidden_words"]
    lines = [
        "Of course, the whole number.",
        "The course of a run, begun",
        "anew; the whole of it.",
        "a newer has_begun",
    ]
    found = [(number, word) for number, word, _ in forbidden_words(lines)]
    assert found == [(2, "course"), (2, "begun"), (3, "the whole"), (3, "anew")]
