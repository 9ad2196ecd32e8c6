"""Genotypes for hypothesis to draw: any that the two spaces allow."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from xnas.space.genotype import OPERATIONS, CellGenotype, Edge, Genotype, Space


@st.composite
def cells(draw: st.DrawFn, *, space: Space = "darts", max_nodes: int = 6) -> CellGenotype:
    edges = []
    for node in range(2, 2 + draw(st.integers(1, max_nodes))):
        sources = draw(st.lists(st.integers(0, node - 1), min_size=2, max_size=2, unique=space == "darts"))
        edges += [Edge(draw(st.sampled_from(OPERATIONS)), source) for source in sources]
    last = 1 + len(edges) // 2
    concat = draw(st.lists(st.integers(2, last), min_size=1, unique=True))
    return CellGenotype(edges=tuple(edges), concat=tuple(concat))


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    space: Space = draw(st.sampled_from(("darts", "nasnet")))
    return Genotype(normal=draw(cells(space=space)), reduction=draw(cells(space=space)), space=space)


@st.composite
def corrupted(draw: st.DrawFn, text: str) -> str:
    """`text` with some of its characters replaced, removed, repeated or swapped with pieces from elsewhere in it."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        words = (
            "",
            "none",
            "-1",
            "99",
            "1.5",
            "NaN",
            "null",
            "[",
            "]",
            "{",
            "}",
            "(",
            ")",
            ",",
            "'",
            '"',
            "\n",
        )
        other = draw(st.integers(0, len(text)))
        piece = draw(st.sampled_from(words) | st.text(max_size=3) | st.just(text[other : other + 15]))
        text = text[:start] + piece + text[end:]
    return text


def check_read_or_refused_in_one_line(read: Callable[[Any], Genotype], source: object) -> None:
    try:
        outcome: Genotype | str = read(source)
    except ValueError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert outcome
        assert "\n" not in outcome
    else:
        assert Genotype.from_json(outcome.to_json()) == outcome
