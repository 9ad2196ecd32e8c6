"""Genotypes in the form of DARTS: written, read without running them, and refused in one line."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas.space.architecture import read_genotype
from xnas.space.genotype import CellGenotype, Edge, Genotype
from xnas.space.genotype_text import from_darts_text, to_darts_text
from xnas.space.published import published_genotype

from ...helpers.svg_shapes import check_read_or_refused_in_one_line, corrupted, genotypes

CELL = CellGenotype(
    edges=(
        Edge("skip_connect", 0),
        Edge("sep_conv_3x3", 1),
        Edge("skip_connect", 2),
        Edge("max_pool_3x3", 0),
    ),
    concat=(2, 3),
)
GENOTYPE = Genotype(normal=CELL, reduction=CELL)
EDGES = "[('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0)]"
TEXT = f"Genotype(normal={EDGES}, normal_concat=[2, 3], reduce={EDGES}, reduce_concat=[2, 3])"


def test_the_text_is_that_of_darts() -> None:
    assert to_darts_text(GENOTYPE) == TEXT


@settings(max_examples=100, derandomize=True, deadline=None)
@given(genotypes())
def test_any_genotype_survives_darts_text(genotype: Genotype) -> None:
    text = to_darts_text(genotype)
    assert from_darts_text(text, space=genotype.space) == genotype
    guessed = from_darts_text(text)
    assert (guessed.normal, guessed.reduction) == (genotype.normal, genotype.reduction)
    repeats = genotype.normal.repeating_nodes or genotype.reduction.repeating_nodes
    assert guessed.space == ("nasnet" if repeats else "darts")
    assert read_genotype(text) == guessed


PAIRED = "[(('skip_connect', 0), ('sep_conv_3x3', 1)), (('skip_connect', 2), ('max_pool_3x3', 0))]"


@pytest.mark.parametrize(
    "text",
    [
        f"MINE = {TEXT}",
        f"genotypes.{TEXT}",
        f"\ufeff  # copied\n  {TEXT}\n",
        f"\n\n    {TEXT}",
        TEXT.replace("[2, 3]", "range(2, 4)"),
        TEXT.replace("(", "[").replace(")", "]").replace("Genotype[", "Genotype(")[:-1] + ")",
        f"Genotype({EDGES}, [2, 3], {EDGES}, (2, 3))",
        f"Genotype({EDGES}, [2, 3], reduce_concat=[2, 3], reduce={EDGES})",
        TEXT.replace(EDGES, PAIRED),
        TEXT[:-1] + ", connects=None)",
        TEXT.replace(", ", ",\n    "),
    ],
    ids=range(11),
)
def test_the_variations_of_public_code_are_understood(text: str) -> None:
    assert from_darts_text(text) == GENOTYPE


IN_NUMPY = re.sub(r", (\d)\)", r", np.int64(\1))", TEXT)
IN_TORCH = re.sub(r", (\d)\)", r", tensor(\1, device='cuda:0'))", TEXT)
LOG = "2021-03-04 12:00:00,123 "


@pytest.mark.parametrize(
    "text",
    [
        IN_NUMPY,
        IN_NUMPY.replace("np.", "numpy."),
        re.sub(r"'(\w+)'", r"np.str_('\1')", IN_NUMPY),
        IN_TORCH,
        *(
            TEXT.replace("[2, 3]", numbers)
            for numbers in (
                "list(range(2, 4))", "tuple(range(2, 4))", "[*range(2, 4)]", "list((2, 3))", "(2, 3,)",
                "array([2, 3])", "np.array([2, 3], dtype=np.int64)", "np.arange(2, 4)", "tensor([2, 3])",
                "list(np.arange(2, 4))", "[np.int64(2), np.int64(3)]", "range(np.int64(2), np.int64(4))",
            )
        ),
        LOG + "genotype = " + TEXT,
        LOG + "genotype = " + IN_NUMPY.replace(", ", ",\n    "),
        "03/04 12:00:00 PM genotype = " + TEXT,
        "[2021-03-04 12:00:00] INFO - search: " + TEXT,
        "INFO:root:" + TEXT,
        f"{LOG}epoch 49 lr 1e-3\n{LOG}genotype = {TEXT}\n{LOG}done (5 s)\n",
        f"\x1b[32mgenotype\x1b[0m = {TEXT}\x1b[0m",
        f"```\n{TEXT}\n```",
        f"from genotypes import Genotype\n\nFOUND = {TEXT}\n",
        repr(TEXT),
        f'"""\n{TEXT}\n"""',
        f"FOUND = {TEXT!r}",
        LOG + f"genotype: {TEXT!r}",
        LOG + "'" + TEXT.replace("'", "\\'") + "'",
        f"print({TEXT})",
        f"{{'genotype': {TEXT}}}",
        f"\u201c{TEXT}\u201d",
        TEXT + ";",
    ],
    ids=range(34),
)  # fmt: skip
def test_what_programs_print_and_what_logs_have_around_it_is_understood(text: str) -> None:
    assert from_darts_text(text) == read_genotype(text) == GENOTYPE


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{LOG}{TEXT}\n{LOG}{TEXT}", "the text holds 2, the first two in lines 1 and 2; keep one"),
        (LOG + TEXT[:-1], "not a genotype: line 1, column "),
        (
            LOG + TEXT.replace("[2, 3]", "[2, f()]"),
            "expected a list of a genotype's operations and nodes; got 'f()'",
        ),
        (LOG + "\n" + TEXT.replace("[2, 3]", "f()"), "not a genotype: line 2, column "),
        (TEXT.replace("[2, 3]", "list(open('x'))"), "got \"open('x')\""),
        (TEXT.replace("0)", "np.float64(0.0))"), "got 'np.float64(0.0)'"),
        (TEXT.replace("0)", "int(open('x')))"), "expected a list of"),
        (TEXT.replace("[2, 3]", "np.array([2, 3], like=f)"), "expected a list of"),
        (TEXT.replace("[2, 3]", "a.b.array([2, 3])"), "expected a list of"),
        (TEXT.replace("[2, 3]", "array([[2, 3]])"), "concat cannot hold [2, 3]"),
        (TEXT.replace("[2, 3]", "array(2)"), "concat must be a list of nodes"),
        ("x Genotype(" * 9000, "the text holds 9,000"),
    ],
    ids=range(12),
)
def test_what_is_more_than_a_print_is_refused_wherever_it_is(text: str, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        from_darts_text(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_repeated_predecessor_in_the_space_of_darts_is_refused() -> None:
    with pytest.raises(ValueError, match="node 2 reads node 1 twice"):
        from_darts_text(TEXT.replace("('skip_connect', 0)", "('skip_connect', 1)"), space="darts")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "not a genotype: the text is empty, or only comments ('')"),
        (TEXT[:-1], "not a genotype: line 1, column 9: '(' was never closed; expected Genotype(normal="),
        (TEXT + "\n" + TEXT, "not a genotype: line 2, column 1: expected the end of the text"),
        ("print('hello')", "not a genotype: line 1, column 1: expected Genotype(normal="),
        (
            TEXT.replace("sep_conv_3x3", "sep_conv_3x4"),
            "normal cell: unknown operation of node 2 'sep_conv_3x4'; did",
        ),
        (TEXT.replace("skip_connect", "none"), "normal cell: node 2: operation 'none' is no choice"),
        (
            TEXT.replace(", reduce_concat=[2, 3]", ""),
            "the argument 'reduce_concat' is missing (given: normal, ",
        ),
        (
            TEXT.replace("reduce_concat", "reduce_conca"),
            "unknown argument in line 1 'reduce_conca'; did you mean",
        ),
        ("Genotype(**cells)", "unknown argument in line 1 '**'. Known: normal, normal_concat"),
        (
            f"Genotype({EDGES}, normal={EDGES})",
            "the argument 'normal' is given twice, in line 1 again; keep one",
        ),
        ("Genotype(1, 2, 3, 4, 5)", "not a genotype: line 1, column 22: expected only 4 arguments; got '5'"),
        (TEXT.replace("[2, 3]", "range(2, n)"), "not a genotype: line 1, column "),
        (TEXT.replace("[2, 3]", "range(2, 4, 0)"), "not a genotype: line 1, column "),
        (TEXT.replace("[2, 3]", "range(2, 10**9)"), "not a genotype: line 1, column "),
        (
            TEXT.replace("[2, 3]", "range(2, 1000000000)"),
            "normal cell: concat cannot hold 4; give nodes of 2 to 3",
        ),
        (TEXT.replace("[2, 3]", "set(range(2, 4))"), "not a genotype: line 1, column "),
        (
            TEXT.replace("('skip_connect', 0)", "open('x')"),
            "not a genotype: line 1, column 18: expected a list of",
        ),
        (TEXT.replace("('skip_connect', 0)", "('skip_connect', -1)"), "normal cell: node 2 cannot read -1"),
        (
            TEXT.replace(EDGES, "[(('skip_connect', 0),)]"),
            "normal cell: node 2 has 1 edges; give every node two",
        ),
        (TEXT.replace(EDGES, "[[[[1]]]]"), "not a genotype: line 1, column "),
        ("(" * 90_000, "not a genotype: "),
        ("-" * 90_000 + "1", "not a genotype: the text is nested too deeply"),
        ("a" + ".b" * 40_000, "not a genotype: the text is nested too deeply"),
        ("Genotype(" + "9" * 5000 + ")", "not a genotype: "),
        (
            TEXT.replace("0", "0x" + "f" * 9000),
            "normal cell: node 2 cannot read a number of thousands of digits",
        ),
        ("\0", "not a genotype: "),
        ("Genotype('\ud800')", "not a genotype: the text holds characters that no text has"),
        ("#" * 100_001, "not a genotype: 100,001 characters; it has 100,000 at most"),
    ],
    ids=range(28),
)
def test_text_of_another_form_is_refused_in_one_line(text: str, line: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(line)) as caught:
        from_darts_text(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_text_is_never_run(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(ValueError, match="not a genotype"):
        from_darts_text(TEXT.replace("[2, 3]", f"[open({str(target)!r}, 'w')]"))
    assert not target.exists()


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.data())
def test_corrupted_text_is_still_a_genotype_or_refused_in_one_line(data: st.DataObject) -> None:
    text = data.draw(
        corrupted(to_darts_text(published_genotype(data.draw(st.sampled_from(("xnas", "enas"))))))
    )
    for read in (from_darts_text, read_genotype):
        check_read_or_refused_in_one_line(read, text)


def test_a_genotype_is_read_from_a_name_a_file_or_its_text(tmp_path: Path) -> None:
    json_file, text_file = tmp_path / "found.json", tmp_path / "found.py"
    json_file.write_text("\ufeff" + GENOTYPE.to_json(), encoding="utf-8")
    text_file.write_text(f"FOUND = {TEXT}\n", encoding="utf-8")
    for source in (json_file, str(json_file), text_file, str(text_file), GENOTYPE.to_json(), TEXT):
        assert read_genotype(source) == GENOTYPE
    assert read_genotype("DARTS-V2") == published_genotype("darts_v2")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"{}", "{path}: not a genotype: expected an object"),
        (b"hello", "{path}: not a genotype: line 1, column 1: expected Genotype("),
        (b"\xff\xfe", "{path}: not a genotype: no UTF-8 text"),
        (b"{" * 200_000, "{path}: not a genotype: 200,000 characters"),
        (b"{" * 500_000, "cannot read the genotype {path}: it has more than 400,000 bytes"),
        (None, "cannot read the genotype {path}: No such file or directory"),
    ],
    ids=range(6),
)
def test_a_file_that_is_no_genotype_is_named(tmp_path: Path, content: bytes | None, line: str) -> None:
    path = tmp_path / "cells.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="^" + re.escape(line.format(path=path))) as caught:
        read_genotype(path)
    assert "\n" not in str(caught.value)


def test_what_is_neither_name_file_nor_text_names_the_nearest_name() -> None:
    with pytest.raises(
        ValueError, match=r"no such file, and unknown published genotype 'xnass'; did you mean 'xnas'"
    ):
        read_genotype("xnass")
    with pytest.raises(ValueError, match=r"^not a genotype: neither JSON nor Genotype\(normal="):
        read_genotype("some\nlines\n" * 50)
