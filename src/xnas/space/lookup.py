"""Finding a thing by a name that a person wrote: a name that fails is answered with its neighbours."""

import difflib
from collections.abc import Collection

from xnas.space.shown import shown

_LONGEST = 60
"""Of a name that is compared with others: comparing takes the square of its length."""


def lookup(kind: str, name: str, known: Collection[str]) -> str:
    """`name`, if it is one of `known`. Raises ValueError with the nearest name and the list of all."""
    if isinstance(name, str) and name in known:
        return name
    if not isinstance(name, str) or len(name) > _LONGEST:
        raise ValueError(f"unknown {kind} {shown(name)}. Known: {', '.join(known)}")
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")
