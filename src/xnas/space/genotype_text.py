"""Genotypes in the text form of DARTS, as papers' code prints and keeps them: Genotype(normal=[...], ...).

The text is Python, but it is never run: it is parsed into a syntax tree, and only the few kinds of nodes that a
genotype is made of are read. Public code varies the form, and these variations are understood: a name in front
(`PDARTS = `), a module (`genotypes.Genotype`), tuples for lists, `range(2, 6)` for the concatenation, arguments by
position, the two edges of a node bracketed together, unused arguments that are None, and what programs print: numbers
of numpy and torch (`np.int64(0)`, `tensor(0)`), arrays, `list(range(2, 6))`, quotes, and lines of a log around it.
"""

import ast
import re
import warnings
from typing import Any

from xnas.io.text import short_repr
from xnas.space.genotype import MAX_NODES, CellGenotype, Genotype, Space, named_cell
from xnas.space.genotype_json import check_name, plain_text

_ARGUMENTS = ("normal", "normal_concat", "reduce", "reduce_concat")
FORM = "Genotype(normal=[...], normal_concat=[...], reduce=[...], reduce_concat=[...])"
_MAX_DEPTH = 3  # a list of nodes of edges
_START = re.compile(r"(?<![\w.])(?:\w+\.)*Genotype\s*\(")
_SCALARS = re.compile(r"u?int(c|p|_|\d+)?|u?long(long)?|u?short|u?byte|str_?|array|asarray|tensor|Tensor")
"""Wrappers of printed numbers, names and arrays."""
_LISTS = ("list", "tuple", "array", "asarray", "tensor")
_ABOUT_ARRAYS = ("dtype", "device")


def to_darts_text(genotype: Genotype) -> str:
    """The genotype in one line of DARTS text, which does not tell its space."""
    normal, reduction = genotype.normal, genotype.reduction
    return (
        f"Genotype(normal={_edges_text(normal)}, normal_concat={list(normal.concat)}, "
        f"reduce={_edges_text(reduction)}, reduce_concat={list(reduction.concat)})"
    )


def from_darts_text(text: str, *, space: Space | None = None) -> Genotype:
    """The genotype in DARTS text. Without a space it is "darts", or "nasnet" if some node reads one node twice.

    Raises ValueError for text that is not of this form, with line and column where it departs from it, for arguments
    that are missing, unknown or given twice, and for whatever no genotype can hold.
    """
    source = _at_column_1(text)
    call, source = _genotype_call(source)
    arguments = _arguments(call, source)
    normal, reduction = (
        named_cell(
            name,
            edges=_without_brackets_per_node(arguments[key], cell=name),
            concat=arguments[f"{key}_concat"],
        )
        for name, key in (("normal", "normal"), ("reduction", "reduce"))
    )
    if space is None:
        space = "nasnet" if normal.repeating_nodes or reduction.repeating_nodes else "darts"
    return Genotype(normal=normal, reduction=reduction, space=space)


def _edges_text(cell: CellGenotype) -> str:
    return str([tuple(edge) for edge in cell.edges])


def _at_column_1(text: str) -> str:
    """The text without the indentation that a genotype copied out of a function has; its lines keep their numbers."""
    text = plain_text(text)
    start = re.match(r"(?:[^\S\n]*(?:#[^\n]*)?\n)*[^\S\n]*", text)  # blank lines and comments, then blanks
    skipped = start[0] if start else ""
    return "\n" * skipped.count("\n") + text[len(skipped) :]


def _parsed(source: str) -> list[ast.stmt]:
    try:
        with warnings.catch_warnings():
            # Python warns of odd escapes and the like in what it parses; here the text is refused or it is fine.
            warnings.simplefilter("ignore")
            return ast.parse(source).body
    except SyntaxError as error:
        place = f"line {error.lineno}, column {error.offset}: " if error.lineno else ""
        raise ValueError(f"not a genotype: {place}{error.msg}; expected {FORM}") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"not a genotype: the text is nested too deeply; expected {FORM}") from None
    except ValueError:
        raise ValueError(
            f"not a genotype: the text holds characters that no text has; expected {FORM}"
        ) from None


def _refusal(node: ast.stmt | ast.expr, source: str, expected: str) -> ValueError:
    found = short_repr(ast.get_source_segment(source, node))
    return ValueError(
        f"not a genotype: line {node.lineno}, column {node.col_offset + 1}: expected {expected}; got {found}"
    )


def _genotype_call(source: str) -> tuple[ast.Call, str]:
    """The call that the genotype is, and the text that its places are of."""
    try:
        body = _parsed(source)
        if quoted := _quoted(body):
            source = _at_column_1(quoted)
            body = _parsed(source)
        return _only_call(body, source), source
    except ValueError:
        if (inner := _taken_out(source)) is None:
            raise
    return _only_call(_parsed(inner), inner), inner


def _quoted(body: list[ast.stmt]) -> str | None:
    """Return the text within quotes, if there is nothing else."""
    match body:
        case [
            ast.Expr(value=ast.Constant(value=str() as inner))
            | ast.Assign(value=ast.Constant(value=str() as inner))
        ]:
            return inner if _START.search(inner) else None
    return None


