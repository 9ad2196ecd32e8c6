"""TOML settings, read within bounds: the parser's time grows with the square of how long a dotted key is."""

import tomllib
from pathlib import Path
from typing import Any

from xnas.io.safe_read import read_regular_text

MOST_BYTES = 64_000
"""Bytes of a file of settings; one with all settings has two thousand."""

MOST_LINE = 2_000
"""Characters."""


def read_settings_text(path: Path, *, inside: Path | None = None) -> str:
    """Return the text of a file of settings. Raises ValueError as `read_regular_text` does."""
    return read_regular_text(path, what="settings", most=MOST_BYTES, inside=inside)


def parse_toml(text: str, *, where: str) -> dict[str, Any]:
    """Return the tables in TOML text. Raises ValueError, naming `where` it came from, for anything else."""
    longest = max(map(len, text.split("\n")))
    if len(text) > MOST_BYTES or longest > MOST_LINE:
        raise ValueError(
            f"{where} is too long for settings: {len(text):,} characters, the longest line {longest:,}; "
            f"keep to {MOST_BYTES:,} and {MOST_LINE:,}"
        )
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"{where} is not valid TOML: it is nested too deeply; mend it there") from None
    except ValueError as error:
        raise ValueError(f"{where} is not valid TOML: {error}; mend it there") from None
