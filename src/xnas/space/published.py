"""Cells that papers published, as genotypes under a name: to retrain, to compare with, and to test against.

They are facts kept as data, in `published_cells.json` beside this file, with the place that each was copied from.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from xnas.space.genotype import Genotype
from xnas.space.genotype_json import check_name


@dataclass(frozen=True, kw_only=True)
class PublishedGenotype:
    """A genotype, and where it was published."""

    genotype: Genotype
    source: str


def _read() -> dict[str, PublishedGenotype]:
    text = resources.files("xnas.space").joinpath("published_cells.json").read_text(encoding="utf-8")
    return {
        name: PublishedGenotype(genotype=Genotype.from_dict(entry["genotype"]), source=entry["source"])
        for name, entry in json.loads(text).items()
    }


PUBLISHED: Mapping[str, PublishedGenotype] = _read()
"""All published genotypes by name: lower case, with underscores."""


def published_names() -> tuple[str, ...]:
    """The names of all published genotypes."""
    return tuple(PUBLISHED)


def published_genotype(name: str) -> Genotype:
    """A published genotype. Its name may be in any case, with - for _; raises ValueError for one that is unknown."""
    return _find(name).genotype


def published_source(name: str) -> str:
    """Return the source of a published genotype. Raises ValueError for an unknown name."""
    return _find(name).source


def _find(name: str) -> PublishedGenotype:
    if not isinstance(name, str):
        check_name("published genotype", name, PUBLISHED)
    plain = name.strip().lower().replace("-", "_")
    check_name("published genotype", plain, PUBLISHED)
    return PUBLISHED[plain]