def _taken_out(source: str) -> str | None:
    """The genotype out of a text with something around it, such as a log; its lines keep their numbers.

    None if there is none that ends, or nothing around it. Raises ValueError if there are several.
    """
    starts = list(_START.finditer(source))
    if len(starts) > 1 and source[: starts[0].start()].strip():
        lines = [1 + source.count("\n", 0, start.start()) for start in starts[:2]]
        raise ValueError(
            f"not a genotype: the text holds {len(starts):,}, the first two in lines {lines[0]} and {lines[1]}; "
            "keep one"
        )
    if len(starts) != 1:
        return None
    start = starts[0].start()
    # As it is when a text in quotes is printed within quotes.
    rest = re.sub(r"\\(['\"])", r"\1", source[start:])
    end = _end_of_call(rest)
    if end is None or (start == 0 and not rest[end:].strip()):
        return None
    return "\n" * source.count("\n", 0, start) + rest[:end]


def _end_of_call(text: str) -> int | None:
    """Return the end of the first bracket; brackets in quotes do not count."""
    depth = 0
    for piece in re.finditer(r"'[^'\n]*'|\"[^\"\n]*\"|[()]", text):
        depth += {"(": 1, ")": -1}.get(piece[0], 0)
        if piece[0] == ")" and depth == 0:
            return piece.end()
    return None


def _only_call(body: list[ast.stmt], source: str) -> ast.Call:
    if not body:
        raise ValueError(
            f"not a genotype: the text is empty, or only comments ({short_repr(source)}); expected {FORM}"
        )
    if len(body) > 1:
        raise _refusal(body[1], source, "the end of the text, as it holds one genotype")
    match body[0]:
        case (
            ast.Expr(value=ast.Call(func=ast.Name(id="Genotype") | ast.Attribute(attr="Genotype")) as call)
            | ast.Assign(
                targets=[ast.Name()],
                value=ast.Call(func=ast.Name(id="Genotype") | ast.Attribute(attr="Genotype")) as call,
            )
        ):
            return call
    raise _refusal(body[0], source, FORM)


def _arguments(call: ast.Call, source: str) -> dict[str, Any]:
    if len(call.args) > len(_ARGUMENTS):
        raise _refusal(call.args[len(_ARGUMENTS)], source, f"only {len(_ARGUMENTS)} arguments")
    given = dict(zip(_ARGUMENTS, call.args, strict=False))
    for keyword in call.keywords:
        if keyword.arg in given:
            raise ValueError(
                f"the argument {keyword.arg!r} is given twice, in line {keyword.lineno} again; keep one"
            )
        if keyword.arg in _ARGUMENTS:
            given[keyword.arg] = keyword.value
        # Some public lists carry fields of a common base, such as connects=None, that mean nothing for a cell.
        elif not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None):
            check_name(f"argument in line {keyword.lineno}", keyword.arg or "**", _ARGUMENTS)
    if missing := [name for name in _ARGUMENTS if name not in given]:
        raise ValueError(
            f"the argument {missing[0]!r} is missing (given: {', '.join(given) or 'none'}); add it"
        )
    return {name: _literal(given[name], source) for name in _ARGUMENTS}


def _literal(node: ast.expr, source: str, depth: int = 0) -> object:
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case (
            ast.List(elts=[ast.Starred(value=ast.Call() as only)])
            | ast.Tuple(elts=[ast.Starred(value=ast.Call() as only)])
        ):
            return _literal(only, source, depth)
        case ast.List(elts=elements) | ast.Tuple(elts=elements) if depth < _MAX_DEPTH:
            return [_literal(element, source, depth + 1) for element in elements]
        case ast.Call(args=arguments) if _called(node) in ("range", "arange") and not node.keywords:
            return _range(node, [_literal(argument, source, _MAX_DEPTH) for argument in arguments], source)
        case ast.Call(args=[ast.List() | ast.Tuple() | ast.Call() as only]) if _called(node) in _LISTS:
            found = _literal(only, source, depth)
            if isinstance(found, list):
                return found
        case ast.Call(args=[ast.Constant() as only]) if _SCALARS.fullmatch(_called(node)):
            return _literal(only, source, depth)
    raise _refusal(node, source, "a list of a genotype's operations and nodes")


def _called(call: ast.Call) -> str:
    """The last word of what is called, such as int64 of np.int64(0); nothing if more than its kind is said."""
    if any(keyword.arg not in _ABOUT_ARRAYS for keyword in call.keywords):
        return ""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(), attr=name):
            return name
    return ""


def _range(node: ast.expr, bounds: list[Any], source: str) -> list[int]:
    try:
        # More numbers than nodes are wrong however many they are, and are not counted out.
        return list(range(*bounds)[: MAX_NODES + 1])
    except (TypeError, ValueError):
        raise _refusal(node, source, "range(first node, last node + 1)") from None


def _without_brackets_per_node(edges: Any, *, cell: str) -> Any:
    """The edges in one list, where they come as pairs of edges, one pair for every node."""
    if not isinstance(edges, list) or not all(_is_list_of_lists(pair) for pair in edges):
        return edges
    for node, pair in enumerate(edges, start=2):
        if len(pair) != 2:
            raise ValueError(f"{cell} cell: node {node} has {len(pair)} edges; give every node two")
    return [edge for pair in edges for edge in pair]


def _is_list_of_lists(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(inner, list) for inner in value)
