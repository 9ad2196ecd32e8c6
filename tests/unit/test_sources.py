"""What no source file may do, whoever writes it."""

import re
from pathlib import Path

import pytest

import xnas

SOURCE = Path(xnas.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_source_file_neither_unpickles_nor_evaluates_and_is_not_too_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    code = re.sub(r'"""(.*?)"""', "", text, flags=re.DOTALL)
    assert not re.search(r"\bimport pickle\b|\bfrom pickle\b|torch\.load\(|torch\.save\(", code)
    assert not re.search(r"(?<![.\w])(eval|exec)\(", code)
    assert len(text.splitlines()) <= 600


def test_only_the_runtime_knows_about_environment_variables() -> None:
    allowed = {"engine/runtime.py", "cli/__init__.py"}
    found = {
        str(path.relative_to(SOURCE)) for path in FILES if "os.environ" in path.read_text(encoding="utf-8")
    }
    assert found <= allowed
