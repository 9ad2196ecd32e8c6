"""The architecture that a search finds, in any space: a file from search to retraining to export."""

import os.path
import re
from pathlib import Path
from typing import get_args

from xnas.io.paths import expanded
from xnas.io.safe_read import read_regular
from xnas.space.genotype import Genotype, Space
from xnas.space.genotype_json import MAX_BYTES, check_name, parse_fields, plain_text
from xnas.space.genotype_text import FORM, from_darts_text, to_darts_text
from xnas.space.nasbench201.genotype import FORM as NASBENCH201_FORM
from xnas.space.nasbench201.genotype import SPACE as NASBENCH201
from xnas.space.nasbench201.genotype import Nasbench201Genotype
from xnas.space.published import PUBLISHED, published_genotype

Architecture = Genotype | Nasbench201Genotype
"""Each has `to_json`, and can be said in one line of text."""


def parse_architecture(text: str | bytes) -> Architecture:
    """The architecture that `to_json` wrote. Raises ValueError for what is none of any space."""
    fields = parse_fields(text)
    if "space" in fields:  # else the reader below says that it is missing
        check_name("space", fields["space"], (*get_args(Space), NASBENCH201))
    if fields.get("space") == NASBENCH201:
        return Nasbench201Genotype.from_fields(fields)
    return Genotype.from_dict(fields)


def architecture_text(architecture: Architecture) -> str:
    """One line in the form that its field made customary: DARTS text, or that of NAS-Bench-201."""
    if isinstance(architecture, Nasbench201Genotype):
        return architecture.text
    return to_darts_text(architecture)


def chosen_operations(architecture: Architecture, group: str) -> dict[str, str]:
    """The operation of every edge that the architecture has in the cells of a group, by the edge's label."""
    if isinstance(architecture, Nasbench201Genotype):
        return {f"{source}→{node}": operation for (source, node), operation in architecture.by_edge.items()}
    cell = {"normal": architecture.normal, "reduction": architecture.reduction}.get(group)
    if cell is None:
        return {}
    return {f"{edge.source}→{node}": edge.operation for node in cell.nodes for edge in cell.inputs_of(node)}


def read_genotype(source: str | Path) -> Architecture:
    """The architecture that a person means: a file's, the published one of that name, or that in the text itself.

    File and text may be JSON, DARTS text or that of NAS-Bench-201, these two also with what a log has around them. A
    name goes before a file; a Path is always a file.
    Raises ValueError as `parse_architecture` and `from_darts_text` do, naming the file, for a file that cannot be read,
    and for what is none of these.
    """
    if isinstance(source, Path):
        return _read_file(expanded(source))
    text = plain_text(source).strip()
    if text.startswith("~"):
        return _read_file(expanded(text))
    if text not in PUBLISHED and os.path.isfile(source):
        return _read_file(Path(source))
    if (found := _parsed(source)) is not None:
        return found
    try:
        return published_genotype(text)
    except ValueError as error:
        raise ValueError(
            f"not a genotype: neither JSON nor {FORM} nor {NASBENCH201_FORM}, no such file, and {error}"
        ) from None


def _read_file(path: Path) -> Architecture:
    content = read_regular(path, what="genotype", most=MAX_BYTES)
    try:
        text = plain_text(content)
        return _parsed(text) or from_darts_text(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parsed(source: str) -> Architecture | None:
    """Return the architecture in a text, by the form that the text has."""
    text = plain_text(source).strip()
    of_darts = re.search(r"Genotype\s*\(", text)
    if text.startswith("{") and not of_darts:
        return parse_architecture(source)
    if text.startswith("|") or (re.search(r"\|[^\s|]+~\d\|", text) and not of_darts):
        return Nasbench201Genotype.from_text(text)
    return from_darts_text(source) if of_darts else None
