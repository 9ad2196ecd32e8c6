"""A genotype is a value that can always be built, and a file that says what is wrong with it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas.io.text import short_repr
from xnas.space.genotype import MAX_NODES, OPERATIONS, CellGenotype, Edge, Genotype
from xnas.space.names import EXPERTS
from xnas.space.published import published_genotype

from ...helpers.svg_shapes import cells, check_read_or_refused_in_one_line, corrupted, genotypes

CELL = CellGenotype(edges=(Edge("skip_connect", 0), Edge("sep_conv_3x3", 1)), concat=(2,))
GENOTYPE = Genotype(normal=CELL, reduction=CELL)


def fields_of(genotype: Genotype = GENOTYPE) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(genotype.to_json())
    return fields


@settings(max_examples=100, derandomize=True, deadline=None)
@given(genotypes())
def test_any_genotype_survives_json_as_text_and_as_bytes(genotype: Genotype) -> None:
    text = genotype.to_json()
    again = Genotype.from_json(text)
    assert again == genotype
    assert hash(again) == hash(genotype)
    assert again.to_json() == text
    assert Genotype.from_json(b"\xef\xbb\xbf" + text.encode()) == genotype


def test_numbers_and_texts_of_numpy_and_torch_become_pythons_own() -> None:
    cell = CellGenotype(
        edges=[(np.str_("skip_connect"), np.int64(0)), ("sep_conv_3x3", torch.tensor(1))],  # type: ignore[arg-type]
        concat=np.arange(2, 3),  # type: ignore[arg-type]
    )
    assert cell == CELL
    assert Genotype(normal=cell, reduction=cell).to_json() == GENOTYPE.to_json()
    with pytest.raises(ValueError, match="node 2 cannot read True"):
        CellGenotype(edges=[("skip_connect", np.bool_(True))] * 2, concat=(2,))  # type: ignore[arg-type, list-item]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(cells())
def test_two_edges_belong_to_each_node_in_order(cell: CellGenotype) -> None:
    assert len(cell.nodes) == cell.num_nodes
    assert [edge for node in cell.nodes for edge in cell.inputs_of(node)] == list(cell.edges)
    assert cell.repeating_nodes == ()


def test_the_operations_are_the_experts_and_two_of_the_published_cells() -> None:
    assert set(OPERATIONS) == {*EXPERTS, "sep_conv_7x7", "conv_7x1_1x7"}
    assert "none" not in OPERATIONS


def test_a_genotype_is_a_value_that_cannot_change() -> None:
    other = Genotype(normal=CELL, reduction=CELL, space="nasnet")
    assert {GENOTYPE, Genotype(normal=CELL, reduction=CELL), other} == {GENOTYPE, other}
    with pytest.raises(FrozenInstanceError):
        GENOTYPE.space = "nasnet"  # type: ignore[misc]


def test_lists_become_tuples_and_make_the_same_value() -> None:
    pairs: Any = [["skip_connect", 0], ["sep_conv_3x3", 1]]
    concat: Any = [2]
    cell = CellGenotype(edges=pairs, concat=concat)
    assert cell == CELL
    assert hash(cell) == hash(CELL)
    assert isinstance(cell.edges[0], Edge)
    concat_range: Any = range(2, 3)
    assert CellGenotype(edges=pairs, concat=concat_range) == CELL


def test_a_file_has_a_line_for_every_node() -> None:
    assert GENOTYPE.to_json() == (
        '{\n  "format": "xnas-genotype",\n  "version": 1,\n  "space": "darts",\n  "normal": {\n    "edges": [\n'
        '      ["skip_connect", 0], ["sep_conv_3x3", 1]\n    ],\n    "concat": [2]\n  },\n  "reduction": {\n'
        '    "edges": [\n      ["skip_connect", 0], ["sep_conv_3x3", 1]\n    ],\n    "concat": [2]\n  }\n}\n'
    )


SKIP = ("skip_connect", 0)


@pytest.mark.parametrize(
    ("edges", "concat", "line"),
    [
        (
            [SKIP, ("sep_conv_3x4", 1)],
            [2],
            "unknown operation of node 2 'sep_conv_3x4'; did you mean 'sep_conv_3x3'?",
        ),
        ([SKIP, ("", 1)], [2], "unknown operation of node 2 ''. Known: max_pool_3x3"),
        ([SKIP, ("x" * 99, 1)], [2], "the operation of node 2 must be one of max_pool_3x3"),
        ([SKIP, (3, 1)], [2], "dil_conv_5x5, sep_conv_7x7, conv_7x1_1x7; got 3"),
        ([SKIP, ([], 1)], [2], "conv_7x1_1x7; got []"),
        (
            [SKIP, ("none", 1)],
            [2],
            "node 2: operation 'none' is no choice; give the edge the best of the others",
        ),
        ([], [2], "there are 0 edges; give two for every node, for 1 to 32 nodes"),
        ([SKIP], [2], "there are 1 edges; give two"),
        ([SKIP] * 3, [2], "there are 3 edges; give two"),
        ([SKIP] * 2 * (MAX_NODES + 1), [2], "there are 66 edges; give two"),
        ("edges", [2], "edges must be a list of pairs (operation, source); got 'edges'"),
        ([SKIP, 1], [2], "node 2: an edge must be a pair (operation, source); got 1"),
        ([SKIP, ("skip_connect", 1, 2)], [2], "node 2: an edge must be a pair"),
        ([SKIP, "ab"], [2], "node 2: an edge must be a pair (operation, source); got 'ab'"),
        ([SKIP, ("skip_connect", 2)], [2], "node 2 cannot read 2; give an earlier node, 0 to 1"),
        (
            [SKIP, ("skip_connect", 1), SKIP, ("skip_connect", 4)],
            [2],
            "node 3 cannot read 4; give an earlier node",
        ),
        ([SKIP, ("skip_connect", -1)], [2], "node 2 cannot read -1"),
        ([SKIP, ("skip_connect", True)], [2], "node 2 cannot read True"),
        ([SKIP, ("skip_connect", 1.0)], [2], "node 2 cannot read 1.0"),
        ([SKIP, ("skip_connect", "1")], [2], "node 2 cannot read '1'"),
        ([SKIP, ("skip_connect", 16**5000)], [2], "node 2 cannot read a number of thousands of digits"),
        ([SKIP, ("skip_connect", 1)], [], "concat must be a list of nodes, of 2 to 2; got []"),
        ([SKIP, ("skip_connect", 1)], 2, "concat must be a list of nodes, of 2 to 2; got 2"),
        ([SKIP, ("skip_connect", 1)], [1], "concat cannot hold 1; give nodes of 2 to 2"),
        ([SKIP, ("skip_connect", 1)], [3], "concat cannot hold 3; give nodes of 2 to 2"),
        ([SKIP, ("skip_connect", 1)], [2.0], "concat cannot hold 2.0"),
        ([SKIP, ("skip_connect", 1)], [2, 2], "concat names node 2 twice; name every node once at most"),
        ([SKIP, ("skip_connect", 1)], range(2, 10**30), "concat cannot hold 3"),
    ],
)
def test_a_cell_that_cannot_be_built_is_refused(edges: Any, concat: Any, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        CellGenotype(edges=edges, concat=concat)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_node_may_read_one_node_twice_only_in_the_space_of_nasnet() -> None:
    twice = CellGenotype(edges=(Edge("skip_connect", 1), Edge("sep_conv_3x3", 1)), concat=(2,))
    assert twice.repeating_nodes == (2,)
    assert Genotype(normal=CELL, reduction=twice, space="nasnet").space == "nasnet"
    with pytest.raises(
        ValueError, match=r"^reduction cell: node 2 reads node 1 twice; change one, or set space to 'nasnet'"
    ):
        Genotype(normal=CELL, reduction=twice)


def test_a_genotype_takes_cells_and_a_space_that_is_known() -> None:
    with pytest.raises(
        ValueError, match=r"^unknown space 'dart'; did you mean 'darts'\? Known: darts, nasnet$"
    ):
        replace(GENOTYPE, space="dart")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^the space must be one of darts, nasnet; got None$"):
        replace(GENOTYPE, space=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^the normal cell must be a CellGenotype; got \{\}$"):
        replace(GENOTYPE, normal={})  # type: ignore[arg-type]


def test_a_node_without_edges_is_named() -> None:
    with pytest.raises(ValueError, match=r"^node 1 has no edges; those of this cell are 2 to 2$"):
        CELL.inputs_of(1)


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        for key in keys[:-1]:
            fields = fields[key]
        del fields[keys[-1]]

    return change


def putting(value: Any, *keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        for key in keys[:-1]:
            fields = fields[key]
        fields[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (without("format"), 'not a genotype: expected an object with "format": "xnas-genotype"; got {'),
        (putting("recipe", "format"), 'not a genotype: expected an object with "format": "xnas-genotype"'),
        (
            without("version"),
            "the genotype lacks 'version'; it must have format, version, space, normal, reduction",
        ),
        (putting(2, "version"), "the genotype has version 2; this xnas reads version 1: upgrade xnas if"),
        (putting(True, "version"), "the genotype has version True; this xnas reads version 1"),
        (putting("1", "version"), "the genotype has version '1'; this xnas reads version 1"),
        (without("space"), "the genotype lacks 'space'"),
        (putting("nasnets", "space"), "unknown space 'nasnets'; did you mean 'nasnet'?"),
        (putting([], "space"), "the space must be one of darts, nasnet; got []"),
        (putting(1, "reductions"), "unknown key of the genotype 'reductions'; did you mean 'reduction'?"),
        (putting(1, "normal", "edge"), "unknown key of the normal cell 'edge'; did you mean 'edges'?"),
        (without("reduction", "concat"), "the reduction cell lacks 'concat'; it must have edges, concat"),
        (putting([], "normal"), "the normal cell must be an object with edges, concat; got []"),
        (putting("none", "normal", "edges", 0, 0), "normal cell: node 2: operation 'none' is no choice"),
        (putting(2, "reduction", "edges", 1, 1), "reduction cell: node 2 cannot read 2"),
        (putting(None, "reduction", "concat"), "reduction cell: concat must be a list of nodes"),
    ],
)
def test_a_file_that_is_no_genotype_says_where(change: Callable[[dict[str, Any]], None], line: str) -> None:
    fields = fields_of()
    change(fields)
    with pytest.raises(ValueError, match="^" + re.escape(line)) as caught:
        Genotype.from_json(json.dumps(fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "not a genotype: line 1, column 1 is not JSON (Expecting value); mend it there"),
        ('{\n  "format" 1}', "not a genotype: line 2, column 12 is not JSON (Expecting ':' delimiter)"),
        ("[]", 'not a genotype: expected an object with "format": "xnas-genotype"; got []'),
        ('{"format": "a", "format": "b"}', "the key 'format' is given twice; keep one"),
        ('{"format": NaN}', "'NaN' is not a number that a genotype can hold; give a small whole number"),
        ('{"format": -Infinity}', "'-Infinity' is not a number"),
        ('{"version": ' + "9" * 6000 + "}", "'99999"),
        ("[" * 50_000, "not a genotype: the JSON is nested too deeply"),
        ('{"a":' * 16_000, "not a genotype: the JSON is nested too deeply"),
        (" " * 100_001, "not a genotype: 100,001 characters; it has 100,000 at most"),
        (b"\xff\xfe{}", "not a genotype: no UTF-8 text ("),
        (None, "not a genotype: expected text; got None"),
    ],
    ids=range(12),
)
def test_text_that_is_no_json_of_a_genotype_is_refused_in_one_line(text: Any, line: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(line)) as caught:
        Genotype.from_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.data())
def test_corrupted_json_is_still_a_genotype_or_refused_in_one_line(data: st.DataObject) -> None:
    text = data.draw(corrupted(published_genotype(data.draw(st.sampled_from(("xnas", "enas")))).to_json()))
    check_read_or_refused_in_one_line(Genotype.from_json, text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.data())
def test_any_value_in_place_of_another_is_a_genotype_or_refused_in_one_line(data: st.DataObject) -> None:
    fields = fields_of()
    places: list[tuple[Any, ...]] = [
        *((key,) for key in fields),
        *((cell, key) for cell in ("normal", "reduction") for key in ("edges", "concat")),
        ("normal", "edges", 0),
        ("normal", "edges", 0, 0),
        ("normal", "edges", 1, 1),
        ("reduction", "concat", 0),
    ]
    putting(data.draw(json_values), *data.draw(st.sampled_from(places)))(fields)
    check_read_or_refused_in_one_line(Genotype.from_dict, fields)


def test_a_shown_value_is_short_and_in_one_line() -> None:
    class Lines:
        def __repr__(self) -> str:
            return "a\nb"

    assert short_repr(Lines()) == "a b"
    assert len(short_repr("x" * 10_000)) <= 60
    assert short_repr(-(16**5000)) == "a number of thousands of digits"


@pytest.mark.parametrize("module", ["genotype", "genotype_text", "published"])
def test_reading_genotypes_does_not_import_torch(module: str) -> None:
    code = f"import sys, xnas.space.{module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
